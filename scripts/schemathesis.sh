#!/usr/bin/env bash
# Holds both services against their own OpenAPI documents: generated requests of every kind, and what they answer.
# `cargo build --release -p merit` comes before. A failure prints the request as a curl command.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

version=4.32.5
tools="$cache/schemathesis-$version"
if [ ! -e "$tools/whole" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
    touch "$tools/whole"
fi

data=$(mktemp -d)
export EVAL_ENGINE_ADDR=127.0.0.1:0 RESOURCE_ALLOCATOR_ADDR=127.0.0.1:0 MERIT_OPS_ADDR=127.0.0.1:0
"$CARGO_TARGET_DIR/release/merit" run --json --data-dir "$data/log" >"$data/out" &
merit=$!
trap 'kill "$merit" 2>/dev/null || true; wait "$merit" || true; rm -rf "$data"' EXIT
until [ -s "$data/out" ]; do
    kill -0 "$merit"
    sleep 0.1
done

ask() {
    local address
    address=$(sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$data/out")
    PYTHONDONTWRITEBYTECODE=1 "$tools/bin/schemathesis" --config-file schemathesis.toml run "http://$address/openapi.json" --checks all --max-time "${MERIT_SCHEMATHESIS_SECONDS:-60}" --no-color
}
cd tests/schemathesis
ask evaluation >"$data/evaluation" 2>&1 &
evaluation=$!
ask allocation || failed=allocation
wait "$evaluation" || failed=evaluation
cat "$data/evaluation"
[ -z "${failed:-}" ] || { echo "the service of $failed does not do what its document says" >&2; exit 1; }
kill -TERM "$merit"
wait "$merit"
