#!/usr/bin/env python3
"""Sends reports to Merit: one JSON object a line of standard input, as `/eval/submit` takes it.

Under the schema of the registry by default, and as JSON with --json, which topology.toml allows by `json = true`.
The partition is the client's own choice: what Merit finds in another than it wants, it forwards, and counts as rerouted.
With `"partitioner": "murmur2_random"` there is nothing to forward.
"""
import argparse
import json
import sys
from datetime import datetime

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "eval.reports"
SUBJECT = f"{TOPIC}-merit.EvalReport"


def as_record(report, _):
    """A report as its schema wants it: decimals in units of 1e-6, times in milliseconds."""
    names = ["id", "divisionId", "productId", "window"]
    return {
        **{name: report.get(name) for name in names},
        "agentId": report["agentId"],
        "source": report["source"],
        "timestamp": datetime.fromisoformat(report["timestamp"].replace("Z", "+00:00")),
        "metrics": [{"name": name, "value": round(value * 1_000_000)} for name, value in report["metrics"].items()],
        "tags": [{"name": name, "value": value} for name, value in report.get("tags", {}).items()],
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--brokers", required=True)
    arguments.add_argument("--registry", help="its address, as scripts/kafka.sh prints it")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()

    if given.json:
        serialize = lambda report: json.dumps(report).encode()
    else:
        registry = SchemaRegistryClient({"url": given.registry})
        schema = registry.get_latest_version(SUBJECT).schema
        settings = {
            "auto.register.schemas": False,
            "use.latest.version": True,
            "subject.name.strategy": topic_record_subject_name_strategy,
        }
        avro = AvroSerializer(registry, schema, as_record, settings)
        serialize = lambda report: avro(report, SerializationContext(TOPIC, MessageField.VALUE))

    failed = []
    producer = Producer({"bootstrap.servers": given.brokers, "enable.idempotence": True})
    for line in sys.stdin:
        report = json.loads(line)
        told = lambda error, _: error and failed.append(error)
        producer.produce(TOPIC, key=report["agentId"], value=serialize(report), on_delivery=told)
        producer.poll(0)
    producer.flush()
    if failed:
        sys.exit(f"{len(failed)} reports did not arrive: {failed[0]}")


main()
