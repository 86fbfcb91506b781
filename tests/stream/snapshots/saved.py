"""Snapshots of small states on a topic in memory."""

from __future__ import annotations

from typing import cast

import numpy as np
from confluent_kafka import Consumer, Producer

from service import logs
from service.clock import Clock, ManualClock
from service.history.table import Array
from service.metrics import Metrics
from service.stream.snapshots.cache import SnapshotCache
from service.stream.snapshots.finding import Snapshots
from service.stream.snapshots.form import NONE, About, Subject
from service.stream.snapshots.writer import SnapshotWriter
from tests.stream.memory_kafka import MemoryConsumer, MemoryKafka, MemoryProducer

TOPIC = "snapshots"
SUBJECT = Subject("group", "points", "0123456789abcdef", 1, "model")


def about(offset: int, generation: int = 1, partition: int = 0, subject: Subject = SUBJECT) -> About:
    """Generation 0 is a birth; what other number stands there, the writer does not mind."""
    return About(subject, partition, 0, offset, generation, NONE, NONE, 0)


def state(offset: int) -> dict[str, Array]:
    """Something of more than one chunk that only this offset has."""
    return {"some": np.full(100_000, offset, np.int64), "more": np.arange(offset, offset + 10.0)}


def writer_of(
    kafka: MemoryKafka, clock: Clock | None = None, cache: SnapshotCache | None = None
) -> SnapshotWriter:
    return SnapshotWriter(
        lambda: cast(Producer, MemoryProducer(kafka)),
        TOPIC,
        metrics=Metrics(),
        clock=clock or ManualClock(),
        log=logs.logger("test"),
        cache=cache,
    )


def snapshots_of(kafka: MemoryKafka, partition: int = 0, cache: SnapshotCache | None = None) -> Snapshots:
    return Snapshots(cast(Consumer, MemoryConsumer(kafka)), TOPIC, partition, cache)
