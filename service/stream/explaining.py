"""Brings a pipeline to just before one input record, as the service's own was, and has it examined.

Begins at the newest snapshot of these settings that is not beyond the record, whoever wrote it, or at the
history's birth, and reads the input from there as any outside reader would. Joins no group, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from service.errors import AnomalydError
from service.examination import Search, examined
from service.history.frozen import BrokenError
from service.insight import Insight
from service.pipeline import DetectionPipeline
from service.stream.config import KafkaConfig
from service.stream.reading import Span, offsets_at, read_with, reader_of, span_of
from service.stream.records import records_of
from service.stream.snapshots.finding import Snapshots
from service.stream.snapshots.form import Subject
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read
from service.wire.timestamps import format_rfc3339

_EARLIER_MS = 3_600_000  # by so much a record may have reached Kafka before its own time, to be found soon


class Wanted(NamedTuple):
    """A record of a partition: of this offset, or of a source and its own time."""

    source_id: str
    partition: int
    time_ms: int
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """The insight and, for the reader, from where it was recomputed."""

    insight: Insight
    partition: int
    began_at: int
    notes: tuple[str, ...]


def explain(
    kafka: KafkaConfig,
    subject: Subject,
    snapshots_topic: str,
    make_pipeline: Callable[[int, int], DetectionPipeline],
    limits: InputLimits,
    wanted: Wanted,
) -> Explained:
    """Find the record, recompute everything up to it and tell its decision.

    Raises:
        AnomalydError: there is no such record, no history of these settings leads to it, or Kafka is away.
    """
    consumer = reader_of(kafka)
    try:
        return _Explaining(kafka, consumer, subject, limits, wanted).run(snapshots_topic, make_pipeline)
    except KafkaException as error:
        raise AnomalydError(f"Kafka: {error.args[0].str()}") from error
    finally:
        consumer.close()


@dataclass(frozen=True, slots=True)
class _Explaining:
    kafka: KafkaConfig
    consumer: Consumer
    subject: Subject
    limits: InputLimits
    wanted: Wanted

    def run(self, snapshots_topic: str, make_pipeline: Callable[[int, int], DetectionPipeline]) -> Explained:
        number = self.wanted.partition
        whole = span_of(self.consumer, TopicPartition(self.subject.topic, number))
        notes: list[str] = []
        offset = self.wanted.offset if self.wanted.offset is not None else self._find(whole, notes)
        if not whole.start <= offset < whole.stop:
            raise AnomalydError(
                f"partition {number} of {self.subject.topic!r} has the offsets {whole.start} to "
                f"{whole.stop - 1}, not {offset}"
            )
        pipeline, began_at = self._begin(snapshots_topic, make_pipeline, whole, offset, notes)
        batches = self._batches(Span(began_at, offset + 1))
        return Explained(examined(pipeline, batches, offset, self.limits), number, began_at, tuple(notes))

    def _batches(self, span: Span) -> Iterator[RecordBatch]:
        number = self.wanted.partition
        for messages in read_with(self.consumer, self.subject.topic, {number: span}):
            yield records_of(messages)

    # 1. Which record.

    def _find(self, whole: Span, notes: list[str]) -> int:
        """The offset of that point, first looked for where Kafka's time is about its own."""
        wanted, topic = self.wanted, self.subject.topic
        earlier = max(wanted.time_ms - _EARLIER_MS, 0)
        around = offsets_at(self.kafka, topic, [wanted.partition], earlier)[wanted.partition]
        starts = [around, whole.start] if around > whole.start else [whole.start]
        search = Search(wanted.source_id, wanted.time_ms)
        for start in starts:
            search = Search(wanted.source_id, wanted.time_ms)
            if any(
                search.look(read(records, self.limits)) for records in self._batches(Span(start, whole.stop))
            ):
                break
        if search.offset is None:
            elsewhere = "; with keys of your own its partition may be another one: --partition"
            raise AnomalydError(f"partition {wanted.partition} of {topic!r}: {search.failure}{elsewhere}")
        if not search.is_exact:
            notes.append(
                f"no point at {format_rfc3339(wanted.time_ms)} exactly: this is the newest one before it"
            )
        return search.offset

    # 2. From where.

    def _begin(
        self,
        snapshots_topic: str,
        make_pipeline: Callable[[int, int], DetectionPipeline],
        log: Span,
        offset: int,
        notes: list[str],
    ) -> tuple[DetectionPipeline, int]:
        """A pipeline in the newest state not beyond the record from which the log still leads there."""
        number, mine = self.wanted.partition, self.subject
        snapshots = Snapshots(self.consumer, snapshots_topic, number)
        others: set[str] = set()
        for found in snapshots.newest_first():
            about = found.about
            if (about.subject.group, about.subject.topic) != (mine.group, mine.topic):
                continue
            if about.subject != mine:
                others.add(about.subject.model)
                continue
            if about.offset > offset or about.offset < log.start:
                continue
            try:
                pipeline = make_pipeline(number, about.born)
                pipeline.restore(snapshots.load(found))
            except (BrokenError, ValueError) as error:
                notes.append(f"the snapshot at offset {about.offset} is broken: {error}")
                continue
            return pipeline, about.offset
        if others:
            raise AnomalydError(
                f"no history of these settings (model {mine.model}) leads to offset {offset} of partition "
                f"{number}; there are snapshots of {', '.join(sorted(others))}. Explain with the settings "
                "and the program that wrote the result: its header x-model names them"
            )
        notes.append(
            f"group {mine.group!r} has no snapshot before it: recomputed as if its history began at offset "
            f"{log.start}, where the log does"
        )
        return make_pipeline(number, log.start), log.start
