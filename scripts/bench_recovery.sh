#!/usr/bin/env bash
# How fast a copy on Kafka is ready again, behind kill -9 and behind the loss of its disk: scripts/bench_recovery.sh [AGENTS [REPORTS]]
# Starts a broker of its own on loopback, and ends it. Every measurement is a line of JSON.
set -euo pipefail
cd "$(dirname "$0")/.."
export AGENTS=${1:-500000} REPORTS=${2:-1000000}
. scripts/env.sh
cargo build --locked --release --workspace
cargo run --locked --release -p merit-tests --example kafka_bench -- recovery
