#!/usr/bin/env python3
"""Prints what Merit decided, one JSON object a line: the record's type, where it lies, and the record.

Reads each topic from its beginning to where it ends now, and only what is committed.
"""
import argparse
import json
import sys
from datetime import datetime

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPICS = ["eval.scores", "eval.promotions", "alloc.applied", "audit"]


def printed(value):
    """What JSON has no form of: bytes, and times."""
    return value.hex() if isinstance(value, bytes) else value.isoformat() if isinstance(value, datetime) else str(value)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--brokers", required=True)
    arguments.add_argument("--registry", required=True, help="its address, as scripts/kafka.sh prints it")
    arguments.add_argument("topics", nargs="*", default=TOPICS)
    given = arguments.parse_args()

    registry = SchemaRegistryClient({"url": given.registry})
    deserialize = AvroDeserializer(registry)
    settings = {"bootstrap.servers": given.brokers, "group.id": "read-decisions", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer(settings)
    known = consumer.list_topics(timeout=30).topics
    places = [TopicPartition(topic, partition, OFFSET_BEGINNING) for topic in given.topics for partition in known[topic].partitions]
    consumer.assign(places)
    left = len(places)
    while left > 0:
        message = consumer.poll(60)
        if message is None:
            sys.exit("nothing came for 60 s")
        if message.error():
            if message.error().code() != KafkaError._PARTITION_EOF:
                sys.exit(str(message.error()))
            left -= 1
            continue
        value = message.value()
        schema = registry.get_schema(int.from_bytes(value[1:5], "big"))
        record = deserialize(value, SerializationContext(message.topic(), MessageField.VALUE))
        place = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset(), "key": message.key().decode()}
        print(json.dumps({"type": json.loads(schema.schema_str)["name"], **place, "record": record}, default=printed))
    consumer.close()


main()
