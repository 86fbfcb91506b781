"""Begins a new history where the settings, the program or the topic are no longer those of the old one.

What it writes is a birth: an empty state at an offset, under the new model. The service then runs the
records from there to the group's offset through the new model without publishing, so that it goes on warm,
and results say in `x-model` of which history they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from service.errors import AnomalydError
from service.history.frozen import BrokenError, freeze
from service.pipeline import DetectionPipeline
from service.stream.answers import answer
from service.stream.clients import consumer_properties, made, make_snapshot_producer
from service.stream.config import KafkaConfig
from service.stream.reading import Span, reader_of, span_of
from service.stream.restoring import Standing, cut_off, unfit
from service.stream.snapshots.finding import Found, Snapshots
from service.stream.snapshots.form import CHUNK_BYTES, NONE, About, Subject
from service.stream.snapshots.writer import write

_ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What became of a partition.

    Attributes:
        committed: where the group stood; negative where it had no offset.
        stands: where it stands now.
        before: the model of its newest snapshot.
        born: where its new history begins; None if it goes on with the one it has.
    """

    partition: int
    committed: int
    stands: int
    before: str | None
    born: int | None


def upgrade(
    kafka: KafkaConfig,
    subject: Subject,
    snapshots_topic: str,
    make_pipeline: Callable[[int, int], DetectionPipeline],
    *,
    warm_up: int,
    from_earliest: bool,
    anyway: bool,
    now_ms: int,
) -> list[Upgraded]:
    """Give every partition a history of this subject; `anyway` also where there is one already.

    A new one begins `warm_up` records before the group's offset, or as early as the log has them. Where the
    group's offset is not in the log, or gone, it is set: to the newest snapshot's if that is of this log.

    Raises:
        AnomalydError: a topic cannot be read or written, or workers are running where an offset is to be set.
    """
    consumer, producer = reader_of(kafka, group=kafka.group_id), make_snapshot_producer(kafka)
    try:
        wanted = [TopicPartition(subject.topic, number) for number in range(subject.partitions)]
        upgraded = []
        for tp in consumer.committed(wanted, timeout=_ASK_S):
            log = span_of(consumer, TopicPartition(subject.topic, tp.partition))
            snapshots = Snapshots(consumer, snapshots_topic, tp.partition)
            ours = (found for found in snapshots.newest_first() if _is_of(found.about, subject))
            newest = next(ours, None)
            before = newest.about.subject.model if newest is not None else None
            stands = _stands(tp.offset, log, newest, subject, from_earliest=from_earliest)
            if stands != tp.offset:
                _set_offset(kafka, TopicPartition(subject.topic, tp.partition, stands))
            born = None
            there = chain([newest] if newest is not None else [], ours)
            standing = Standing(log, stands)
            if anyway or not any(_leads_on(snapshots, found, subject, standing) for found in there):
                born = max(stands - warm_up, log.start)
                previous = newest.at if newest is not None else NONE
                about = About(subject, tp.partition, born, born, 0, NONE, previous, now_ms)
                frozen = freeze(make_pipeline(tp.partition, born).state(), CHUNK_BYTES)
                write(producer, snapshots_topic, about, frozen)
            upgraded.append(Upgraded(tp.partition, tp.offset, stands, before, born))
        return upgraded
    except KafkaException as error:
        raise AnomalydError(f"Kafka: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _is_of(about: About, subject: Subject) -> bool:
    """Whether it is of the group's history of this input, of whatever model."""
    return (about.subject.group, about.subject.topic) == (subject.group, subject.topic)


def _leads_on(snapshots: Snapshots, found: Found, subject: Subject, standing: Standing) -> bool:
    """Whether the service goes on from this snapshot by itself."""
    about = found.about
    if unfit(about, subject, standing) or cut_off(standing.log, about, standing.committed):
        return False
    try:
        snapshots.load(found)
    except BrokenError:
        return False
    return True


def _stands(committed: int, log: Span, newest: Found | None, subject: Subject, *, from_earliest: bool) -> int:
    """Where the group is to go on."""
    same_log = newest is None or newest.about.subject.topic_id == subject.topic_id
    if same_log and log.start <= committed <= log.stop:
        return committed
    if committed < 0 and newest is not None and same_log:
        return min(max(newest.about.offset, log.start), log.stop)
    return log.start if from_earliest or 0 <= committed < log.start else log.stop


def _set_offset(kafka: KafkaConfig, at: TopicPartition) -> None:
    admin = made(AdminClient, kafka.connection())
    request = ConsumerGroupTopicPartitions(kafka.group_id, [at])
    refusal = (
        f"the offset of group {kafka.group_id!r} in partition {at.partition} of {at.topic!r} cannot be "
        f"set to {at.offset}"
    )
    try:
        future = admin.alter_consumer_group_offsets([request])[kafka.group_id]
        for changed in answer(future, _ASK_S, refusal).topic_partitions or []:
            if changed.error is not None:
                raise AnomalydError(f"{refusal}: {changed.error.str()}")
    except AnomalydError as error:
        session_s = int(consumer_properties(kafka, "")["session.timeout.ms"]) / 1000.0
        raise AnomalydError(
            f"{error}. Stop all workers first; one that just ended counts for {session_s:g} s more "
            "(session.timeout.ms)"
        ) from error
