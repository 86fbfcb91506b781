"""One control record into the input topic, and its answer out of the results, as any outside client would."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from service.errors import AnomalydError
from service.stream.config import KafkaConfig, TopicsConfig
from service.stream.feeding import PointProducer
from service.stream.reading import Span, reader_of, spans_of

_POLL_S = 0.25
_BATCH = 10_000


class Place(NamedTuple):
    """Where a record stands in the log."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}, offset {self.offset}"


def tell(kafka: KafkaConfig, topics: TopicsConfig, source_id: str, body: bytes) -> Place:
    """Write one record under a source's key; where it stands.

    Raises:
        AnomalydError: there is no such topic, no broker answers, or it was not taken.
    """
    topic = topics.name("data_points")
    spans_of(kafka, topic)  # a producer would wait minutes for a topic or a broker that is not there
    producer = PointProducer(kafka, topic)
    producer.send(source_id, body)
    lost = producer.finish()
    if lost or producer.newest is None:
        raise AnomalydError(f"not taken by {topic!r}: {lost[0] if lost else 'no report'}")
    return Place(topic, *producer.newest)


def ask(
    kafka: KafkaConfig, topics: TopicsConfig, source_id: str, body: bytes, timeout_s: float
) -> bytes | None:
    """Write one record as `tell` does; its result, None if none came in time.

    Raises:
        AnomalydError: as `tell`, or the results cannot be read.
    """
    results = topics.name("detection_results")
    before = spans_of(kafka, results, unfinished=True)
    place = tell(kafka, topics, source_id, body)
    consumer = reader_of(kafka)
    try:
        return _answer(consumer, results, before, place, time.monotonic() + timeout_s)
    except KafkaException as error:
        raise AnomalydError(f"topic {results!r} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _answer(
    consumer: Consumer, results: str, before: Mapping[int, Span], place: Place, deadline: float
) -> bytes | None:
    """The value of the first result that names the place, of those behind what was there before."""
    consumer.assign([TopicPartition(results, number, span.stop) for number, span in before.items()])
    while (left := deadline - time.monotonic()) > 0:
        for message in consumer.consume(_BATCH, min(_POLL_S, left)):
            if (error := message.error()) is not None:
                raise KafkaException(error)
            if _origin(message) == place:
                return message.value()
    return None


def _origin(message: Message) -> Place | None:
    headers = dict(cast(list[tuple[str, bytes | None]], message.headers() or []))
    topic, partition, offset = (headers.get(f"x-in-{n}") or b"" for n in ("topic", "partition", "offset"))
    if not (partition.isdigit() and offset.isdigit()):
        return None
    return Place(topic.decode(errors="replace"), int(partition), int(offset))
