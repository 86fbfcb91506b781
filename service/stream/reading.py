"""Reads what a topic holds right now, once, as any outside reader would: only what was committed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from service.errors import AnomalydError
from service.stream.clients import made
from service.stream.config import KafkaConfig, Properties, merged

_POLL_S = 1.0
_PATIENCE = 30


def read_all(kafka: KafkaConfig, topic: str) -> Iterator[Message]:
    """Every committed record from the log's start to its present end, each partition in its order.

    Raises:
        AnomalydError: the topic is missing, or no record came for half a minute before the end.
    """
    ours: Properties = {
        "group.id": f"anomalyd-reading-{uuid.uuid4().hex}",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": False,
        "fetch.queue.backoff.ms": 5,
        "allow.auto.create.topics": False,
    }
    consumer = made(Consumer, merged(kafka.connection(), ours))
    try:
        yield from _until_end(consumer, topic)
    except KafkaException as error:
        raise AnomalydError(f"topic {topic!r} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _until_end(consumer: Consumer, topic: str) -> Iterator[Message]:
    described = consumer.list_topics(topic, timeout=10.0).topics[topic]
    if described.error is not None:
        raise KafkaException(described.error)
    ends = {}
    for number in described.partitions:
        partition = TopicPartition(topic, number, OFFSET_BEGINNING)
        low, high = consumer.get_watermark_offsets(partition, timeout=10.0)
        if high > low:
            ends[number] = high
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in ends])
    idle = 0
    while ends:
        messages = consumer.consume(10_000, _POLL_S if idle else 0.05)
        idle = 0 if messages else idle + 1
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
            yield message
        # The last offsets of a transactional topic are markers that no reader gets: the position tells.
        for reached in consumer.position([TopicPartition(topic, number) for number in ends]):
            if reached.offset >= ends[reached.partition]:
                del ends[reached.partition]
        if idle > _PATIENCE:
            raise AnomalydError(
                f"topic {topic!r}: no more records, {len(ends)} partitions short of their end"
            )
