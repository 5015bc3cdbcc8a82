#!/usr/bin/env bash
# Searches for inputs that break a promise: scripts/fuzz.sh [TARGET] [--seconds N]
# Each target, or the one named, runs for N seconds (60) and takes up what it found into fuzz/corpus, minimised.
# An input that broke a promise is kept in fuzz/crashes: commit it with its mending, for scripts/test.sh replays both folders.
# libFuzzer alone, with the compiler of every other script: neither a nightly one nor cargo-fuzz is needed.
set -euo pipefail
cd "$(dirname "$0")/.."

targets=() seconds=60
while [ $# -gt 0 ]; do
    case "$1" in
        --seconds) seconds="${2:?--seconds needs a number}"; shift 2 ;;
        -*) echo "unknown option $1; usage: scripts/fuzz.sh [TARGET] [--seconds N]" >&2; exit 2 ;;
        *) targets+=("$1"); shift ;;
    esac
done
all=$(sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"|\1|p' fuzz/Cargo.toml)
[ "${#targets[@]}" -gt 0 ] || mapfile -t targets <<<"$all"
for target in "${targets[@]}"; do
    grep -qx -- "$target" <<<"$all" || { echo "no target $target; there are:" $all >&2; exit 2; }
done
. scripts/env.sh

# A search begins with what is kept and with what else the repository has: vectors, examples, a log.
UPDATE_EXPECT=1 cargo test --locked --release -p merit-fuzz --quiet

# Counters at every edge and the operands of comparisons. With --target they do not reach build scripts and macros.
flags=(--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module)
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=("-Cllvm-args=-sanitizer-coverage-$flag")
done
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="${flags[*]}" cargo build --locked --release -p merit-fuzz --features libfuzzer --bins --target "$host"

limits=(-timeout=5 -rss_limit_mb=256)
for target in "${targets[@]}"; do
    program="$CARGO_TARGET_DIR/$host/release/$target"
    kept="fuzz/corpus/$target" crashes="fuzz/crashes/$target" found="$CARGO_TARGET_DIR/fuzz/$target"
    echo "== $target for $seconds seconds"
    mkdir -p "$kept" "$crashes" "$found"
    "$program" "$found" "$kept" "${limits[@]}" -max_total_time="$seconds" -artifact_prefix="$crashes/" -print_final_stats=1
    rmdir "$crashes" 2>/dev/null || true
    # The few inputs that reach every edge.
    rm -rf "$found.kept"
    mkdir "$found.kept"
    "$program" -set_cover_merge=1 -use_counters=0 -verbosity=0 "$found.kept" "$found" "$kept" "${limits[@]}"
    rm -r "$kept"
    mv "$found.kept" "$kept"
    echo "== $target: $(ls "$kept" | wc -l) inputs kept in $kept"
done
