"""The loop of the peers in plain Python: consume, score row by row, produce, commit, exactly once.

Knows confluent-kafka and msgspec and nothing of the service: a peer may run in an environment without it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, Producer

BATCH_RECORDS = 10_000
WAIT_S = 0.02


class Point(msgspec.Struct, rename="camel", gc=False):
    """A data point as it arrives."""

    source_id: str
    timestamp: int
    values: dict[str, float]


Score = Callable[[Point], bytes]
"""The result's bytes for one point; learns from the point afterwards."""

decode_point = msgspec.json.Decoder(Point).decode


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every peer in Python is told on its command line."""
    parser = argparse.ArgumentParser(description=description)
    for name in ("bootstrap", "input", "output", "group"):
        parser.add_argument(f"--{name}", required=True)
    return parser


def consumer_properties(options: argparse.Namespace) -> dict[str, Any]:
    """The same speed settings as the service's own consumer has."""
    return {
        "bootstrap.servers": options.bootstrap,
        "group.id": options.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        **CONSUMER_SPEED,
    }


def producer_properties(options: argparse.Namespace) -> dict[str, Any]:
    """The same speed settings as the service's own producer has."""
    return {
        "bootstrap.servers": options.bootstrap,
        "transactional.id": options.group,
        # river takes a minute for the models of its first batch.
        "transaction.timeout.ms": 300_000,
        **PRODUCER_SPEED,
    }


CONSUMER_SPEED: dict[str, Any] = {
    "fetch.queue.backoff.ms": 5,
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 65_536,
}
PRODUCER_SPEED: dict[str, Any] = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "batch.num.messages": 10_000,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 1_000_000,
    "retry.backoff.ms": 5,
}


def run(options: argparse.Namespace, score: Score, batch_records: int = BATCH_RECORDS) -> None:
    """Until killed: transactions of up to `batch_records` points, results and offsets together."""
    consumer = Consumer(consumer_properties(options))
    producer = Producer(producer_properties(options))
    producer.init_transactions()
    consumer.subscribe([options.input])
    while True:
        if messages := consumer.consume(batch_records, WAIT_S):
            producer.begin_transaction()
            _produce(producer, options.output, messages, score)
            offsets = [each for each in consumer.position(consumer.assignment()) if each.offset >= 0]
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
            producer.commit_transaction()


def _produce(producer: Producer, topic: str, messages: list[Message], score: Score) -> None:
    produce = producer.produce
    for message in messages:
        body, partition = message.value(), message.partition()
        if body is None or partition is None:
            raise KafkaException(message.error())
        # Naming the partition, the input's, is cheaper than hashing the key and keeps a source's order.
        produce(topic, score(decode_point(body)), message.key(), partition)
