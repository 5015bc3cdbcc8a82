#!/usr/bin/env bash
# Set-up, then the load of /eval/submit beside a server that only answers: scripts/bench_http.sh [OPTIONS of merit bench http]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
cargo build --locked --release -p merit
exec "$CARGO_TARGET_DIR/release/merit" bench http "$@"
