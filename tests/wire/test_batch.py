from __future__ import annotations

import math

from service.wire.batch import PointBatch
from service.wire.data_point import NAN, DataPoint


def test_points_stand_in_columns_in_their_order() -> None:
    batch = PointBatch.of(
        [
            DataPoint("a", 5, ("p", "q"), (1.0, NAN), {"site": "north"}, "x-1"),
            DataPoint("b", 4, ("value",), (3.0,), timed=False),
        ]
    )
    assert len(batch) == 2
    assert list(batch.source_ids) == ["a", "b"]
    assert batch.time_ms.tolist() == [5, 4]
    assert list(batch.names) == [("p", "q"), ("value",)]
    assert batch.value_start.tolist() == [0, 2, 3]
    assert batch.values[[0, 2]].tolist() == [1.0, 3.0]
    assert math.isnan(batch.values[1])
    assert list(batch.ids) == ["x-1", None]
    assert list(batch.timed) == [True, False]


def test_no_points_make_empty_columns() -> None:
    batch = PointBatch.of([])
    assert len(batch) == len(batch.timed) == len(batch.values) == 0
    assert batch.value_start.tolist() == [0]
