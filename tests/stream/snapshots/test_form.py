"""A manifest gives back what it was told; what is none is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.history.frozen import BrokenError, Manifest, freeze
from service.stream.snapshots.form import GENERATIONS, About, is_manifest
from tests.stream.snapshots.saved import about


def manifest_of(said: object) -> Manifest:
    return Manifest.parse(freeze({}, 10).manifest(said))  # type: ignore[arg-type]


def test_a_manifest_says_what_it_was_told() -> None:
    told = replace(
        about(17, 4, partition=3), born=5, chunks_from=100, previous=90, taken_ms=1_700_000_000_123
    )
    assert About.of(manifest_of(told.as_dict())) == told


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"subject": {}},
        {"subject": 7},
        {**about(1).as_dict(), "subject": {**about(1).as_dict()["subject"], "more": 1}},
        {**about(1).as_dict(), "more": 1},
        {name: value for name, value in about(1).as_dict().items() if name != "offset"},
    ],
)
def test_a_manifest_of_something_else_is_refused(said: object) -> None:
    with pytest.raises(BrokenError, match="not one of a partition's state"):
        About.of(manifest_of(said))


def test_generations_take_their_slots_in_turn_and_the_birth_has_its_own() -> None:
    slots = [about(0, generation).slot for generation in range(1, 2 * GENERATIONS + 1)]
    assert slots[:GENERATIONS] == slots[GENERATIONS:]
    assert len(set(slots)) == GENERATIONS
    assert about(0, 0).slot == "birth"
    assert about(0, 0).is_birth
    assert not about(0, GENERATIONS).is_birth


def test_keys_say_partition_slot_and_part() -> None:
    assert about(0, 4, partition=12).chunk_key(7) == b"12/1/7"
    assert about(0, 4, partition=12).manifest_key == b"12/1/manifest"
    assert about(0, 0, partition=12).manifest_key == b"12/birth/manifest"


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        (b"1/0/manifest", True),
        (b"1/birth/manifest", True),
        (b"11/0/manifest", False),
        (b"1/0/0", False),
        (b"1/0/manifestly", False),
        (b"", False),
        (None, False),
    ],
)
def test_a_manifest_is_known_by_its_key(key: bytes | None, is_one: bool) -> None:
    assert is_manifest(key, 1) == is_one
