"""Brings partitions to where their group stands, beside the loop: a snapshot, then the input after it.

The state at an offset is a pure function of the input before it. So a snapshot at S is right if and only if
S is not beyond C, the group's committed offset, whoever wrote it and whenever; and running the records from S
to C through the pipeline again, without publishing, gives the very state in which C was committed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from confluent_kafka import Consumer, KafkaException, TopicPartition

from service.clock import Clock
from service.errors import AnomalydError
from service.history.frozen import BrokenError
from service.logs import Logger
from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.stream.crash_points import here
from service.stream.reading import Span, read_with, span_of
from service.stream.records import by_partition, records_of
from service.stream.snapshots.cache import SnapshotCache
from service.stream.snapshots.finding import Snapshots
from service.stream.snapshots.form import NONE, About, Subject
from service.stream.snapshots.writer import SnapshotWriter, Written
from service.stream.topics import TopicIdentity
from service.wire.limits import InputLimits
from service.wire.reader import read

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

    request: Request
    pipeline: DetectionPipeline
    about: About
    stop: int


@dataclass(slots=True)
class Restorer:
    """A thread with a consumer of its own, which joins no group.

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
    _consumer: Consumer | None = None
    _thread: threading.Thread | None = None

    # From the loop.

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="restore", daemon=True)
        self._thread.start()

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
        """End the thread, without waiting for a restore that is under way."""
        self._stop.set()
        self._wanted.put(None)

    # In the thread.

    def _run(self) -> None:
        try:
            self._consumer = self.make_consumer()
            while (first := self._wanted.get()) is not None and not self._stop.is_set():
                requests = [first]
                while not self._wanted.empty() and (request := self._wanted.get()) is not None:
                    requests.append(request)
                self._restore(requests)
        except Exception as error:  # noqa: BLE001  the thread's outermost line: the loop raises it
            self._done.put(error)
        finally:
            if self._consumer is not None:
                self._consumer.close()

    def _restore(self, requests: Sequence[Request]) -> None:
        """As often as it takes for the cluster to answer."""
        said = False
        while not self._stop.is_set():
            asked = [request for request in requests if not request.cancelled]
            try:
                for restored in self._attempt(asked):
                    self._done.put(restored)
                return
            except RefusedError:
                raise
            except (KafkaException, AnomalydError) as error:
                if not said:
                    self._log_trouble(asked, error)
                    said = True
                self.clock.wait(self._stop, _AGAIN_S)
                self._renew_reader()

    def _renew_reader(self) -> None:
        """Replace the reader: what it holds of a cluster that was away may be wrong for minutes.

        After a controller's death one said `Unknown partition` until its next refresh of all metadata, which
        is due every five minutes.
        """
        self._reader.close()
        self._consumer = self.make_consumer()

    def _log_trouble(self, asked: Sequence[Request], error: Exception) -> None:
        partitions = sorted(request.partition for request in asked)
        self.log.warning("restoring goes on when Kafka answers", partitions=partitions, error=str(error))

    def _attempt(self, requests: Sequence[Request]) -> list[Restored]:
        if not requests:
            return []
        began = self.clock.monotonic()
        now = self.identify()
        self._refuse_changed(now)
        subject = Subject(self.group, self.input_topic, now.id, now.partitions, self.model)
        standings = self._standings(requests)
        underway = {}
        for request in requests:
            underway[request.partition] = self._begin(request, subject, standings[request.partition])
        loaded = self.clock.monotonic()
        here("mid-restore")
        replayed = self._replay(underway)
        self._reader.unassign()
        seconds = self.clock.monotonic() - began
        self.metrics.restore_seconds.observe(seconds)
        self.metrics.replayed_records.inc(replayed)
        self.log.info(
            "partitions restored",
            partitions=sorted(underway),
            replayed=replayed,
            seconds=round(seconds, 3),
            replay_seconds=round(self.clock.monotonic() - loaded, 3),
        )
        return [Restored(u.request, u.pipeline, u.stop, u.about) for u in underway.values()]

    @property
    def _reader(self) -> Consumer:
        assert self._consumer is not None, "made before the first restore"
        return self._consumer

    def _refuse_changed(self, now: TopicIdentity) -> None:
        before = self.expected
        if now.partitions != before.partitions:
            raise RefusedError(
                f"topic {self.input_topic!r} has {now.partitions} partitions, it had {before.partitions} "
                "when this process started: keys go to other partitions now, away from what was learned "
                f"about them. Stop all workers; {_UPGRADE}"
            )

    def _standings(self, requests: Sequence[Request]) -> dict[int, Standing]:
        partitions = [TopicPartition(self.input_topic, request.partition) for request in requests]
        committed = self._reader.committed(partitions, timeout=_ASK_S)
        return {
            tp.partition: Standing(
                span_of(self._reader, TopicPartition(self.input_topic, tp.partition)), tp.offset
            )
            for tp in committed
        }

    # 1. A snapshot.

    def _begin(self, request: Request, subject: Subject, standing: Standing) -> _Underway:
        """The newest state of the partition that is not beyond the group's offset.

        Raises:
            RefusedError: there is none from which the input still leads to that offset.
        """
        number = request.partition
        place = f"partition {number} of {self.input_topic!r}"
        snapshots = Snapshots(self._reader, self.snapshots_topic, number, self.cache)
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
            return _Underway(request, pipeline, found.about, stop)
        reasons = [*snapshots.broken, *passed_over]
        if standing.committed >= 0 or candidates or snapshots.broken:
            raise RefusedError(_refusal(place, standing, reasons))
        return self._birth(request, subject, standing)

    def _birth(self, request: Request, subject: Subject, standing: Standing) -> _Underway:
        """A history begins: said before the first result of it, so that it is known where, ever after."""
        born = standing.log.start if self.from_earliest else standing.log.stop
        pipeline = self.make_pipeline(request.partition, born)
        self.at_birth(pipeline, request.partition)
        about = About(subject, request.partition, born, born, 0, NONE, NONE, self._now_ms())
        self.writer.go_on_from(request.partition, Written())
        if self.writer.write(about, pipeline.state()).result() is None:
            raise AnomalydError(f"the birth of partition {request.partition} could not be written")
        return _Underway(request, pipeline, about, born)

    def _now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    # 2. The input after it.

    def _replay(self, underway: Mapping[int, _Underway]) -> int:
        """Run every pipeline up to where its group stands; how many records that took."""
        spans = {
            number: Span(each.about.offset, each.stop)
            for number, each in underway.items()
            if each.about.offset < each.stop
        }
        replayed, total = 0, sum(span.stop - span.start for span in spans.values())
        told_at = self.clock.monotonic()
        for messages in read_with(self._reader, self.input_topic, spans):
            if self._stop.is_set():
                break
            for number, mine in by_partition(messages).items():
                each = underway[number]
                if each.request.cancelled:
                    continue
                mine = [m for m in mine if spans[number].start <= cast(int, m.offset()) < each.stop]
                if mine:
                    each.pipeline.score(read(records_of(mine), self.limits))
                replayed += len(mine)
            if self.clock.monotonic() - told_at >= _TELL_EVERY_S:
                told_at = self.clock.monotonic()
                self.log.info("replaying", partitions=sorted(spans), records=replayed, of=total)
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
