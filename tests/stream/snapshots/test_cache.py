"""The cache has the newest snapshot's chunks or none; it is never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from service.history.frozen import Frozen, Manifest, freeze
from service.stream.snapshots.cache import SnapshotCache
from tests.stream.memory_kafka import MemoryConsumer, MemoryKafka
from tests.stream.snapshots.saved import about, snapshots_of, state, writer_of

CHUNK_BYTES = 1_000


def frozen_at(offset: int) -> tuple[Frozen, Manifest]:
    frozen = freeze(state(offset), CHUNK_BYTES)
    return frozen, Manifest.parse(frozen.manifest(about(offset).as_dict()))


def test_it_gives_back_what_was_kept(tmp_path: Path) -> None:
    cache = SnapshotCache(tmp_path, "group")
    frozen, manifest = frozen_at(10)
    cache.keep(about(10), frozen)
    assert cache.chunks(about(10), manifest, CHUNK_BYTES) == [bytes(chunk) for chunk in frozen.chunks]


def test_only_the_newest_is_kept(tmp_path: Path) -> None:
    cache = SnapshotCache(tmp_path, "group")
    for offset in (10, 20):
        frozen, newest = frozen_at(offset)
        cache.keep(about(offset), frozen)
    assert cache.chunks(about(10), frozen_at(10)[1], CHUNK_BYTES) is None
    assert cache.chunks(about(20), newest, CHUNK_BYTES) is not None
    assert len(list(tmp_path.rglob("*.chunks"))) == 1


def test_other_partitions_and_groups_have_their_own(tmp_path: Path) -> None:
    frozen, manifest = frozen_at(10)
    SnapshotCache(tmp_path, "group").keep(about(10), frozen)
    assert SnapshotCache(tmp_path, "group").chunks(about(10, partition=1), manifest, CHUNK_BYTES) is None
    assert SnapshotCache(tmp_path, "other").chunks(about(10), manifest, CHUNK_BYTES) is None


@pytest.mark.parametrize("damage", [slice(0, 0), slice(0, 700), slice(1, None)])
def test_a_file_that_was_cut_or_moved_is_none(tmp_path: Path, damage: slice) -> None:
    cache = SnapshotCache(tmp_path, "group")
    frozen, manifest = frozen_at(10)
    cache.keep(about(10), frozen)
    (file,) = tmp_path.rglob("*.chunks")
    file.write_bytes(file.read_bytes()[damage])
    assert cache.chunks(about(10), manifest, CHUNK_BYTES) is None


def test_a_flipped_bit_is_none(tmp_path: Path) -> None:
    cache = SnapshotCache(tmp_path, "group")
    frozen, manifest = frozen_at(10)
    cache.keep(about(10), frozen)
    (file,) = tmp_path.rglob("*.chunks")
    body = bytearray(file.read_bytes())
    body[len(body) // 2] ^= 1
    file.write_bytes(body)
    assert cache.chunks(about(10), manifest, CHUNK_BYTES) is None


def test_a_disk_that_takes_nothing_is_no_matter(tmp_path: Path) -> None:
    in_the_way = tmp_path / "folder"
    in_the_way.write_bytes(b"a file, where the folder should be")
    cache = SnapshotCache(in_the_way, "group")
    frozen, manifest = frozen_at(10)
    cache.keep(about(10), frozen)
    assert cache.chunks(about(10), manifest, CHUNK_BYTES) is None


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
