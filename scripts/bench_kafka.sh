#!/usr/bin/env bash
# Merit on Kafka, headless and not, beside a peer and beside a pass-through of the same client library, in turns, as lines of JSON:
#   scripts/bench_kafka.sh PEER_COMMAND [ROUNDS]
# PEER_COMMAND is a program that measures itself on a broker of its own and prints a line of JSON a measurement. It is told what to
# do by TESTS (drain, latency, restart), N and LAT_N (reports), RATE, SECS, WARM, DESIGNS and COMMITS (milliseconds). Without it, ""
# is Merit alone. REPORTS, LATENCY_REPORTS, RATE, MEASURED_SECONDS and WARM_UP say how much; both brokers get the same heap.
set -euo pipefail
cd "$(dirname "$0")/.."
peer=${1?"scripts/bench_kafka.sh PEER_COMMAND [ROUNDS]"} rounds=${2:-3}
. scripts/env.sh
cargo build --locked --release --workspace --examples
cargo build --locked --release --workspace
bench=$CARGO_TARGET_DIR/release/examples/kafka_bench
export REPORTS=${REPORTS:-2000000} RATE=${RATE:-5000} MEASURED_SECONDS=${MEASURED_SECONDS:-60} WARM_UP=${WARM_UP:-15}
export KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:-"-Xmx1g"}
latency_reports=${LATENCY_REPORTS:-500000}
export N=$REPORTS LAT_N=$latency_reports SECS=$MEASURED_SECONDS WARM=$WARM_UP DESIGNS=tuned-fused COMMITS=10

theirs() {
    [ -z "$peer" ] || TESTS=$1 "$peer" | sed 's/^{/{"system":"peer",/'
}

ours() {
    HEADLESS=1 "$bench" "$@"
    "$bench" "$@"
}

nproc --all | sed 's/.*/{"cores":&}/'
sed -n 's/^model name[^:]*: \(.*\)/{"processor":"\1"}/p' /proc/cpuinfo | head -n 1
for _ in $(seq "$rounds"); do
    ours drain
    theirs drain
    "$bench" null
    REPORTS=$latency_reports ours latency
    theirs latency
    ours restart
    theirs restart
done
# What a topic costs: the same without it.
for topic in eval.scores eval.promotions alloc.applied; do
    "$bench" drain "$topic"
done
