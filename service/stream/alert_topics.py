"""The alerting's topics on Kafka: `anomalies` read by one group per channel, `deliveries` written and read.

Knows confluent_kafka on one side and the ports of `service.alerting` on the other; decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from service.alerting.channels.registry import make_channel
from service.alerting.config import AlertingConfig
from service.alerting.ports import AssignmentListener, Ports, Record
from service.alerting.worker import ChannelWorker
from service.clock import Clock
from service.logs import logger
from service.metrics import Metrics
from service.stream.clients import WHOLE, made

_ASK_S = 15.0  # for a question to the cluster
_FLUSH_S = 60.0  # for the deliveries to be acknowledged; a broker may be elected anew in between

_READER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "group.protocol": "classic",
    "partition.assignment.strategy": "cooperative-sticky",
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    # As for the detection loop: at the default of 45 s, a killed worker's alerts would wait that long.
    "session.timeout.ms": 6_000,
    "heartbeat.interval.ms": 1_500,
    # At the default of 1,000 a full queue holds fetching for a second.
    "fetch.queue.backoff.ms": 5,
}
_WRITER = {
    **WHOLE,
    "partitioner": "murmur2_random",
    "compression.type": "lz4",
    "linger.ms": 5,
    # The flush gives up first, so a record is never reported lost and written all the same later on.
    "delivery.timeout.ms": 120_000,
}
# The group is about to hand out its partitions anew; what we did not commit is committed next time, by us
# or, read again, by whoever has the partition then.
_REBALANCING = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001  librdkafka's own codes begin so
        KafkaError._NO_OFFSET,  # noqa: SLF001
    }
)

_log = logger("stream.alert_topics")


def build_workers(
    config: AlertingConfig,
    *,
    anomalies: str,
    deliveries: str,
    group_id: str,
    kafka: Mapping[str, Any],
    metrics: Metrics,
    clock: Clock,
) -> list[ChannelWorker]:
    """One worker per configured channel, not started; `kafka` is what any client needs to connect."""
    return [
        ChannelWorker(
            make_channel(name, channel, clock),
            config,
            _opener(dict(kafka), anomalies, deliveries, f"{group_id}-alerts-{name}"),
            metrics=metrics,
            clock=clock,
            random=Random(),  # noqa: S311  spreads retries, guards nothing
            send_resolved=channel.send_resolved,
        )
        for name, channel in config.channels.items()
    ]


def _opener(kafka: dict[str, Any], anomalies: str, deliveries: str, group_id: str) -> Callable[[], Ports]:
    def open_ports() -> Ports:
        return Ports(
            source=KafkaAnomalySource(kafka, anomalies, group_id),
            log=KafkaDeliveryLog(kafka, deliveries, group_id),
        )

    return open_ports


class KafkaAnomalySource:
    """The anomalies topic as one member of a channel's group reads it (`AnomalySource`)."""

    def __init__(self, kafka: Mapping[str, Any], topic: str, group_id: str) -> None:
        self._topic = topic
        self._consumer = made(Consumer, {**kafka, **_READER, "group.id": group_id, "error_cb": _say})

    def subscribe(self, listener: AssignmentListener) -> None:
        def on_assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            # Done by hand, so that the listener may pause them before anything is fetched.
            consumer.incremental_assign(partitions)
            listener.assigned(_numbers(partitions))

        def on_revoke(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            listener.revoked(_numbers(partitions))
            consumer.incremental_unassign(partitions)

        self._consumer.subscribe([self._topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=on_revoke)

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """The next records.

        Raises:
            KafkaException: the topic cannot be read (it is not there, or not for us).
        """
        messages = self._consumer.consume(max_records, timeout_s)
        return [record for message in messages if (record := _record(message)) is not None]

    def pause(self) -> None:
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        self._consumer.resume(self._consumer.assignment())

    def commit(self, offsets: Mapping[int, int]) -> bool:
        """Commit, and say whether it counts.

        Raises:
            KafkaException: it failed for another reason than a rebalance.
        """
        positions = [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
        try:
            answers = self._consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as failure:
            return _only_rebalancing(failure.args[0])
        return all(answer.error is None or _only_rebalancing(answer.error) for answer in answers)

    def close(self) -> None:
        self._consumer.close()


class KafkaDeliveryLog:
    """The deliveries topic, written with idempotence and read back without a group (`DeliveryLog`)."""

    def __init__(self, kafka: Mapping[str, Any], topic: str, client: str) -> None:
        self._topic = topic
        self._producer = made(Producer, {**kafka, **_WRITER, "error_cb": _say})
        # librdkafka wants a group's name even of a consumer that never joins one.
        reader = {"group.id": f"{client}-deliveries", "enable.partition.eof": True, "error_cb": _say}
        self._consumer = made(Consumer, {**kafka, **_READER, **reader})
        self._failure: KafkaError | None = None
        self._next: dict[int, int] = {}
        self._end: dict[int, int] = {}

    def append(self, key: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value=value, key=key, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def flush(self) -> None:
        """Wait for every acknowledgement.

        Raises:
            KafkaException: a record was refused, or not acknowledged in time.
        """
        left = self._producer.flush(_FLUSH_S)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise KafkaException(failure)
        if left:
            timed_out = KafkaError._TIMED_OUT  # noqa: SLF001
            raise KafkaException(KafkaError(timed_out, f"{left} deliveries not acknowledged"))

    def mark_end(self) -> None:
        """Ask where each partition ends, and begin to read those that are new."""
        found = self._consumer.list_topics(self._topic, timeout=_ASK_S).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)
        fresh = [partition for partition in found.partitions if partition not in self._next]
        for partition in found.partitions:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), _ASK_S)
            self._next.setdefault(partition, low)
            self._end[partition] = high
        if fresh:
            self._consumer.incremental_assign(
                [TopicPartition(self._topic, partition, OFFSET_BEGINNING) for partition in fresh]
            )

    def read_back(self, max_records: int, timeout_s: float) -> Sequence[tuple[str, bytes]] | None:
        if all(self._next[partition] >= end for partition, end in self._end.items()):
            return None
        records = []
        for message in self._consumer.consume(max_records, timeout_s):
            if self._reached(message) and (value := message.value()) is not None:
                key = message.key() or b""
                records.append(
                    (key.decode("utf-8", "replace") if isinstance(key, bytes) else key, _bytes(value))
                )
        return records

    def close(self) -> None:
        """Let go; what was not flushed is dropped, for its writer keeps it."""
        self._producer.purge()
        self._producer.flush(1.0)
        self._consumer.close()

    def _reached(self, message: Message) -> bool:
        """Note how far we read; true for a record, false for the end of a partition."""
        error, partition, offset = message.error(), message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        if error is None:
            self._next[partition] = offset + 1
            return True
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
            raise KafkaException(error)
        # Compaction leaves gaps, so the end may lie past the last record's successor.
        self._next[partition] = max(self._next[partition], offset)
        return False

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = error


def _record(message: Message) -> Record | None:
    if (error := message.error()) is not None:
        if error.retriable():
            return None
        raise KafkaException(error)
    partition, offset, value = message.partition(), message.offset(), message.value()
    assert partition is not None
    assert offset is not None
    kind, timestamp_ms = message.timestamp()
    # Without a timestamp an anomaly has no age: it is neither too old to send nor ever given up for it.
    timestamp_s = float("inf") if kind == TIMESTAMP_NOT_AVAILABLE else timestamp_ms / 1000
    return Record(partition, offset, timestamp_s, None if value is None else _bytes(value))


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _numbers(partitions: list[TopicPartition]) -> list[int]:
    return [partition.partition for partition in partitions]


def _only_rebalancing(error: KafkaError) -> bool:
    """False, for "not committed"; anything but a rebalance is raised."""
    if error.code() in _REBALANCING or error.retriable():
        _log.info("offsets not committed yet", error=error.str())
        return False
    raise KafkaException(error)


def _say(error: KafkaError) -> None:
    _log.warning("kafka", error=error.str(), fatal=error.fatal())
