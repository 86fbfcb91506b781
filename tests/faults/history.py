"""One partition's history on a real Kafka, made by the service's own parts, and restored by them at will.

In the place of hundreds of processes: `anomalyd run` writes, finds, loads and replays in the same way.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from threading import Event
from typing import Any, NoReturn

import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from service.clock import SystemClock
from service.history.table import Array
from service.logs import Logger
from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.settings import Settings
from service.stream import topics
from service.stream.clients import make_snapshot_producer
from service.stream.reading import read_all, reader_of
from service.stream.records import records_of
from service.stream.restoring import Request, Restored, Restorer
from service.stream.snapshots.form import NONE, About, Subject
from service.stream.snapshots.writer import SnapshotWriter
from service.wire.limits import InputLimits
from service.wire.reader import read
from tests.faults.load import records
from tests.faults.tampering import Log, logs_of
from tests.kafka.running import Setup

_LIMITS = InputLimits()
_SOURCES = 200
_EVERY = 1_000  # records between two snapshots
_GENERATIONS = 4  # without the birth, one more than are kept
_AFTER = 1_500  # records from the newest snapshot to the group's offset
_MORE = 1_000  # after that
_PATIENCE_S = 60.0
_BY_BATCH = frozenset({"counts/promised"})
"""A metric that nothing else depends on: a sum of sums of batches."""

Published = list[tuple[bytes, bytes, bytes | None]]
"""Key, result and anomaly of each record."""


def _drop(*_: Any) -> NoReturn:
    raise structlog.DropEvent


SILENT: Logger = structlog.wrap_logger(None, processors=[_drop])


@dataclass(slots=True)
class History:
    """A birth, four snapshots, a group that stands some records after the newest, and records after that.

    Attributes:
        log: the records of the snapshots topic.
        committed: where the group stands.
        state: that of a life that was never interrupted, there.
        rest: what such a life publishes of the records after that.
    """

    bootstrap: str
    random: random.Random
    settings: Settings = field(init=False)
    log: Log = field(init=False)
    committed: int = field(init=False)
    state: dict[str, Array] = field(init=False)
    rest: Published = field(init=False)
    _after: list[Message] = field(init=False)
    _metrics: Metrics = field(default_factory=Metrics)
    _clock: SystemClock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        prefix = f"history-{uuid.uuid4().hex[:12]}-"
        self.settings = Setup.of(self.bootstrap, prefix).settings
        topics.create(self.settings.kafka, self.settings.topics)
        self._feed()
        messages = list(read_all(self.settings.kafka, self._input))
        self._live(messages)
        self._stand_at(self.committed)
        self.log = logs_of(self.settings.kafka, self.settings.topics.name("snapshots"))[0]

    def restored_from(self, topic: str) -> Restored:
        """What a start with these snapshots has.

        Raises:
            RefusedError: it refuses.
        """
        restorer = self._restorer(topic)
        restorer.start()
        try:
            restorer.ask(Request(0))
            for _ in range(int(_PATIENCE_S / 0.01)):
                for restored in restorer.done():
                    return restored
                Event().wait(0.01)
        finally:
            restorer.close()
        raise AssertionError(f"not restored in {_PATIENCE_S:.0f} s")

    def differs(self, restored: Restored) -> str | None:
        """In what it is not the uninterrupted life; scores what comes after."""
        if restored.offset != self.committed:
            return f"it goes on at {restored.offset}, the group stands at {self.committed}"
        state = restored.pipeline.state()
        names = (self.state | state).keys() - _BY_BATCH
        parts = [name for name in names if not _same(self.state.get(name), state.get(name))]
        if parts:
            return f"its state differs in {', '.join(parts)}"
        if restored.pipeline.lineage != self._pipeline(0, 0).lineage:
            return f"it is of the history {restored.pipeline.lineage}"
        if self._run(restored.pipeline, self._after) != self.rest:
            return "what it publishes later differs"
        return None

    @property
    def _input(self) -> str:
        return self.settings.topics.name("data_points")

    def _feed(self) -> None:
        producer = Producer({**self.settings.kafka.connection(), "enable.idempotence": True, "log_level": 0})
        count = _GENERATIONS * _EVERY + _AFTER + _MORE
        for key, value, headers in islice(records(self.random.randrange(1 << 30), _SOURCES), count):
            producer.produce(self._input, value, key, 0, headers=headers)  # type: ignore[arg-type]
            producer.poll(0)
        assert producer.flush(_PATIENCE_S) == 0

    def _live(self, messages: Sequence[Message]) -> None:
        pipeline = self._pipeline(0, 0)
        topic = self.settings.topics.name("snapshots")
        writer = self._writer(topic)
        now = topics.identity(self.settings.kafka, self._input)
        subject = Subject(
            self.settings.kafka.group_id, self._input, now.id, now.partitions, pipeline.model_version
        )
        about = About(subject, 0, 0, 0, 0, NONE, NONE, 0)
        assert writer.write(about, pipeline.state()).result() is not None
        offset = 0
        for number in range(1, _GENERATIONS + 1):
            self._run(pipeline, messages[offset : number * _EVERY])
            offset = number * _EVERY
            about = About(subject, 0, 0, offset, 1, NONE, NONE, 0)
            assert writer.write(about, pipeline.state()).result() is not None
        writer.close()
        self.committed = offset + _AFTER
        self._run(pipeline, messages[offset : self.committed])
        self.state = pipeline.state()
        self._after = list(messages[self.committed :])
        self.rest = self._run(pipeline, self._after)

    def _restorer(self, topic: str) -> Restorer:
        kafka = self.settings.kafka
        identify = partial(topics.identity, kafka, self._input)
        return Restorer(
            make_consumer=partial(reader_of, kafka, group=kafka.group_id, skip_deleted=False),
            make_pipeline=self._pipeline,
            at_birth=lambda *_: None,
            model=self._pipeline(0, 0).model_version,
            identify=identify,
            expected=identify(),
            group=kafka.group_id,
            input_topic=self._input,
            snapshots_topic=topic,
            from_earliest=True,
            writer=self._writer(topic),
            limits=_LIMITS,
            metrics=self._metrics,
            clock=self._clock,
            log=SILENT,
        )

    def _writer(self, topic: str) -> SnapshotWriter:
        make = partial(make_snapshot_producer, self.settings.kafka)
        return SnapshotWriter(make, topic, metrics=self._metrics, clock=self._clock, log=SILENT)

    def _pipeline(self, partition: int, born: int) -> DetectionPipeline:
        return DetectionPipeline(self.settings.detection, topic=self._input, partition=partition, born=born)

    def _stand_at(self, offset: int) -> None:
        group = self.settings.kafka.group_id
        admin = AdminClient({**self.settings.kafka.connection(), "log_level": 0})
        request = ConsumerGroupTopicPartitions(group, [TopicPartition(self._input, 0, offset)])
        (at,) = admin.alter_consumer_group_offsets([request])[group].result(_PATIENCE_S).topic_partitions
        assert at.error is None, at.error

    def _run(self, pipeline: DetectionPipeline, messages: Sequence[Message]) -> Published:
        """Take the messages in, in batches of any size; what is published of them."""
        published: Published = []
        at = 0
        while at < len(messages):
            batch = messages[at : at + self.random.randint(1, 500)]
            outcomes = pipeline.process_read(read(records_of(batch), _LIMITS))
            published += [
                (outcomes.keys[i], outcomes.results[i], outcomes.anomalies.get(i)) for i in range(len(batch))
            ]
            at += len(batch)
        return published


def _same(one: Array | None, other: Array | None) -> bool:
    """To the bit."""
    if one is None or other is None:
        return False
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
