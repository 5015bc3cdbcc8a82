#!/usr/bin/env bash
# Kafka's own console tools: examples/clients/console.sh publish HOST:PORT <REPORTS, or read HOST:PORT TOPIC
# `publish` sends JSON lines to eval.reports, as `/eval/submit` takes them; `read` prints a topic from its beginning until nothing
# comes for 10 s: text where a message is JSON, bytes where it is Avro.
# KAFKA_JARS is the folder of Kafka's jars; by default the one that scripts/kafka.sh fetched.
set -euo pipefail
jars="${KAFKA_JARS:-$(dirname "$0")/../../.kafka/jars}"
tool() { java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars/*" "org.apache.kafka.tools.$1" --bootstrap-server "$2" "${@:3}"; }

case "${1:-}" in
    publish) tool ConsoleProducer "$2" --topic eval.reports ;;
    read) tool consumer.ConsoleConsumer "$2" --topic "$3" --from-beginning --timeout-ms 10000 --isolation-level read_committed ;;
    *) echo "usage: examples/clients/console.sh publish HOST:PORT <REPORTS | read HOST:PORT TOPIC" >&2; exit 2 ;;
esac
