"""What the loop makes of polls, of commits that fail and of partitions that leave; Kafka is played."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from service import logs
from service.clock import ManualClock
from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.stream.cluster import ClusterState
from service.stream.config import StreamConfig
from service.stream.output import Route
from service.stream.restoring import Request, Restored
from service.stream.runtime import Stopped, StreamRuntime
from service.stream.snapshots.config import SnapshotsConfig
from service.stream.snapshots.form import About, Subject
from service.stream.snapshots.taking import SnapshotTaker
from service.stream.snapshots.writer import Written
from service.stream.transaction import TransactionAborted
from service.wire.limits import InputLimits

HERE = [TopicPartition("points", 0)]
BORN = About(Subject("group", "points", "id", 1, "model"), 0, 0, 0, 0, -1, -1, 1_700_000_000_000)


def point(offset: int) -> Message:
    body = b'{"sourceId":"a","timestamp":%d,"values":1}' % offset
    return Message("points", 0, offset, None, body, None, None, (1, offset))


class PlayedConsumer:
    """Gives out what the test lays down; notes what it is told."""

    def __init__(self) -> None:
        self.coming: list[Message] = []
        self.before_giving: Callable[[], None] = lambda: None
        self.told: list[tuple[str, list[tuple[int, int]]]] = []

    def consume(self, _most: int, _timeout_s: float) -> list[Message]:
        self.before_giving()
        given, self.coming = self.coming, []
        return given

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:  # noqa: ARG002
        return partitions

    def get_watermark_offsets(self, _: TopicPartition, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, 100

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(what: TopicPartition | list[TopicPartition]) -> None:
            partitions = what if isinstance(what, list) else [what]
            self.told.append((name, [(tp.partition, tp.offset) for tp in partitions]))

        return tell


class PlayedTransactions:
    """Commits, unless it is to raise."""

    def __init__(self) -> None:
        self.fault: Exception | None = None

    def produce_ahead(self, *_: object) -> None:
        """Nothing is sent anywhere."""

    def run(self, *_: object) -> None:
        if self.fault is not None:
            raise self.fault

    def renew(self) -> None:
        """Nothing is left open."""


class ReadyRestorer:
    """Has every partition restored at once unless it is slow, with nothing learned."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.slow = False

    def ask(self, request: Request) -> None:
        self.asked.append(request)

    def done(self) -> list[Restored]:
        if self.slow:
            return []
        asked, self.asked = self.asked, []
        return [
            Restored(each, DetectionPipeline(), 0, replace(BORN, partition=each.partition)) for each in asked
        ]


class NotingWriter:
    """Keeps what it was to write."""

    def __init__(self) -> None:
        self.written: list[About] = []

    def rested(self, _: float) -> bool:
        return True

    def seconds(self, _: int) -> float:
        return 0.0

    def make_room(self, _: int) -> None:
        pass

    def save(self, about: About, _: object) -> Future[Written | None]:
        self.written.append(about)
        return Future()

    write = save

    def wait(self, _: float) -> bool:
        return True


class Played:
    """A runtime among players."""

    def __init__(self) -> None:
        self.consumer, self.transactions = PlayedConsumer(), PlayedTransactions()
        self.restorer, self.writer = ReadyRestorer(), NotingWriter()
        metrics, log, clock = Metrics(), logs.logger("stream"), ManualClock()
        given: dict[str, Any] = {
            "consumer": self.consumer,
            "transactions": self.transactions,
            "restorer": self.restorer,
            "writer": self.writer,
        }
        self.clock = clock
        self.runtime = StreamRuntime(
            snapshots=SnapshotTaker(SnapshotsConfig(), self.writer, metrics, clock),  # type: ignore[arg-type]
            route=Route("points", "results", "anomalies", "letters", 1 << 20, frozenset()),
            publish="all",
            config=StreamConfig(max_batch_records=1),
            limits=InputLimits(),
            cluster=ClusterState(metrics, log),
            metrics=metrics,
            clock=clock,
            log=log,
            **given,
        )

    def assign(self) -> None:
        self.runtime._on_assign(self.consumer, HERE)  # type: ignore[arg-type]

    def revoke(self) -> None:
        self.runtime._on_revoke(self.consumer, HERE)  # type: ignore[arg-type]

    def lose(self) -> None:
        self.runtime._on_lost(self.consumer, HERE)  # type: ignore[arg-type]

    def turn(self, *offsets: int) -> None:
        self.consumer.coming = [point(offset) for offset in offsets]
        self.runtime.turn()


def test_a_fatal_error_ends_the_loop_though_its_partitions_left_in_the_same_poll() -> None:
    played = Played()
    played.assign()
    played.consumer.before_giving = played.lose
    # As librdkafka hands out an error that is no partition's: it says 0.
    played.consumer.coming = [Message(partition=0, error=KafkaError(KafkaError._FATAL, "fenced"))]
    with pytest.raises(KafkaException, match="fenced"):
        played.runtime.turn()


def test_an_assigned_partition_stands_still_until_it_is_restored_and_goes_on_where_the_group_stands() -> None:
    played = Played()
    played.assign()
    assert played.consumer.told == [("incremental_assign", [])]
    assert not played.runtime.ready
    played.turn()
    assert played.consumer.told[1:] == [("incremental_assign", [(0, 0)]), ("resume", [(0, 0)])]
    assert played.runtime.ready


def test_a_partition_that_leaves_is_saved_at_what_is_committed() -> None:
    played = Played()
    played.assign()
    played.turn(0)
    played.turn(1)
    played.revoke()
    assert [about.offset for about in played.writer.written] == [2]
    assert not played.writer.written[0].is_birth


def test_a_state_that_knows_a_batch_which_was_not_committed_is_never_saved() -> None:
    played = Played()
    played.assign()
    played.turn(0)
    played.transactions.fault = Stopped()
    with pytest.raises(Stopped):
        played.turn(1)
    played.clock.advance(3600.0)
    played.revoke()  # as leaving the group does
    assert played.writer.written == []


def test_a_partition_that_left_while_it_was_restored_is_not_taken_up() -> None:
    played = Played()
    played.assign()
    (request,) = played.restorer.asked
    played.revoke()
    assert request.cancelled
    played.runtime.turn()
    assert played.consumer.told == [("incremental_assign", []), ("incremental_unassign", [])]


def test_a_snapshot_comes_with_time_and_only_if_something_came() -> None:
    played = Played()
    played.assign()
    played.turn()
    played.clock.advance(3600.0)
    played.turn()
    assert played.writer.written == []
    played.turn(0)
    assert [about.offset for about in played.writer.written] == [1]


def test_no_snapshot_is_taken_before_every_partition_is_restored() -> None:
    played = Played()
    played.assign()
    played.turn(0)
    played.clock.advance(3600.0)
    played.restorer.slow = True
    played.runtime._on_assign(played.consumer, [TopicPartition("points", 1)])  # type: ignore[arg-type]
    played.turn()
    assert played.writer.written == []
    played.restorer.slow = False
    played.turn()
    assert [about.partition for about in played.writer.written] == [0]


def test_a_partition_whose_batch_was_undone_goes_back_to_where_the_group_stands() -> None:
    played = Played()
    played.assign()
    played.turn(0, 1)
    played.transactions.fault = TransactionAborted(KafkaError(KafkaError.ILLEGAL_GENERATION))
    played.turn(2)
    assert [name for name, _ in played.consumer.told[3:]] == ["pause"]
    played.turn()
    assert played.consumer.told[4:] == [("seek", [(0, 0)]), ("resume", [(0, 0)])]


def test_a_partition_that_left_while_it_was_paused_goes_on_when_it_comes_back() -> None:
    played = Played()
    played.assign()
    played.turn(0)
    played.transactions.fault = TransactionAborted(KafkaError(KafkaError.ILLEGAL_GENERATION))
    played.turn(1)
    played.lose()
    assert [name for name, _ in played.consumer.told[3:]] == ["pause", "incremental_unassign"]
    played.assign()
    played.turn()
    assert [name for name, _ in played.consumer.told[6:]] == ["incremental_assign", "resume"]
