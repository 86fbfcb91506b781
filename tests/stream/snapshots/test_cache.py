"""The cache has the newest snapshot's chunks or none; it is never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from service.history.frozen import BrokenError, Frozen, Manifest, freeze
from service.stream.snapshots.cache import SnapshotCache
from tests.stream.memory_kafka import MemoryConsumer, MemoryKafka
from tests.stream.snapshots.saved import about, snapshots_of, state, writer_of

CHUNK_BYTES = 1_000


def frozen_at(offset: int) -> tuple[Frozen, Manifest]:
    frozen = freeze(state(offset), CHUNK_BYTES)
    return frozen, Manifest.parse(frozen.manifest(about(offset).as_dict()))


def has(cache: SnapshotCache, offset: int, partition: int = 0) -> bool:
    """Whether the state at this offset can be had from the cache."""
    _, manifest = frozen_at(offset)
    try:
        loaded = manifest.thaw(
            cache.chunks(about(offset, partition=partition), manifest, CHUNK_BYTES), CHUNK_BYTES
        )
    except BrokenError:
        return False
    assert {n: a.tobytes() for n, a in loaded.items()} == {n: a.tobytes() for n, a in state(offset).items()}
    return True


def test_it_gives_back_what_was_kept(tmp_path: Path) -> None:
    cache = SnapshotCache(tmp_path, "group")
    cache.keep(about(10), frozen_at(10)[0])
    assert has(cache, 10)


def test_only_the_newest_is_kept(tmp_path: Path) -> None:
    cache = SnapshotCache(tmp_path, "group")
    for offset in (10, 20):
        cache.keep(about(offset), frozen_at(offset)[0])
    assert not has(cache, 10)
    assert has(cache, 20)
    assert len(list(tmp_path.rglob("*.chunks"))) == 1


def test_other_partitions_and_groups_have_their_own(tmp_path: Path) -> None:
    SnapshotCache(tmp_path, "group").keep(about(10), frozen_at(10)[0])
    assert not has(SnapshotCache(tmp_path, "group"), 10, partition=1)
    assert not has(SnapshotCache(tmp_path, "other"), 10)


@pytest.mark.parametrize("damage", [slice(0, 0), slice(0, 700), slice(1, None)])
def test_a_file_that_was_cut_or_moved_is_none(tmp_path: Path, damage: slice) -> None:
    cache = SnapshotCache(tmp_path, "group")
    cache.keep(about(10), frozen_at(10)[0])
    (file,) = tmp_path.rglob("*.chunks")
    file.write_bytes(file.read_bytes()[damage])
    assert not has(cache, 10)


def test_a_flipped_bit_is_none(tmp_path: Path) -> None:
    cache = SnapshotCache(tmp_path, "group")
    cache.keep(about(10), frozen_at(10)[0])
    (file,) = tmp_path.rglob("*.chunks")
    body = bytearray(file.read_bytes())
    body[len(body) // 2] ^= 1
    file.write_bytes(body)
    assert not has(cache, 10)


def test_a_disk_that_takes_nothing_is_no_matter(tmp_path: Path) -> None:
    in_the_way = tmp_path / "folder"
    in_the_way.write_bytes(b"a file, where the folder should be")
    cache = SnapshotCache(in_the_way, "group")
    cache.keep(about(10), frozen_at(10)[0])
    assert not has(cache, 10)


def test_snapshots_are_loaded_from_it_where_it_has_them_and_from_the_topic_otherwise(tmp_path: Path) -> None:
    cache, kafka = SnapshotCache(tmp_path, "group"), MemoryKafka()
    writer = writer_of(kafka, cache=cache)
    for offset in (10, 20):
        writer.write(about(offset), state(offset)).result()
    snapshots = snapshots_of(kafka, cache=cache)
    newest, older, *_ = snapshots.newest_first()
    consumer = cast(MemoryConsumer, snapshots.consumer)
    for found, from_topic in ((newest, False), (older, True)):
        before = consumer.reads
        loaded = snapshots.load(found)
        assert {n: a.tobytes() for n, a in loaded.items()} == {
            n: a.tobytes() for n, a in state(found.about.offset).items()
        }
        assert (consumer.reads > before) == from_topic
