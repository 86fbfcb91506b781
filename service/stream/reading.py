"""Reads what topics hold right now, once, as any outside reader would: only what was committed."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from service.errors import AnomalydError
from service.stream.clients import made
from service.stream.config import KafkaConfig, Properties, merged

_ASK_S = 10.0
_POLL_S = 0.05  # a full batch is waited for so long
_PATIENCE = 600  # empty polls

# A partition has no leader, or another one than we think: soon over, after a topic was made or a broker died.
_MOVING = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})


class Span(NamedTuple):
    """Offsets `start` to `stop` of one partition; not every one of them need be a record."""

    start: int
    stop: int


def read_all(kafka: KafkaConfig, topic: str) -> Iterator[Message]:
    """Every committed record from the log's start to its present end, each partition in its order.

    Raises:
        AnomalydError: the topic is missing, or no record came for half a minute before the end.
    """
    for messages in read_spans(kafka, topic, spans_of(kafka, topic)):
        yield from messages


def spans_of(kafka: KafkaConfig, topic: str, *, unfinished: bool = False) -> dict[int, Span]:
    """What each partition of the topic holds now; with `unfinished` also what open transactions wrote.

    Raises:
        AnomalydError: the topic is missing, or no broker answers.
    """
    consumer = reader_of(kafka, "read_uncommitted" if unfinished else "read_committed")
    try:
        described = consumer.list_topics(topic, timeout=_ASK_S).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        partitions = sorted(described.partitions)
        return {number: span_of(consumer, TopicPartition(topic, number)) for number in partitions}
    except KafkaException as error:
        raise _unreadable(topic, error) from error
    finally:
        consumer.close()


def committed_offsets(kafka: KafkaConfig, topic: str) -> dict[int, int]:
    """Where the settings' group stands in each partition of the topic; negative where it has no offset.

    Raises:
        AnomalydError: the topic is missing, or no broker answers.
    """
    consumer = reader_of(kafka, "read_committed", kafka.group_id)  # asked about, never joined
    try:
        described = consumer.list_topics(topic, timeout=_ASK_S).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        partitions = [TopicPartition(topic, number) for number in sorted(described.partitions)]
        return {tp.partition: tp.offset for tp in consumer.committed(partitions, timeout=_ASK_S)}
    except KafkaException as error:
        raise _unreadable(topic, error) from error
    finally:
        consumer.close()


def offsets_at(kafka: KafkaConfig, topic: str, partitions: Collection[int], time_ms: int) -> dict[int, int]:
    """The first offset of each partition that is not older; negative where all are.

    Raises:
        AnomalydError: no broker answers.
    """
    consumer = reader_of(kafka, "read_committed")
    try:
        times = [TopicPartition(topic, number, time_ms) for number in partitions]
        return {tp.partition: tp.offset for tp in consumer.offsets_for_times(times, timeout=_ASK_S)}
    except KafkaException as error:
        raise _unreadable(topic, error) from error
    finally:
        consumer.close()


def read_spans(kafka: KafkaConfig, topic: str, spans: Mapping[int, Span]) -> Iterator[list[Message]]:
    """The committed records of these offsets in batches; waits for transactions open there to end.

    A batch mixes partitions, each in its order.

    Raises:
        AnomalydError: no record came for half a minute before the end.
    """
    consumer = reader_of(kafka)
    try:
        yield from read_with(consumer, topic, spans)
    finally:
        consumer.close()


def read_with(consumer: Consumer, topic: str, spans: Mapping[int, Span]) -> Iterator[list[Message]]:
    """`read_spans` with a consumer of `reader_of` that is there already; what it was assigned, it is no more.

    Raises:
        AnomalydError: no record came for half a minute before the end.
    """
    try:
        yield from _until_end(consumer, topic, spans)
    except KafkaException as error:
        raise _unreadable(topic, error) from error


def reader_of(
    kafka: KafkaConfig,
    isolation: str = "read_committed",
    group: str | None = None,
    *,
    skip_deleted: bool = True,
) -> Consumer:
    """A consumer that is of no group; `group` is one to ask about.

    Where records were deleted since it was asked what there is, it goes on behind them if `skip_deleted`,
    otherwise it fails.
    """
    ours: Properties = {
        "group.id": group or f"anomalyd-reading-{uuid.uuid4().hex}",
        "enable.auto.commit": False,
        "isolation.level": isolation,
        "enable.partition.eof": False,
        "auto.offset.reset": "earliest" if skip_deleted else "error",
        "fetch.queue.backoff.ms": 5,
        # Read ahead as much as there is to do while more comes; several may read side by side.
        "queued.max.messages.kbytes": 16_384,
        # A fetch that waits at a log's end holds up the next one, of another place, by as long.
        "fetch.wait.max.ms": 5,
        "allow.auto.create.topics": False,
    }
    return made(Consumer, merged(kafka.connection(), ours))


def _unreadable(topic: str, error: KafkaException) -> AnomalydError:
    return AnomalydError(f"topic {topic!r} cannot be read: {error.args[0].str()}")


def span_of(consumer: Consumer, partition: TopicPartition) -> Span:
    """What a partition holds, asked again while it changes its leader."""
    tries = _PATIENCE
    while True:
        tries -= 1
        try:
            return Span(*consumer.get_watermark_offsets(partition, timeout=_ASK_S))
        except KafkaException as error:
            if not tries or error.args[0].code() not in _MOVING:
                raise
        consumer.poll(_POLL_S)  # assigned nothing: a pause


def _until_end(consumer: Consumer, topic: str, spans: Mapping[int, Span]) -> Iterator[list[Message]]:
    ends = {number: span.stop for number, span in spans.items() if span.stop > span.start}
    # Connected and knowing the topic it begins at once; otherwise it looks for it twice a second.
    consumer.list_topics(topic, timeout=_ASK_S)
    consumer.assign([TopicPartition(topic, number, spans[number].start) for number in ends])
    idle = 0
    positions = [TopicPartition(topic, number, spans[number].start) for number in ends]
    while ends:
        # No more than can still come: a full batch is handed out at once.
        left = sum(ends[at.partition] - max(at.offset, spans[at.partition].start) for at in positions)
        messages = consumer.consume(min(max(left, 1), 10_000), _POLL_S)
        idle = 0 if messages else idle + 1
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
        # What came after the ends were asked for is for another time.
        wanted = [m for m in messages if (m.offset() or 0) < spans[m.partition() or 0].stop]
        if wanted:
            yield wanted
        # The last offsets of a transactional topic are markers that no reader gets: the position tells.
        positions = consumer.position([TopicPartition(topic, number) for number in ends])
        for reached in positions:
            if reached.offset >= ends[reached.partition]:
                del ends[reached.partition]
        positions = [reached for reached in positions if reached.partition in ends]
        if idle > _PATIENCE:
            raise AnomalydError(
                f"topic {topic!r}: no more records, {len(ends)} partitions short of their end"
                " (a transaction that was left open holds up every reader)"
            )
