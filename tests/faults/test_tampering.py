"""Damage is what it says: so many snapshots, one record each, at the offsets that they had."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import cast

import pytest

from service.stream.transaction import Headers
from tests.faults.tampering import Kept, Log, astray, broken, generations_of
from tests.stream.memory_kafka import MemoryKafka
from tests.stream.snapshots.saved import TOPIC, about, state, writer_of


@pytest.fixture
def log() -> Log:
    """A birth and two snapshots."""
    kafka = MemoryKafka()
    writer = writer_of(kafka)
    writer.write(about(0, 0), state(0)).result()
    for offset in (10, 20):
        writer.write(about(offset), state(offset)).result()
    return [
        Kept(cast(bytes, m.key()), m.value() or b"", cast(Headers, m.headers()))
        for m in kafka.log(TOPIC)
        if m is not None
    ]


def test_generations_are_the_newest_first_with_all_their_records(log: Log) -> None:
    generations = generations_of(log, 0)
    assert [each.about.offset for each in generations] == [20, 10, 0]
    assert sorted(at for each in generations for at in each.at) == list(range(len(log)))
    assert generations_of(log, 1) == []


def test_a_snapshot_whose_manifest_is_damaged_counts_no_more(log: Log) -> None:
    newest, *others = generations_of(log, 0)
    log[newest.at[-1]] = replace(log[newest.at[-1]], value=b"")
    assert generations_of(log, 0) == others


@pytest.mark.parametrize("seed", range(20))
def test_one_record_of_each_is_damaged_and_no_other(log: Log, seed: int) -> None:
    chosen = generations_of(log, 0)[:2]
    damaged = broken(log, chosen, random.Random(seed))
    assert [one.key for one in damaged] == [other.key for other in log]
    changed = [at for at in range(len(log)) if damaged[at] != log[at]]
    assert sorted(sum(at in each.at for at in changed) for each in chosen) == [1, 1]
    assert len(changed) == 2


@pytest.mark.parametrize("seed", range(20))
def test_one_record_goes_astray_with_its_value_as_it_was(log: Log, seed: int) -> None:
    changed = astray(log, random.Random(seed))
    assert [one.value for one in changed] == [other.value for other in log]
    assert sum(one != other for one, other in zip(changed, log, strict=True)) == 1
