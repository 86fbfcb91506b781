"""Brings partitions to where their group stands, beside the loop: a snapshot, then the input after it.

The state at an offset is a pure function of the input before it. So a snapshot at S is right if and only if
S is not beyond C, the group's committed offset, whoever wrote it and whenever; and running the records from S
to C through the pipeline again, without publishing, gives the very state in which C was committed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, TopicPartition

from service import allocator
from service.clock import Clock
from service.errors import AnomalydError
from service.history.frozen import BrokenError
from service.logs import Logger
from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.stream.crash_points import here
from service.stream.reading import Span, read_with, span_of
from service.stream.records import records_of
from service.stream.snapshots.cache import SnapshotCache
from service.stream.snapshots.finding import Snapshots
from service.stream.snapshots.form import NONE, About, Subject
from service.stream.snapshots.writer import SnapshotWriter, Written
from service.stream.topics import TopicIdentity
from service.wire.limits import InputLimits
from service.wire.reader import read

SIDE_BY_SIDE = 4
_ASK_S = 10.0
_AGAIN_S = 0.5
_TELL_EVERY_S = 5.0
_UPGRADE = "`anomalyd upgrade` begins a new history there; results before it stay as they are"

MakePipeline = Callable[[int, int], DetectionPipeline]
"""From a partition and the offset where its history begins."""


class RefusedError(AnomalydError):
    """A partition's history cannot be had to the bit; the message says why and what to do."""


@dataclass(eq=False, slots=True)
class Request:
    """One partition that is to be restored, for as long as nobody cancels it."""

    partition: int
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """A pipeline as it was when `offset` was committed."""

    request: Request
    pipeline: DetectionPipeline
    offset: int
    about: About


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a partition's input and its group stand."""

    log: Span
    committed: int  # negative if nothing was committed


@dataclass(slots=True)
class _Underway:
    """A partition between its snapshot and where the group stands."""

    pipeline: DetectionPipeline
    about: About
    stop: int


class Reader:
    """The consumer of one thread, which joins no group."""

    def __init__(self, make: Callable[[], Consumer]) -> None:
        self._make = make
        self.consumer = make()

    def renew(self) -> None:
        """Replace the consumer: what it holds of a cluster that was away may be wrong for minutes.

        After a controller's death one said `Unknown partition` until its next refresh of all metadata, which
        is due every five minutes.
        """
        self.consumer.close()
        self.consumer = self._make()


@dataclass(slots=True)
class Restorer:
    """A few threads, each with a reader of its own, that restore one partition each at a time.

    Most of a restore is waiting for the cluster; hashing chunks and scoring leave the interpreter to others.

    Args:
        make_consumer: gives a consumer of `reading.reader_of` that may ask about the group's offsets.
        make_pipeline: gives a pipeline that knows nothing yet.
        at_birth: gets each pipeline whose history begins, and its partition: benchmarks give it a past.
        model: the version of the pipelines' model.
        identify: says what the input topic is now.
        expected: what the input topic was when the service started.
    """

    make_consumer: Callable[[], Consumer]
    make_pipeline: MakePipeline
    at_birth: Callable[[DetectionPipeline, int], None]
    model: str
    identify: Callable[[], TopicIdentity]
    expected: TopicIdentity
    group: str
    input_topic: str
    snapshots_topic: str
    from_earliest: bool
    writer: SnapshotWriter
    limits: InputLimits
    metrics: Metrics
    clock: Clock
    log: Logger
    cache: SnapshotCache | None = None
    _wanted: queue.SimpleQueue[Request | None] = field(default_factory=queue.SimpleQueue)
    _done: queue.SimpleQueue[Restored | Exception] = field(default_factory=queue.SimpleQueue)
    _stop: threading.Event = field(default_factory=threading.Event)

    # From the loop.

    def start(self) -> None:
        for _ in range(SIDE_BY_SIDE):
            threading.Thread(target=self._run, name="restore", daemon=True).start()

    def ask(self, request: Request) -> None:
        """Restore this partition soon."""
        self._wanted.put(request)

    def done(self) -> Iterator[Restored]:
        """What is restored by now and was not asked for before.

        Raises:
            RefusedError: a partition cannot be restored.
            Exception: whatever else ended a restore.
        """
        while True:
            try:
                outcome = self._done.get_nowait()
            except queue.Empty:
                return
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    def close(self) -> None:
        """End the threads, without waiting for restores that are under way."""
        self._stop.set()
        for _ in range(SIDE_BY_SIDE):
            self._wanted.put(None)

    # In a thread.

    def _run(self) -> None:
        try:
            reader = Reader(self.make_consumer)
            try:
                while (request := self._wanted.get()) is not None and not self._stop.is_set():
                    self._restore(request, reader)
            finally:
                reader.consumer.close()
        except Exception as error:  # noqa: BLE001  the thread's outermost line: the loop raises it
            self._done.put(error)

    def _restore(self, request: Request, reader: Reader) -> None:
        """As often as it takes for the cluster to answer, unless nobody wants it any more."""
        said = False
        while not self._unwanted(request):
            try:
                restored = self._attempt(request, reader.consumer)
            except RefusedError:
                raise
            except (KafkaException, AnomalydError) as error:
                if not said:
                    self._log_trouble(request, error)
                    said = True
                self.clock.wait(self._stop, _AGAIN_S)
                reader.renew()
            else:
                if restored is not None:
                    self._done.put(restored)
                return

    def _unwanted(self, request: Request) -> bool:
        return request.cancelled or self._stop.is_set()

    def _log_trouble(self, request: Request, error: Exception) -> None:
        partition = request.partition
        self.log.warning("restoring goes on when Kafka answers", partition=partition, error=str(error))

    def _attempt(self, request: Request, reader: Consumer) -> Restored | None:
        """The partition where its group stands; `None` if nobody wanted it any more before it was there."""
        began = self.clock.monotonic()
        now = self.identify()
        self._refuse_changed(now)
        subject = Subject(self.group, self.input_topic, now.id, now.partitions, self.model)
        standing = self._standing(request.partition, reader)
        underway = self._begin(request.partition, reader, subject, standing)
        loaded = self.clock.monotonic()
        here("mid-restore")
        replayed = self._replay(request, reader, underway)
        reader.unassign()
        allocator.give_back()
        if replayed is None:
            return None
        seconds = self.clock.monotonic() - began
        self.metrics.restore_seconds.observe(seconds)
        self.metrics.replayed_records.inc(replayed)
        self.log.info(
            "partition restored",
            partition=request.partition,
            replayed=replayed,
            seconds=round(seconds, 3),
            replay_seconds=round(self.clock.monotonic() - loaded, 3),
        )
        return Restored(request, underway.pipeline, underway.stop, underway.about)

    def _refuse_changed(self, now: TopicIdentity) -> None:
        before = self.expected
        if now.partitions != before.partitions:
            raise RefusedError(
                f"topic {self.input_topic!r} has {now.partitions} partitions, it had {before.partitions} "
                "when this process started: keys go to other partitions now, away from what was learned "
                f"about them. Stop all workers; {_UPGRADE}"
            )

    def _standing(self, number: int, reader: Consumer) -> Standing:
        partition = TopicPartition(self.input_topic, number)
        (at,) = reader.committed([partition], timeout=_ASK_S)
        return Standing(span_of(reader, partition), at.offset)

    # 1. A snapshot.

    def _begin(self, number: int, reader: Consumer, subject: Subject, standing: Standing) -> _Underway:
        """The newest state of the partition that is not beyond the group's offset.

        Raises:
            RefusedError: there is none from which the input still leads to that offset.
        """
        place = f"partition {number} of {self.input_topic!r}"
        snapshots = Snapshots(reader, self.snapshots_topic, number, self.cache)
        passed_over: list[str] = []
        candidates = 0
        for found in snapshots.newest_first():
            if found.about.subject.group != subject.group or found.about.subject.topic != subject.topic:
                continue
            candidates += 1
            if (why := unfit(found.about, subject, standing)) is not None:
                passed_over.append(why)
                continue
            if standing.committed < 0 and (passed_over or snapshots.broken):
                break  # the birth of a history that went on: never back to it
            try:
                pipeline = self.make_pipeline(number, found.about.born)
                pipeline.restore(snapshots.load(found))
            except (BrokenError, ValueError) as error:
                passed_over.append(f"the snapshot at offset {found.about.offset} is broken: {error}")
                continue
            stop = standing.committed if standing.committed >= 0 else found.about.offset
            if (why := cut_off(standing.log, found.about, stop)) is not None:
                raise RefusedError(f"{place} {why}. {_UPGRADE}")
            if passed_over or snapshots.broken:
                self.log.warning(
                    "an older snapshot is used",
                    partition=number,
                    offset=found.about.offset,
                    passed_over=[*snapshots.broken, *passed_over],
                )
            self.writer.go_on_from(number, Written(found.about.generation, found.at))
            return _Underway(pipeline, found.about, stop)
        reasons = [*snapshots.broken, *passed_over]
        if standing.committed >= 0 or candidates or snapshots.broken:
            raise RefusedError(_refusal(place, standing, reasons))
        return self._birth(number, subject, standing)

    def _birth(self, number: int, subject: Subject, standing: Standing) -> _Underway:
        """A history begins: said before the first result of it, so that it is known where, ever after."""
        born = standing.log.start if self.from_earliest else standing.log.stop
        pipeline = self.make_pipeline(number, born)
        about = About(subject, number, born, born, 0, NONE, NONE, self._now_ms())
        self.writer.go_on_from(number, Written())
        if self.writer.write(about, pipeline.state()).result() is None:
            raise AnomalydError(f"the birth of partition {number} could not be written")
        self.at_birth(pipeline, number)
        return _Underway(pipeline, about, born)

    def _now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    # 2. The input after it.

    def _replay(self, request: Request, reader: Consumer, underway: _Underway) -> int | None:
        """Run the pipeline up to where its group stands; how many records that took; `None` if unwanted."""
        number, span = request.partition, Span(underway.about.offset, underway.stop)
        replayed = 0
        told_at = self.clock.monotonic()
        for messages in read_with(reader, self.input_topic, {number: span}):
            if self._unwanted(request):
                return None
            underway.pipeline.score(read(records_of(messages, span.start), self.limits))
            replayed += len(messages)
            if self.clock.monotonic() - told_at >= _TELL_EVERY_S:
                told_at = self.clock.monotonic()
                total = span.stop - span.start
                self.log.info("replaying", partition=number, records=replayed, of=total)
        return replayed


def unfit(about: About, subject: Subject, standing: Standing) -> str | None:
    """Why a snapshot is not of this history; None if it is."""
    mine = about.subject
    at = f"the snapshot at offset {about.offset}"
    if mine.topic_id != subject.topic_id:
        return f"{at} is of a topic of that name which was deleted since"
    if mine.partitions != subject.partitions:
        return (
            f"{at} is of {mine.partitions} partitions, there are {subject.partitions} now: keys go to other "
            "partitions, away from what was learned about them"
        )
    if mine.model != subject.model:
        return f"{at} is of model {mine.model}, these settings and this program are {subject.model}"
    if standing.committed >= 0 and about.offset > standing.committed:
        return f"{at} is beyond the group's offset {standing.committed}"
    if standing.committed < 0 and not about.is_birth:
        return f"{at} shows that the group had committed, but it has no offset any more"
    return None


def cut_off(log: Span, about: About, stop: int) -> str | None:
    """Why the input does not lead from a snapshot to the offset where work goes on; None if it does."""
    begins = f"begins at offset {log.start} now"
    if stop > log.stop:
        end = f"ends at offset {log.stop}, but the group stands at {stop}"
        return f"{end}: it is not the log that the group has read"
    if stop < log.start:
        lost = f"{log.start - stop} records were deleted before they were scored"
        longer = "Keep the input for longer than the service may be away"
        return f"{begins}, but the group stands at {stop}: {lost}. {longer}"
    if about.offset < min(stop, log.start):
        gone = f"what came between the snapshot at {about.offset} and the group's offset {stop} is gone"
        return f"{begins}: {gone}, so the history cannot be had to the bit"
    return None


def _refusal(place: str, standing: Standing, reasons: Sequence[str]) -> str:
    stands = (
        f"the group stands at {standing.committed}" if standing.committed >= 0 else "the group has no offset"
    )
    why = "; ".join(dict.fromkeys(reasons)) or "there is no snapshot"
    return f"{place}: {stands}, and no history leads there: {why}. {_UPGRADE}"
