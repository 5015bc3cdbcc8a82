#!/usr/bin/env bash
# All set-up, then the main job on the real trace: who was promoted, which GPUs moved, why, and the proof.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
cargo build --locked --release -p merit
merit="$CARGO_TARGET_DIR/release/merit"

data="${1:-$(mktemp -d)/merit}"
place=(--data-dir "$data" --topology examples/topology.toml)

"$merit" pools apply examples/pools.toml "${place[@]}"
"$merit" import examples/genai_requests.csv.gz --mapping examples/genai_requests.toml "${place[@]}"
echo
"$merit" audit verify "${place[@]}"
echo
echo "three commands worth trying next:"
echo "  $merit explain M0002 ${place[*]}"
echo "  $merit replay --assert-equal ${place[*]}"
echo "  $merit log cat alloc.applied --json ${place[*]}"
