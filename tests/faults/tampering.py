"""Snapshots that are not what was written: a topic's records, damaged, at the very offsets that they had."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from service.history.frozen import BrokenError, Manifest
from service.stream.config import KafkaConfig
from service.stream.reading import read_all, spans_of
from service.stream.snapshots.form import About, is_manifest
from service.stream.transaction import Headers

_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Kept:
    """One record of the snapshots topic."""

    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Generation:
    """A snapshot of a partition and the offsets of its records, the manifest's last."""

    about: About
    at: tuple[int, ...]


Log = list[Kept]
"""The records of a partition; their places are their offsets."""


def logs_of(kafka: KafkaConfig, topic: str) -> dict[int, Log]:
    """All that stands on the topic; nothing may have been compacted away yet."""
    logs: dict[int, Log] = {number: [] for number in spans_of(kafka, topic)}
    for message in read_all(kafka, topic):
        log = logs[cast(int, message.partition())]
        assert message.offset() == len(log), f"{topic}: offset {message.offset()} after {len(log)} records"
        key, headers = cast(bytes, message.key()), cast(Headers, message.headers() or [])
        log.append(Kept(key, message.value() or b"", headers))
    return logs


def generations_of(log: Log, partition: int) -> list[Generation]:
    """The snapshots of the partition, the newest first; not those whose manifest is damaged already."""
    found = []
    for at, record in enumerate(log):
        if not is_manifest(record.key, partition):
            continue
        try:
            about = About.of(Manifest.parse(record.value))
        except BrokenError:
            continue
        chunks = [n for n in range(about.chunks_from, at) if _slot(log[n].key) == _slot(record.key)]
        found.append(Generation(about, (*chunks, at)))
    return found[::-1]


def _slot(key: bytes) -> bytes:
    return key.rpartition(b"/")[0]


def broken(log: Log, generations: Iterable[Generation], source: random.Random) -> Log:
    """The log with one record of each of these damaged in its value."""
    log = list(log)
    for generation in generations:
        at = source.choice(generation.at)
        log[at] = replace(log[at], value=_damaged(log[at].value, source))
    return log


def _damaged(value: bytes, source: random.Random) -> bytes:
    """One bit another, or cut short somewhere, perhaps to nothing."""
    if source.random() < 0.5:
        return value[: source.randrange(len(value))]
    bit = source.randrange(8 * len(value))
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def astray(log: Log, source: random.Random) -> Log:
    """The log with one record that names itself, or the manifest before it, wrongly."""
    log = list(log)
    at = source.randrange(len(log))
    record = log[at]
    if source.random() < 0.5:
        log[at] = replace(record, key=_damaged(record.key, source))
    else:
        log[at] = replace(record, headers=[(name, _damaged(body, source)) for name, body in record.headers])
    return log


def lay(kafka: KafkaConfig, topic: str, logs: Mapping[int, Sequence[Kept]]) -> None:
    """Make the topic anew with these records."""
    admin = AdminClient({**kafka.connection(), "log_level": 0})
    deadline = time.monotonic() + _PATIENCE_S
    if topic in admin.list_topics(timeout=_PATIENCE_S).topics:
        admin.delete_topics([topic])[topic].result(_PATIENCE_S)
    while True:
        wanted = NewTopic(topic, len(logs), config={"cleanup.policy": "compact"})
        try:
            admin.create_topics([wanted])[topic].result(_PATIENCE_S)
            break
        except KafkaException as error:  # the old one is on its way out
            late = time.monotonic() > deadline
            if late or error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        Event().wait(0.1)
    _fill(kafka, topic, logs)


def _fill(kafka: KafkaConfig, topic: str, logs: Mapping[int, Sequence[Kept]]) -> None:
    refused: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(error.str())

    producer = Producer(
        {**kafka.connection(), "enable.idempotence": True, "compression.type": "lz4", "log_level": 0}
    )
    for number, log in logs.items():
        for record in log:
            producer.produce(
                topic,
                record.value,
                record.key,
                number,
                on_delivery=delivered,
                headers=record.headers,  # type: ignore[arg-type]  # invariant
            )
            producer.poll(0)
    assert producer.flush(_PATIENCE_S) == 0, "the records were not taken in time"
    assert not refused, refused
    assert {n: span.stop for n, span in spans_of(kafka, topic).items()} == {
        n: len(v) for n, v in logs.items()
    }
