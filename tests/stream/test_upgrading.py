"""Whether a partition has a history already is judged as the service judges it."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from service.stream.reading import Span
from service.stream.restoring import Standing
from service.stream.snapshots.form import Subject
from service.stream.upgrading import _leads_on
from tests.stream.memory_kafka import MemoryKafka
from tests.stream.snapshots.saved import SUBJECT, TOPIC, about, snapshots_of, state, writer_of

WHOLE = Span(0, 100)


@pytest.fixture
def kafka() -> MemoryKafka:
    """Snapshots at 0, 20 and 40."""
    kafka = MemoryKafka()
    writer = writer_of(kafka)
    writer.write(about(0, 0), state(0)).result()
    for offset in (20, 40):
        writer.write(about(offset), state(offset)).result()
    return kafka


def lead_on(
    kafka: MemoryKafka, committed: int = 50, log: Span = WHOLE, subject: Subject = SUBJECT
) -> list[int]:
    """The offsets of the snapshots from which the service would go on."""
    snapshots = snapshots_of(kafka)
    standing = Standing(log, committed)
    found = list(snapshots.newest_first())
    return [each.about.offset for each in found if _leads_on(snapshots, each, subject, standing)]


def test_every_snapshot_before_the_groups_offset_does(kafka: MemoryKafka) -> None:
    assert lead_on(kafka) == [40, 20, 0]
    assert lead_on(kafka, committed=30) == [20, 0]


def test_none_does_whose_replay_was_deleted(kafka: MemoryKafka) -> None:
    assert lead_on(kafka, log=Span(30, 100)) == [40]
    assert lead_on(kafka, log=Span(45, 100)) == []
    assert lead_on(kafka, committed=45, log=Span(45, 100)) == []


def test_one_at_the_groups_offset_needs_no_replay(kafka: MemoryKafka) -> None:
    assert lead_on(kafka, committed=40, log=Span(40, 100)) == [40]


def test_none_does_that_is_of_something_else(kafka: MemoryKafka) -> None:
    assert lead_on(kafka, subject=replace(SUBJECT, model="another")) == []


@pytest.mark.parametrize("what", [b"0/2/manifest", b"0/2/1"])
def test_none_does_that_is_broken(kafka: MemoryKafka, what: bytes) -> None:
    (at,) = [m.offset() for m in kafka.log(TOPIC) if m is not None and cast(bytes, m.key()) == what]
    kafka.change(TOPIC, at or 0, b"?")
    assert lead_on(kafka) == [20, 0]
