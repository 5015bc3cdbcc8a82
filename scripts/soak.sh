#!/usr/bin/env bash
# Copies and brokers of a real cluster die, stand still, come and go, under load: scripts/soak.sh [--rounds N] [--seed N]
# Behind each round the whole log is verified and computed again.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=60 seed=1
while [ $# -gt 0 ]; do
    case "$1" in
        --rounds) rounds=$2; shift 2 ;;
        --seed) seed=$2; shift 2 ;;
        *) echo "soak.sh: unknown argument $1; usage: scripts/soak.sh [--rounds N] [--seed N]" >&2; exit 2 ;;
    esac
done
. scripts/env.sh
cargo build --locked --release --workspace
MERIT_ROUNDS=$rounds MERIT_SEED=$seed cargo test --locked --release -p merit-tests --test it kafka_faults -- --nocapture
