"""Snapshots are found newest first by the way that they name each other, or else by reading everything."""

from __future__ import annotations

import random
from typing import cast

import numpy as np
import pytest

from service.history.frozen import BrokenError
from service.stream.snapshots.finding import Snapshots
from tests.stream.memory_kafka import MemoryConsumer, MemoryKafka
from tests.stream.snapshots.saved import TOPIC, about, snapshots_of, state, writer_of


@pytest.fixture
def kafka() -> MemoryKafka:
    """A birth and five snapshots, at offsets 10 to 50, none compacted away yet."""
    kafka = MemoryKafka()
    writer = writer_of(kafka)
    writer.write(about(0, 0), state(0)).result()
    for offset in (10, 20, 30, 40, 50):
        writer.write(about(offset), state(offset)).result()
    return kafka


def manifests(kafka: MemoryKafka) -> list[int]:
    """Where they stand, the oldest first."""
    log = kafka.log(TOPIC)
    return [at for at, m in enumerate(log) if m is not None and cast(bytes, m.key()).endswith(b"manifest")]


def compact(kafka: MemoryKafka) -> None:
    log = kafka.log(TOPIC)
    newest = {message.key(): at for at, message in enumerate(log) if message is not None}
    for at, message in enumerate(log):
        if message is not None and newest[message.key()] != at:
            log[at] = None


def offsets(snapshots: Snapshots) -> list[int]:
    return [found.about.offset for found in snapshots.newest_first()]


def test_the_newest_is_found_without_reading_the_log(kafka: MemoryKafka) -> None:
    snapshots = snapshots_of(kafka)
    found = next(snapshots.newest_first())
    assert found.about.offset == 50
    assert cast(MemoryConsumer, snapshots.consumer).reads == 2  # the last record, and the manifest


def test_all_are_found_newest_first(kafka: MemoryKafka) -> None:
    assert offsets(snapshots_of(kafka)) == [50, 40, 30, 20, 10, 0]


def test_compaction_leaves_three_and_the_birth(kafka: MemoryKafka) -> None:
    compact(kafka)
    snapshots = snapshots_of(kafka)
    found = list(snapshots.newest_first())
    assert [each.about.offset for each in found] == [50, 40, 30, 0]
    assert snapshots.broken == []
    for each in found:
        loaded = snapshots.load(each)
        assert {name: a.tobytes() for name, a in loaded.items()} == {
            name: a.tobytes() for name, a in state(each.about.offset).items()
        }


def test_an_empty_topic_has_none() -> None:
    assert offsets(snapshots_of(MemoryKafka())) == []


def test_a_partition_has_none_of_another(kafka: MemoryKafka) -> None:
    assert offsets(snapshots_of(kafka, partition=1)) == []


def test_chunks_whose_manifest_never_came_lead_to_the_one_before(kafka: MemoryKafka) -> None:
    writer = writer_of(kafka)
    *_, last = snapshots_of(kafka).newest_first()
    assert last.about.is_birth
    del kafka.log(TOPIC)[-1]  # the newest's manifest
    snapshots = snapshots_of(kafka)
    assert next(snapshots.newest_first()).about.offset == 40
    assert cast(MemoryConsumer, snapshots.consumer).reads == 2
    writer.close()


def test_a_manifest_that_is_broken_leads_to_all_the_others(kafka: MemoryKafka) -> None:
    newest = manifests(kafka)[-1]
    kafka.change(TOPIC, newest, b"?")
    snapshots = snapshots_of(kafka)
    assert offsets(snapshots) == [40, 30, 20, 10, 0]
    assert snapshots.broken == [f"the manifest at offset {newest}: the manifest does not match its digest"]


def test_a_manifest_in_the_middle_of_the_way_that_is_broken_is_gone_around(kafka: MemoryKafka) -> None:
    kafka.change(TOPIC, manifests(kafka)[-2], b"")
    assert offsets(snapshots_of(kafka)) == [50, 30, 20, 10, 0]


def test_a_last_record_that_leads_nowhere_leads_to_all(kafka: MemoryKafka) -> None:
    kafka.append(TOPIC, 0, b"0/1/0", b"?", [("x-manifest", b"nowhere")])
    assert offsets(snapshots_of(kafka)) == [50, 40, 30, 20, 10, 0]
    kafka.append(TOPIC, 0, None, None)
    assert offsets(snapshots_of(kafka)) == [50, 40, 30, 20, 10, 0]
    kafka.append(TOPIC, 0, b"0/1/0", b"?", [("x-manifest", b"%d" % 10**12)])
    assert offsets(snapshots_of(kafka)) == [50, 40, 30, 20, 10, 0]


def test_a_damaged_chunk_is_found_when_it_is_loaded(kafka: MemoryKafka) -> None:
    source = random.Random(3)
    found = list(snapshots_of(kafka).newest_first())
    for each in found:
        at = source.randrange(each.about.chunks_from, each.at)
        was = kafka.log(TOPIC)[at]
        assert was is not None
        kafka.change(TOPIC, at, (was.value() or b"")[:-1])
        with pytest.raises(BrokenError, match="does not match its digest"):
            snapshots_of(kafka).load(each)


def test_chunks_of_the_slot_that_another_process_wrote_in_between_break_it_but_are_never_used(
    kafka: MemoryKafka,
) -> None:
    other = MemoryKafka()
    writer = writer_of(other)
    writer.write(about(70), state(70)).result()
    theirs = other.log(TOPIC)[0]
    found = next(snapshots_of(kafka).newest_first())
    first = kafka.log(TOPIC)[found.about.chunks_from]
    assert theirs is not None
    assert first is not None
    kafka.change(TOPIC, found.about.chunks_from, theirs.value() or b"")
    with pytest.raises(BrokenError):
        snapshots_of(kafka).load(found)


def test_what_is_loaded_is_what_was_written(kafka: MemoryKafka) -> None:
    snapshots = snapshots_of(kafka)
    loaded = snapshots.load(next(snapshots.newest_first()))
    np.testing.assert_array_equal(loaded["some"], state(50)["some"])
    assert loaded["more"].dtype == np.float64
