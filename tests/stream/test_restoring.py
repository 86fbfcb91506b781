"""The right history or none: a snapshot that leads to where the group stands, and the input after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from service import logs
from service.clock import ManualClock
from service.metrics import Metrics
from service.pipeline import DetectionConfig, DetectionPipeline
from service.stream.reading import Span
from service.stream.records import records_of
from service.stream.restoring import (
    SIDE_BY_SIDE,
    MakePipeline,
    Reader,
    RefusedError,
    Request,
    Restored,
    Restorer,
    Standing,
    cut_off,
    unfit,
)
from service.stream.snapshots.form import NONE, About, Subject
from service.stream.snapshots.writer import SnapshotWriter
from service.stream.topics import TopicIdentity
from service.wire.limits import InputLimits
from service.wire.reader import read
from tests.stream.memory_kafka import MemoryConsumer, MemoryKafka
from tests.stream.snapshots.saved import TOPIC, writer_of

CONFIG = DetectionConfig()
IDENTITY = TopicIdentity("0123456789abcdef", 1)
SUBJECT = Subject("group", "points", IDENTITY.id, 1, CONFIG.model_version())
LIMITS = InputLimits()
RECORDS = 120
PARTITIONS = SIDE_BY_SIDE + 2
PATIENCE_S = 30.0


def pipeline_of(_partition: int, born: int) -> DetectionPipeline:
    return DetectionPipeline(CONFIG, topic="points", born=born)


def feed(pipeline: DetectionPipeline, messages: list[Message]) -> list[bytes]:
    return pipeline.process_read(read(records_of(messages), LIMITS)).results


class World:
    """An input and uninterrupted lives of its partitions, which leave snapshots at some offsets."""

    def __init__(self, partitions: int = 1) -> None:
        self.kafka = MemoryKafka()
        self.identity = IDENTITY
        self.model = SUBJECT.model
        self.writer: SnapshotWriter = writer_of(self.kafka)
        self.make_pipeline: MakePipeline = pipeline_of
        for partition in range(partitions):
            for n in range(RECORDS):
                body = b'{"sourceId":"pump-%d","timestamp":%d,"values":%d}' % (
                    n % 2,
                    1_767_225_600_000 + n,
                    n * (n + partition) % 7,
                )
                self.kafka.append("points", partition, b"pump", body)

    def input(self, start: int, stop: int, partition: int = 0) -> list[Message]:
        return self.kafka.read("points", partition, start, stop - start)

    def live(self, *snapshots: int, committed: int, born: int = 0, partition: int = 0) -> DetectionPipeline:
        """The pipeline at the group's offset."""
        pipeline = pipeline_of(partition, born)
        about = About(SUBJECT, partition, born, born, 0, NONE, NONE, 0)
        self.writer.write(about, pipeline.state()).result()
        at = born
        for offset in snapshots:
            feed(pipeline, self.input(at, offset, partition))
            self.writer.write(replace(about, offset=offset, generation=1), pipeline.state()).result()
            at = offset
        if committed > at:
            feed(pipeline, self.input(at, committed, partition))
        self.kafka.committed["points", partition] = committed
        return pipeline

    def manifests(self, partition: int = 0) -> list[int]:
        log = self.kafka.log(TOPIC, partition)
        return [m.offset() or 0 for m in log if m is not None and cast(bytes, m.key()).endswith(b"manifest")]

    def restored(self, *, from_earliest: bool = True, expected: TopicIdentity | None = None) -> Restored:
        restorer = self.restorer(from_earliest=from_earliest, expected=expected)
        restored = restorer._attempt(Request(0), restorer.make_consumer())  # what one of its threads does
        assert restored is not None
        return restored

    def restorer(
        self,
        *,
        from_earliest: bool = True,
        expected: TopicIdentity | None = None,
        make_consumer: Callable[[], MemoryConsumer] | None = None,
    ) -> Restorer:
        make = make_consumer or (lambda: MemoryConsumer(self.kafka))
        return Restorer(
            make_consumer=lambda: cast(Consumer, make()),
            make_pipeline=self.make_pipeline,
            at_birth=lambda *_: None,
            model=self.model,
            identify=lambda: self.identity,
            expected=expected or self.identity,
            group="group",
            input_topic="points",
            snapshots_topic=TOPIC,
            from_earliest=from_earliest,
            writer=self.writer,
            limits=LIMITS,
            metrics=Metrics(),
            clock=ManualClock(),
            log=logs.logger("test"),
        )


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.writer.close()


@pytest.fixture
def wide() -> Iterator[World]:
    """Of more partitions than are restored side by side."""
    world = World(PARTITIONS)
    yield world
    world.writer.close()


def same(restored: Restored, uninterrupted: DetectionPipeline, world: World) -> bool:
    """Whether both are at the same place and go on alike."""
    mine, theirs = restored.pipeline.state(), uninterrupted.state()
    alike = mine.keys() == theirs.keys() and all(mine[n].tobytes() == theirs[n].tobytes() for n in mine)
    rest = world.input(restored.offset, RECORDS, restored.request.partition)
    return alike and feed(restored.pipeline, rest) == feed(uninterrupted, rest)


def test_it_goes_on_from_the_newest_snapshot_and_what_came_after(world: World) -> None:
    uninterrupted = world.live(20, 40, 60, committed=75)
    restored = world.restored()
    assert (restored.offset, restored.about.offset) == (75, 60)
    assert same(restored, uninterrupted, world)


def test_a_snapshot_at_the_groups_offset_needs_no_replay(world: World) -> None:
    uninterrupted = world.live(20, 40, committed=40)
    restored = world.restored()
    assert (restored.offset, restored.about.offset) == (40, 40)
    assert same(restored, uninterrupted, world)


@pytest.mark.parametrize(("broken", "used"), [(1, 40), (2, 20), (3, 0)])
def test_an_older_one_is_used_for_each_that_is_broken(world: World, broken: int, used: int) -> None:
    uninterrupted = world.live(20, 40, 60, committed=75)
    for at in world.manifests()[-broken:]:
        world.kafka.change(TOPIC, at, b"")
    restored = world.restored()
    assert restored.about.offset == used
    assert same(restored, uninterrupted, world)


def test_a_snapshot_beyond_the_groups_offset_is_passed_over(world: World) -> None:
    world.live(20, 40, 60, committed=75)
    world.kafka.committed["points", 0] = 55
    restored = world.restored()
    assert (restored.offset, restored.about.offset) == (55, 40)


def test_the_next_snapshot_takes_the_place_of_those_that_were_passed_over(world: World) -> None:
    world.live(20, 40, 60, committed=75)
    world.kafka.committed["points", 0] = 25
    restored = world.restored()
    written = world.writer.write(replace(restored.about, offset=25), restored.pipeline.state()).result()
    assert written is not None
    assert written.generation == 2


def test_a_topic_without_snapshots_and_a_group_without_offset_is_a_birth_that_is_written_down(
    world: World,
) -> None:
    restored = world.restored()
    assert (restored.offset, restored.about.is_birth) == (0, True)
    again = world.restored()
    assert (again.offset, again.about.is_birth) == (0, True)
    assert len(world.manifests()) == 1


def test_a_birth_is_where_the_log_begins_or_ends(world: World) -> None:
    world.kafka.delete_below("points", 30)
    assert world.restored(from_earliest=False).offset == RECORDS
    world.kafka.logs[TOPIC, 0] = []
    assert world.restored().offset == 30


def test_snapshots_of_other_groups_are_none(world: World) -> None:
    other = replace(SUBJECT, group="other")
    world.writer.write(About(other, 0, 0, 50, 1, NONE, NONE, 0), pipeline_of(0, 0).state()).result()
    assert world.restored().offset == 0


# Refusals: each names what is wrong and the way out.


def every_manifest_broken(world: World) -> None:
    for at in world.manifests():
        world.kafka.change(TOPIC, at, b"?")


def every_chunk_broken(world: World) -> None:
    for message in world.kafka.log(TOPIC):
        assert message is not None
        if not cast(bytes, message.key()).endswith(b"manifest"):
            world.kafka.change(TOPIC, message.offset() or 0, b"?")


def snapshots_deleted(world: World) -> None:
    world.kafka.logs[TOPIC, 0] = []


def other_model(world: World) -> None:
    world.model = "another"


def topic_made_again(world: World) -> None:
    world.identity = TopicIdentity("fedcba9876543210", 1)


def more_partitions(world: World) -> None:
    world.identity = TopicIdentity(IDENTITY.id, 2)


def group_deleted(world: World) -> None:
    del world.kafka.committed["points", 0]


def group_deleted_and_newer_broken(world: World) -> None:
    group_deleted(world)
    for at in world.manifests()[1:]:
        world.kafka.change(TOPIC, at, b"?")


def scored_too_late(world: World) -> None:
    world.kafka.delete_below("points", 80)


def replay_gone(world: World) -> None:
    world.kafka.delete_below("points", 70)


def log_too_short(world: World) -> None:
    world.kafka.log("points")[70:] = []


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (every_manifest_broken, "the manifest does not match its digest"),
        (every_chunk_broken, "is broken: chunk 0 is not there or does not match its digest"),
        (snapshots_deleted, "there is no snapshot"),
        (other_model, f"is of model {SUBJECT.model}, these settings and this program are another"),
        (topic_made_again, "is of a topic of that name which was deleted since"),
        (more_partitions, "is of 1 partitions, there are 2 now"),
        (group_deleted, "but it has no offset any more"),
        (group_deleted_and_newer_broken, "the group has no offset, and no history leads there"),
        (scored_too_late, "5 records were deleted before they were scored"),
        (replay_gone, "what came between the snapshot at 60 and the group's offset 75 is gone"),
        (log_too_short, "it is not the log that the group has read"),
    ],
)
def test_it_refuses_and_says_why_and_what_to_do(
    world: World, damage: Callable[[World], None], says: str
) -> None:
    world.live(20, 40, 60, committed=75)
    damage(world)
    with pytest.raises(RefusedError) as refused:
        world.restored()
    assert "partition 0 of 'points'" in str(refused.value)
    assert says in str(refused.value)
    assert str(refused.value).endswith(
        "`anomalyd upgrade` begins a new history there; results before it stay as they are"
    )


class LostConsumer(MemoryConsumer):
    """Its client holds for ever that there is no such partition."""

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))


def test_a_client_that_lost_the_cluster_is_replaced_before_the_next_attempt(world: World) -> None:
    uninterrupted = world.live(60, committed=100)
    consumers = iter([LostConsumer(world.kafka), MemoryConsumer(world.kafka)])
    restorer = world.restorer(make_consumer=lambda: next(consumers))
    restorer._restore(Request(0), Reader(restorer.make_consumer))
    (restored,) = restorer.done()
    assert same(restored, uninterrupted, world)


def test_it_refuses_when_the_input_has_other_partitions_than_at_the_start(world: World) -> None:
    world.live(20, committed=30)
    with pytest.raises(RefusedError, match="has 1 partitions, it had 2 when this process started"):
        world.restored(expected=TopicIdentity(IDENTITY.id, 2))


# Several partitions.


@contextmanager
def running(restorer: Restorer) -> Iterator[Restorer]:
    restorer.start()
    try:
        yield restorer
    finally:
        restorer.close()


def outcomes(restorer: Restorer, count: int) -> list[Restored | Exception]:
    """What the threads come to, in the order in which they do."""
    return [restorer._done.get(timeout=PATIENCE_S) for _ in range(count)]


def test_partitions_are_restored_side_by_side_and_each_goes_on_alike(wide: World) -> None:
    uninterrupted = [wide.live(20 + n, committed=40 + n, partition=n) for n in range(PARTITIONS)]
    wide.kafka.change(TOPIC, wide.manifests(1)[-1], b"", 1)
    met = threading.Barrier(SIDE_BY_SIDE, timeout=PATIENCE_S)

    def make_pipeline(partition: int, born: int) -> DetectionPipeline:
        if partition < SIDE_BY_SIDE:
            met.wait()  # for all of them to be at it
        return pipeline_of(partition, born)

    wide.make_pipeline = make_pipeline
    with running(wide.restorer()) as restorer:
        for n in range(PARTITIONS):
            restorer.ask(Request(n))
        for restored in outcomes(restorer, PARTITIONS):
            assert isinstance(restored, Restored)
            n = restored.request.partition
            assert restored.about.offset == (0 if n == 1 else 20 + n)
            assert same(restored, uninterrupted[n], wide)


def test_one_that_is_refused_holds_up_no_other(wide: World) -> None:
    for n in range(PARTITIONS):
        wide.live(20, committed=40, partition=n)
    wide.kafka.logs[TOPIC, 0] = []
    with running(wide.restorer()) as restorer:
        for n in range(PARTITIONS):
            restorer.ask(Request(n))
        came = outcomes(restorer, PARTITIONS)
    (refused,) = [outcome for outcome in came if isinstance(outcome, Exception)]
    assert isinstance(refused, RefusedError)
    assert "partition 0 of 'points'" in str(refused)


def test_one_that_was_cancelled_comes_to_nothing(wide: World) -> None:
    for n in range(PARTITIONS):
        wide.live(20, committed=40, partition=n)
    early, meanwhile, wanted = Request(0), Request(1), Request(2)
    early.cancelled = True

    def make_pipeline(partition: int, born: int) -> DetectionPipeline:
        meanwhile.cancelled |= partition == meanwhile.partition
        return pipeline_of(partition, born)

    wide.make_pipeline = make_pipeline
    restorer = wide.restorer()
    reader = Reader(restorer.make_consumer)
    for request in (early, meanwhile, wanted):
        restorer._restore(request, reader)
    assert [restored.request for restored in restorer.done()] == [wanted]


# The rules alone.

ABOUT = About(SUBJECT, 0, 0, 60, 3, NONE, NONE, 0)
STANDING = Standing(Span(0, 100), 75)


@pytest.mark.parametrize(
    ("changed", "standing", "why"),
    [
        ({}, STANDING, None),
        ({}, replace(STANDING, committed=60), None),
        ({}, replace(STANDING, committed=59), "beyond the group's offset 59"),
        ({}, replace(STANDING, committed=-1001), "has no offset any more"),
        ({"generation": 0}, replace(STANDING, committed=-1001), None),
        ({"subject": replace(SUBJECT, model="m")}, STANDING, "of model m"),
        ({"subject": replace(SUBJECT, partitions=8)}, STANDING, "of 8 partitions"),
        ({"subject": replace(SUBJECT, topic_id="x")}, STANDING, "deleted since"),
    ],
)
def test_a_snapshot_fits_or_one_reason_is_why_not(
    changed: dict[str, Any], standing: Standing, why: str | None
) -> None:
    said = unfit(replace(ABOUT, **changed), SUBJECT, standing)
    assert said == why if why is None or said is None else why in said


@pytest.mark.parametrize(
    ("log", "stop", "why"),
    [
        (Span(0, 100), 75, None),
        (Span(60, 100), 75, None),
        (Span(60, 75), 75, None),
        (Span(61, 100), 75, "is gone"),
        (Span(75, 100), 75, "is gone"),
        (Span(76, 100), 75, "1 records were deleted before they were scored"),
        (Span(60, 100), 60, None),
        (Span(61, 100), 60, "1 records were deleted"),
        (Span(0, 74), 75, "it is not the log"),
    ],
)
def test_the_input_leads_on_or_one_reason_is_why_not(log: Span, stop: int, why: str | None) -> None:
    said = cut_off(log, ABOUT, stop)
    assert said == why if why is None or said is None else why in said
