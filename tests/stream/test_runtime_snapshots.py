"""A snapshot is only of a state whose every record is committed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from service import logs
from service.clock import ManualClock
from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.stream.cluster import ClusterState
from service.stream.config import StreamConfig
from service.stream.output import Route
from service.stream.restoring import Request, Restored, Restorer
from service.stream.runtime import StreamRuntime
from service.stream.snapshots.config import SnapshotsConfig
from service.stream.snapshots.taking import SnapshotTaker
from service.stream.transaction import Transactions
from service.wire.limits import InputLimits
from tests.stream.memory_kafka import MemoryKafka
from tests.stream.snapshots.saved import about, snapshots_of, writer_of

PARTITION = TopicPartition("points", 0)


class OneByOne:
    """Hands out a record a turn."""

    def __init__(self) -> None:
        self.next = 0

    def __getattr__(self, _name: str) -> Any:
        return lambda *_, **__: None

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, -1

    def consume(self, _most: int, _timeout_s: float) -> list[Message]:
        body = b'{"sourceId":"pump","timestamp":%d,"values":1}' % (1_767_225_600_000 + self.next)
        self.next += 1
        at = (1, 1_767_225_600_000)
        return [Message(topic="points", partition=0, offset=self.next - 1, value=body, timestamp=at)]


class Restoring:
    """Restores at once, at offset 0, from a snapshot of just now."""

    def ask(self, request: Request) -> None:
        just_now = replace(about(0, 0), taken_ms=int(ManualClock().now() * 1000))
        self.restored = [Restored(request, DetectionPipeline(), 0, just_now)]

    def done(self) -> list[Restored]:
        return self.restored


class Fenced:
    """Commits until it is fenced off."""

    def __init__(self) -> None:
        self.fenced = False

    def run(self, *_: Any) -> None:
        if self.fenced:
            raise KafkaException(KafkaError(KafkaError._FENCED, "fenced", fatal=True))


def live(transactions: Fenced, kafka: MemoryKafka) -> StreamRuntime:
    """A runtime that has committed three records."""
    metrics, log, clock = Metrics(), logs.logger("stream"), ManualClock()
    writer = writer_of(kafka, clock)
    runtime = StreamRuntime(
        consumer=cast(Consumer, OneByOne()),
        transactions=cast(Transactions, transactions),
        restorer=cast(Restorer, Restoring()),
        snapshots=SnapshotTaker(SnapshotsConfig(), writer, metrics, clock),
        writer=writer,
        route=Route("points", "results", "anomalies", "letters", 1 << 20, frozenset()),
        publish="all",
        config=StreamConfig(max_batch_records=1),
        limits=InputLimits(),
        cluster=ClusterState(metrics, log),
        metrics=metrics,
        clock=clock,
        log=log,
    )
    runtime._on_assign(cast(Consumer, OneByOne()), [PARTITION])
    for _ in range(3):
        runtime.turn()
    return runtime


def left_behind(runtime: StreamRuntime, kafka: MemoryKafka) -> list[int]:
    """The offsets of the snapshots that are there once the partition has left."""
    runtime._on_revoke(cast(Consumer, OneByOne()), [PARTITION])  # as closing the consumer calls it
    return [found.about.offset for found in snapshots_of(kafka).newest_first()]


def test_a_partition_that_leaves_between_two_batches_leaves_a_snapshot_of_all_that_was_committed() -> None:
    kafka = MemoryKafka()
    assert left_behind(live(Fenced(), kafka), kafka) == [3]


def test_one_that_leaves_within_a_transaction_leaves_none_for_its_state_knows_too_much() -> None:
    kafka, transactions = MemoryKafka(), Fenced()
    runtime = live(transactions, kafka)
    transactions.fenced = True
    with pytest.raises(KafkaException, match="fenced"):
        runtime.turn()
    assert left_behind(runtime, kafka) == []
