"""Points that took the Kafka record's time: what that time may say of them, and what it may not."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from service.history.sources import Arrival, Sources
from service.wire.batch import PointBatch
from service.wire.data_point import DataPoint

FRESH, LATE, DUPLICATE = Arrival.FRESH, Arrival.LATE, Arrival.DUPLICATE


def timed(time_ms: int, point_id: str | None = None, source_id: str = "a") -> DataPoint:
    return DataPoint(source_id, time_ms, ("value",), (0.0,), None, point_id)


def untimed(record_time_ms: int, point_id: str | None = None, source_id: str = "a") -> DataPoint:
    return DataPoint(source_id, record_time_ms, ("value",), (0.0,), None, point_id, timed=False)


def arrivals(sources: Sources, points: Sequence[DataPoint]) -> list[Arrival]:
    placed = sources.place(PointBatch.of(points), 0)
    assert placed.stop == len(points)
    return [Arrival(code) for code in placed.arrival]


def new_sources() -> Sources:
    return Sources(100, 8, [], [])


def test_two_untimed_points_of_one_millisecond_are_two_points() -> None:
    assert arrivals(new_sources(), [untimed(7), untimed(7)]) == [FRESH, FRESH]


def test_an_untimed_point_is_not_late_when_record_times_step_back() -> None:
    sources = new_sources()
    assert arrivals(sources, [untimed(10), untimed(7)]) == [FRESH, FRESH]
    assert arrivals(sources, [untimed(3)]) == [FRESH]


def test_untimed_points_keep_their_order_of_arrival() -> None:
    placed = new_sources().place(PointBatch.of([untimed(10), untimed(7), untimed(7)]), 0)
    assert placed.fresh.tolist() == [0, 1, 2]


def test_timed_points_are_still_late_or_duplicates() -> None:
    assert arrivals(new_sources(), [timed(10), timed(7), timed(10)]) == [FRESH, LATE, DUPLICATE]


def test_a_repeated_id_makes_an_untimed_point_a_duplicate() -> None:
    points = [untimed(7, "x"), untimed(8, "x"), untimed(7, "y"), untimed(6, "y")]
    assert arrivals(new_sources(), points) == [FRESH, DUPLICATE, FRESH, DUPLICATE]


def test_an_untimed_point_makes_no_timed_one_late() -> None:
    points = [timed(10), untimed(20), timed(9), timed(11), timed(11)]
    assert arrivals(new_sources(), points) == [FRESH, FRESH, LATE, FRESH, DUPLICATE]


some_points = st.lists(
    st.tuples(st.sampled_from([timed, untimed]), st.integers(0, 6), st.none() | st.sampled_from("xy")),
    max_size=30,
)


@given(some_points, st.integers(0, 30))
def test_verdicts_are_those_of_the_rule_in_one_batch_or_two(
    drawn: list[tuple[object, int, str | None]], cut: int
) -> None:
    points = [DataPoint("a", ms, ("value",), (0.0,), None, name, made is timed) for made, ms, name in drawn]
    newest, seen, expected = -1, list[str](), list[Arrival]()
    for point in points:
        if point.id in seen[-4:]:
            verdict = DUPLICATE
        elif point.timed and point.time_ms <= newest:
            verdict = LATE if point.time_ms < newest else DUPLICATE
        else:
            verdict, newest = FRESH, point.time_ms if point.timed else newest
            seen += [point.id] if point.id else []
        expected.append(verdict)
    sources = new_sources()
    assert arrivals(sources, points[:cut]) + arrivals(sources, points[cut:]) == expected
