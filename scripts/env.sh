# Set-up that every script shares: tools of the system, one build cache outside the clone, RocksDB built once.
# Sourced, not run.

cache="${MERIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/merit}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
mkdir -p "$cache"

need_packages() {
    local missing=()
    command -v cc >/dev/null && command -v c++ >/dev/null || missing+=(build-essential)
    compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null || compgen -G '/usr/lib/*/libclang*.so*' | grep -vq cpp || missing+=(libclang-dev)
    command -v strace >/dev/null || missing+=(strace)
    command -v curl >/dev/null || missing+=(curl)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    [ "${#missing[@]}" -eq 0 ] && return
    echo "installing ${missing[*]}" >&2
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq "${missing[@]}" >/dev/null
}

# RocksDB is C++ and takes most of a cold build. Cargo builds it again whenever a feature of an unrelated crate moves,
# so the library is kept beside the target directory, by its version, and linked from there.
keep_rocksdb() {
    local version
    version=$(sed -n '/^name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
    local kept="$cache/rocksdb-$version-$(uname -m)"
    if [ ! -f "$kept/librocksdb.a" ]; then
        echo "building RocksDB $version, once; about 12 minutes on two cores" >&2
        cargo build --locked --release -p merit-runtime
        local built
        built=$(ls -t "$CARGO_TARGET_DIR"/release/build/librocksdb-sys-*/out/librocksdb.a | head -n 1)
        mkdir -p "$kept"
        cp "$built" "$kept/librocksdb.a.part"
        mv "$kept/librocksdb.a.part" "$kept/librocksdb.a"
    fi
    export ROCKSDB_LIB_DIR="$kept" ROCKSDB_STATIC=1
}

command -v cargo >/dev/null || { echo "a Rust toolchain is needed: https://rustup.rs" >&2; exit 1; }
need_packages
keep_rocksdb
