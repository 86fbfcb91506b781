from __future__ import annotations

from service.wire.batch import PointBatch, written
from service.wire.data_point import NAN, DataPoint, Written
from tests.wire.reading import point_of

POINTS = [
    DataPoint("a", 5, ("p", "q"), (1.0, NAN), {"site": 'n"o'}, "x-1"),
    DataPoint('b\\"ü', 4, ("value",), (Written("3.50", 3.5),), timed=False),
    DataPoint("c", 6, ("p", "q"), (7.0, 8.0)),
]


def test_points_stand_in_rows_in_their_order() -> None:
    batch = PointBatch.of(POINTS)
    assert [repr(point_of(batch, i)) for i in range(3)] == [repr(point) for point in POINTS]
    assert [batch.sent(i) for i in range(3)] == [("1", ""), ("3.50",), ("7", "8")]
    assert batch.points["offset"].tolist() == batch.points["record"].tolist() == [0, 1, 2]
    assert batch.points["record_time_ms"].tolist() == [5, 4, 6]


def test_points_with_the_same_names_have_the_same_shape() -> None:
    shapes = PointBatch.of(POINTS).points["shape"].tolist()
    assert shapes[0] == shapes[2] != shapes[1]
    other_order = DataPoint("a", 5, ("q", "p"), (1.0, 1.0))
    assert PointBatch.of([other_order]).points["shape"][0] != shapes[0]


def test_a_part_holds_some_points_over_the_text_of_all() -> None:
    part = PointBatch.of(POINTS).part(1, 3)
    assert [part.source_id(i) for i in range(2)] == ['b\\"ü', "c"]
    assert part.names(1) == ("p", "q")


def test_no_points_make_no_rows() -> None:
    batch = PointBatch.of([])
    assert len(batch.points) == len(batch.values) == len(batch.labels) == 0


def test_numbers_are_written_as_they_came_or_shortly() -> None:
    numbers = [Written("1e2", 100.0), 100.0, -0.0, 0.1, 1e15, NAN]
    assert [written(number) for number in numbers] == ["1e2", "100", "-0.0", "0.1", "1000000000000000.0", ""]
