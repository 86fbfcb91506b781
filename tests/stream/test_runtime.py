"""What the loop makes of a poll that brings a change of partitions and an error of the whole consumer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from service import logs
from service.clock import ManualClock
from service.metrics import Metrics
from service.stream.cluster import ClusterState
from service.stream.config import StreamConfig
from service.stream.output import Route
from service.stream.restoring import Request, Restored
from service.stream.runtime import StreamRuntime
from service.stream.snapshots.config import SnapshotsConfig
from service.stream.snapshots.taking import SnapshotTaker
from service.stream.snapshots.writer import SnapshotWriter
from service.stream.transaction import Transactions
from service.wire.limits import InputLimits


class LosingConsumer:
    """Loses its partitions inside the poll in which it is fenced."""

    def __init__(self) -> None:
        self.on_lost: Callable[[Any, list[TopicPartition]], None] = lambda *_: None

    def incremental_assign(self, assigned: list[TopicPartition]) -> None:
        pass

    def pause(self, assigned: list[TopicPartition]) -> None:
        pass

    def consume(self, _most: int, _timeout_s: float) -> list[Message]:
        self.on_lost(self, [TopicPartition("points", 0)])
        # As librdkafka hands out an error that is no partition's: it says 0.
        return [Message(partition=0, error=KafkaError(KafkaError._FATAL, "fenced"))]


class NoRestorer:
    """Never gets done."""

    def ask(self, request: Request) -> None:
        pass

    def done(self) -> list[Restored]:
        return []


def test_a_fatal_error_ends_the_loop_though_its_partitions_left_in_the_same_poll() -> None:
    consumer, metrics, log, clock = LosingConsumer(), Metrics(), logs.logger("stream"), ManualClock()
    writer = SnapshotWriter(
        lambda: pytest.fail("no producer is needed"), "snapshots", metrics=metrics, clock=clock, log=log
    )
    runtime = StreamRuntime(
        consumer=consumer,  # type: ignore[arg-type]
        transactions=Transactions(lambda: pytest.fail("no producer is needed"), lambda _: None),
        restorer=NoRestorer(),  # type: ignore[arg-type]
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
    runtime._on_assign(consumer, [TopicPartition("points", 0)])  # type: ignore[arg-type]
    consumer.on_lost = runtime._on_lost

    with pytest.raises(KafkaException, match="fenced"):
        runtime.turn()
