#!/usr/bin/env bash
# All set-up, then every test. `.ci/run` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
command -v chromium >/dev/null || install_packages chromium
cargo fmt --all --check
cargo clippy --locked --release --workspace --all-targets -- -D warnings
cargo build --locked --release --workspace
cargo test --locked --release --workspace
scripts/schemathesis.sh
