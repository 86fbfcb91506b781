from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.history.sources import RECENT_IDS, Arrival, Placement, Sources
from service.history.table import Column, StateTable
from service.wire.batch import PointBatch
from service.wire.data_point import DataPoint
from tests.streams import a_point

FRESH, LATE, DUPLICATE, TOO_WIDE = Arrival


class Sums:
    """A state of the simplest kind behind a real directory: how many points, and the sum of each series."""

    def __init__(self, max_sources: int = 100, max_values: int = 8) -> None:
        self.points = StateTable({"points": Column(np.int64)}, rows=1)
        self.sums = StateTable({"sum": Column(np.float64)}, rows=1)
        self.sources = Sources(max_sources, max_values, [self.points], [self.sums])
        self.calls = 0

    def place(self, points: Sequence[DataPoint], start: int = 0) -> Placement:
        placed = self.sources.place(PointBatch.of(points), start)
        np.add.at(self.points["points"], placed.source, 1)
        np.add.at(self.sums["sum"], placed.series, np.nan_to_num(placed.values))
        self.calls += 1
        return placed

    def place_all(self, points: Sequence[DataPoint]) -> list[Arrival]:
        arrival: list[Arrival] = []
        while len(arrival) < len(points):
            placed = self.place(points, len(arrival))
            assert placed.stop > placed.start, "no progress"
            arrival += [Arrival(code) for code in placed.arrival]
        return arrival

    def of(self, source_id: str) -> tuple[int, dict[str, float]]:
        """How many points of the source there were, and its sums by name."""
        names = self.sources.names(source_id)
        assert names, f"{source_id} is unknown"
        # A point whose values are all missing shows the rows and adds nothing to the sums.
        probe = a_point(source_id, 1e9 + self.calls, dict.fromkeys(names, float("nan")))
        placed = self.place([probe])
        slot = int(placed.source[0])
        self.points["points"][slot] -= 1
        return int(self.points["points"][slot]), {
            name: float(self.sums["sum"][row]) for name, row in zip(names, placed.series, strict=True)
        }


# Rows of points


def test_a_source_has_one_row_and_neighbouring_rows_for_its_values() -> None:
    placed = Sums().place([a_point("a", 1, {"x": 1.0, "y": 2.0}), a_point("b", 1, {"x": 3.0})])
    assert placed.source.tolist() == [0, 1]
    assert placed.row_start.tolist() == [0, 2, 3]
    assert placed.series.tolist() == [0, 1, 2]
    assert placed.values.tolist() == [1.0, 2.0, 3.0]
    assert placed.fresh.tolist() == [0, 1]


def test_a_source_keeps_its_rows() -> None:
    sums = Sums()
    sums.place([a_point("a", 1, {"x": 1.0, "y": 2.0}), a_point("b", 1, 5.0)])
    placed = sums.place([a_point("b", 2, 6.0), a_point("a", 2, {"x": 10.0, "y": 20.0})])
    assert placed.source.tolist() == [1, 0]
    assert sums.of("a") == (2, {"x": 11.0, "y": 22.0})
    assert sums.of("b") == (2, {"value": 11.0})


def test_names_in_another_order_find_their_own_rows() -> None:
    sums = Sums()
    sums.place([a_point("a", 1, {"x": 1.0, "y": 2.0}), a_point("a", 2, {"y": 20.0, "x": 10.0})])
    assert sums.of("a") == (2, {"x": 11.0, "y": 22.0})


def test_some_of_the_names_find_their_own_rows() -> None:
    sums = Sums()
    sums.place([a_point("a", 1, {"x": 1.0, "y": 2.0, "z": 3.0}), a_point("a", 2, {"z": 30.0})])
    assert sums.of("a") == (2, {"x": 1.0, "y": 2.0, "z": 33.0})


def test_an_empty_stretch_places_nothing() -> None:
    sums = Sums()
    points = [a_point("a", 1), a_point("a", 1)]
    assert len(sums.place(points, 1).source) == 1
    placed = sums.place([a_point("a", 1), a_point("a", 0.5)])
    assert (len(placed.source), placed.row_start.tolist(), placed.stop) == (0, [0], 2)


# Late points and repeats


def test_a_point_older_than_the_newest_is_late() -> None:
    sums = Sums()
    assert sums.place_all([a_point("a", 5), a_point("a", 4.999), a_point("a", 5.001)]) == [FRESH, LATE, FRESH]


def test_a_point_of_the_same_time_is_a_duplicate() -> None:
    assert Sums().place_all([a_point("a", 5), a_point("a", 5), a_point("b", 5)]) == [FRESH, DUPLICATE, FRESH]


def test_a_late_point_does_not_turn_time_back() -> None:
    points = [a_point("a", 5), a_point("a", 2), a_point("a", 3)]
    assert Sums().place_all(points) == [FRESH, LATE, LATE]


def test_a_point_without_a_time_of_its_own_counts_when_it_arrives() -> None:
    points = [a_point("a", 5, timed=False), a_point("a", 5, timed=False), a_point("a", 3, timed=False)]
    assert Sums().place_all(points) == [FRESH, FRESH, FRESH]
    assert Sums().place_all([a_point("a", 5), a_point("a", 4, timed=False), a_point("a", 5)]) == [
        FRESH,
        FRESH,
        DUPLICATE,
    ]


def test_an_id_seen_lately_is_a_duplicate_whatever_its_time() -> None:
    points = [
        a_point("a", 1, point_id="m1"),
        a_point("a", 2, point_id="m1"),
        a_point("b", 2, point_id="m1"),
        a_point("a", 3, point_id="m2"),
    ]
    assert Sums().place_all(points) == [FRESH, DUPLICATE, FRESH, FRESH]


def test_only_the_last_few_ids_are_remembered() -> None:
    sums = Sums()
    sums.place_all([a_point("a", i, point_id=f"m{i}") for i in range(1, RECENT_IDS + 2)])
    again = [a_point("a", 100 + i, point_id=f"m{i}") for i in range(2, RECENT_IDS + 2)]
    assert sums.place_all(again) == [DUPLICATE] * RECENT_IDS
    assert sums.place_all([a_point("a", 200, point_id="m1")]) == [FRESH]


def test_points_that_are_not_fresh_leave_the_state_alone() -> None:
    sums = Sums()
    sums.place_all([a_point("a", 5, 1.0), a_point("a", 5, 2.0), a_point("a", 4, 4.0)])
    assert sums.of("a") == (1, {"value": 1.0})


# New names


def test_a_new_name_gets_a_row_and_the_others_keep_their_history() -> None:
    sums = Sums()
    sums.place([a_point("a", 1, {"x": 1.0, "y": 2.0}), a_point("b", 1, 7.0)])
    sums.place_all([a_point("a", 2, {"z": 3.0, "x": 10.0})])
    assert sums.sources.names("a") == ("x", "y", "z")
    assert sums.of("a") == (2, {"x": 11.0, "y": 2.0, "z": 3.0})
    assert sums.of("b") == (1, {"value": 7.0})


def test_placement_stops_before_a_source_moves_that_it_has_placed() -> None:
    sums = Sums()
    points = [
        a_point("a", 1, {"x": 1.0}),
        a_point("b", 1),
        a_point("a", 2, {"x": 2.0, "y": 3.0}),
        a_point("b", 2),
    ]
    assert sums.place(points).stop == 2
    assert sums.place(points, 2).stop == 4
    assert sums.of("a") == (2, {"x": 3.0, "y": 3.0})


def test_a_point_with_too_many_new_names_changes_nothing() -> None:
    sums = Sums(max_values=2)
    wide = a_point("a", 2, {"y": 2.0, "z": 3.0})
    narrow = a_point("a", 3, {"y": 5.0})
    assert sums.place_all([a_point("a", 1, {"x": 1.0}), wide, narrow]) == [FRESH, TOO_WIDE, FRESH]
    assert sums.of("a") == (2, {"x": 1.0, "y": 5.0})


def test_a_first_point_with_too_many_names_makes_no_source_and_evicts_none() -> None:
    sums = Sums(max_sources=1, max_values=2)
    sums.place_all([a_point("a", 1, 1.0)])
    assert sums.place_all([a_point("b", 1, {"x": 1.0, "y": 2.0, "z": 3.0})]) == [TOO_WIDE]
    assert sums.sources.names("b") == ()
    assert sums.of("a") == (1, {"value": 1.0})


def test_the_block_that_a_widened_source_leaves_is_used_again_and_clean() -> None:
    sums = Sums()
    sums.place_all([a_point("a", 1, {"x": 1.0}), a_point("a", 2, {"x": 1.0, "y": 1.0})])
    series = sums.sources.series
    sums.place_all([a_point("b", 1, {"w": 5.0})])
    assert sums.sources.series == series
    assert sums.of("b") == (1, {"w": 5.0})
    assert sums.of("a") == (2, {"x": 2.0, "y": 1.0})


# Eviction and forgetting


def test_the_source_seen_longest_ago_makes_room() -> None:
    sums = Sums(max_sources=3)
    sums.place([a_point("a", 1), a_point("b", 1), a_point("c", 1)])
    sums.place([a_point("a", 2)])
    sums.place([a_point("d", 1)])
    assert sums.sources.names("b") == ()
    sums.place([a_point("e", 1)])
    assert [bool(sums.sources.names(name)) for name in "abcde"] == [True, False, False, True, True]
    assert sums.sources.evicted == 2
    assert len(sums.sources) == 3


def test_a_late_point_does_not_keep_its_source_from_eviction() -> None:
    sums = Sums(max_sources=2)
    sums.place([a_point("a", 5), a_point("b", 5)])
    sums.place([a_point("a", 1)])
    sums.place([a_point("c", 1)])
    assert sums.sources.names("a") == ()


def test_an_evicted_source_comes_back_as_a_stranger() -> None:
    sums = Sums(max_sources=1)
    sums.place([a_point("a", 5, 1.0, point_id="m")])
    sums.place([a_point("b", 5, 10.0)])
    assert sums.place_all([a_point("a", 2, 100.0, point_id="m")]) == [FRESH]
    assert sums.of("a") == (1, {"value": 100.0})
    assert (sums.sources.slots, sums.sources.series) == (1, 1)


def test_placement_stops_before_it_evicts_a_source_that_it_has_placed() -> None:
    sums = Sums(max_sources=2)
    points = [a_point("a", 1, 1.0), a_point("b", 1, 2.0), a_point("c", 1, 4.0), a_point("c", 2, 4.0)]
    assert sums.place(points).stop == 2
    assert sums.place(points, 2).stop == 4
    assert sums.of("c") == (2, {"value": 8.0})
    assert sums.of("b") == (1, {"value": 2.0})


def test_placement_goes_on_where_the_evicted_source_was_not_touched() -> None:
    sums = Sums(max_sources=2)
    sums.place([a_point("a", 1), a_point("b", 1)])
    assert sums.place([a_point("b", 2), a_point("c", 1), a_point("b", 3)]).stop == 3


def test_a_forgotten_source_leaves_nothing_to_who_takes_its_rows() -> None:
    sums = Sums()
    sums.place([a_point("a", 5, {"x": 1.0, "y": 2.0})])
    assert sums.sources.forget("a")
    assert not sums.sources.forget("a")
    assert len(sums.sources) == 0
    sums.place([a_point("b", 1, {"u": 10.0, "v": 20.0})])
    assert sums.of("b") == (1, {"u": 10.0, "v": 20.0})
    assert (sums.sources.slots, sums.sources.series) == (1, 2)


# Against a model in plain Python


class Model:
    """What `Sums` must say, in dicts."""

    def __init__(self, max_sources: int, max_values: int) -> None:
        self.max_sources, self.max_values = max_sources, max_values
        self.known: dict[str, tuple[int, int, dict[str, float]]] = {}  # newest, points, sums

    def place(self, point: DataPoint) -> Arrival:
        numbers = dict(zip(point.names, point.values, strict=True))
        newest, points, sums = self.known.get(point.source_id, (-1, 0, {}))
        if point.timed and point.time_ms <= newest:
            return LATE if point.time_ms < newest else DUPLICATE
        if len({*sums, *numbers}) > self.max_values:
            return TOO_WIDE
        if point.source_id not in self.known and len(self.known) == self.max_sources:
            del self.known[next(iter(self.known))]
        self.known.pop(point.source_id, None)
        added = {name: sums.get(name, 0.0) + numbers.get(name, 0.0) for name in [*sums, *numbers]}
        newest = point.time_ms if point.timed else newest
        self.known[point.source_id] = newest, points + 1, added
        return FRESH


some_points = st.lists(
    st.builds(
        a_point,
        st.sampled_from("abcde"),
        st.integers(1, 30),
        st.dictionaries(st.sampled_from("uvwxyz"), st.integers(-9, 9).map(float), min_size=1, max_size=4),
        timed=st.sampled_from([True, True, False]),
    ),
    max_size=60,
)


@given(some_points, st.integers(1, 5), st.integers(2, 6), st.lists(st.integers(0, 60), max_size=5))
def test_any_sequence_in_any_batches_gives_what_one_by_one_would(
    points: list[DataPoint], max_sources: int, max_values: int, cuts: list[int]
) -> None:
    sums, model = Sums(max_sources, max_values), Model(max_sources, max_values)
    edges = [0, *sorted(cuts), len(points)]
    arrival = [code for a, b in pairwise(edges) for code in sums.place_all(points[a:b])]
    assert arrival == [model.place(point) for point in points]
    assert len(sums.sources) == len(model.known)
    for source_id, (_, count, expected) in model.known.items():
        assert sums.of(source_id) == (count, expected)


@pytest.mark.parametrize("sources", [1, 17, 300])
def test_tables_grow_with_the_sources(sources: int) -> None:
    sums = Sums(max_sources=1000)
    sums.place_all([a_point(f"s{i}", 1, {"x": float(i), "y": 1.0}) for i in range(sources)])
    assert len(sums.points) >= sources
    assert len(sums.sums) >= 2 * sources
    assert sums.of(f"s{sources - 1}") == (1, {"x": float(sources - 1), "y": 1.0})


def test_names_that_come_one_by_one_leave_few_rows_behind() -> None:
    sums = Sums(max_values=256)
    for i in range(256):
        sums.place([a_point("a", i + 1, {f"v{i}": 1.0})])
    assert sums.sources.series <= 2 * 256


def test_many_sources_come_go_and_come_back() -> None:
    """Long enough for the table of ids to grow, to be packed anew and to be full of gaps."""
    rng = np.random.default_rng(1)
    sums, known = Sums(max_sources=3000), dict[str, int]()
    for round_ in range(30):
        ids = [f"{'long-' * int(rng.integers(8))}{n}" for n in rng.integers(0, 5000, 400)]
        sums.place_all([a_point(source_id, round_ * 1000 + i + 1) for i, source_id in enumerate(ids)])
        for source_id in ids:
            if source_id not in known and len(known) == 3000:
                del known[next(iter(known))]
            known[source_id] = known.pop(source_id, 0) + 1
        for source_id in rng.permutation(sorted(known))[:50].tolist():
            assert sums.sources.forget(source_id)
            assert not sums.sources.forget(source_id)
            del known[source_id]
    assert len(sums.sources) == len(known)
    assert sums.sources.evicted > 0
    for source_id, count in known.items():
        assert sums.of(source_id)[0] == count


def test_sources_with_names_of_their_own_are_kept_apart() -> None:
    sums = Sums(max_sources=5000, max_values=8)
    for round_ in range(1, 4):
        sums.place_all([a_point(f"s{i}", round_, {f"v{i}": 1.0, "x": float(i)}) for i in range(2000)])
    assert sums.of("s7") == (3, {"v7": 3.0, "x": 21.0})
    assert sums.sources.names("s1999") == ("v1999", "x")
