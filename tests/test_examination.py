from __future__ import annotations

import json

import numpy as np
import pytest

from service.errors import AnomalydError
from service.examination import Search, examined
from service.pipeline import DetectionPipeline
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read

START_MS = 1_767_225_600_000


def records(*points: tuple[str, int] | bytes, first: int = 100) -> RecordBatch:
    """(source, seconds) points, or bytes as they are."""
    values = [
        point
        if isinstance(point, bytes)
        else json.dumps({"sourceId": point[0], "timestamp": START_MS + 1000 * point[1], "values": 1}).encode()
        for point in points
    ]
    n = len(values)
    return RecordBatch(values, [None] * n, {}, np.arange(first, first + n), np.full(n, START_MS))


def search(source: str, second: int, *batches: RecordBatch) -> Search:
    looking = Search(source, START_MS + 1000 * second)
    for batch in batches:
        if looking.look(read(batch, InputLimits())):
            break
    return looking


A, B = records(("a", 1), ("b", 1), ("a", 2), ("a", 2)), records(("a", 3), ("b", 5), first=104)


@pytest.mark.parametrize(
    ("source", "second", "offset", "exact"),
    [
        ("a", 2, 102, True),
        ("a", 3, 104, True),
        ("b", 4, 101, False),
        ("a", 99, 104, False),
        ("b", 0, None, False),
    ],
)
def test_the_first_point_of_a_time_is_found_or_else_the_newest_before(
    source: str, second: int, offset: int | None, exact: bool
) -> None:
    found = search(source, second, A, B)
    assert (found.offset, found.is_exact) == (offset, exact)


def test_what_was_not_found_is_told_with_what_there_is() -> None:
    assert search("c", 1, A, B).failure == "there is no point of source 'c'"
    told = search("b", 0, A, B).failure
    assert "at or before 2026-01-01T00:00:00Z, only from 2026-01-01T00:00:01Z to 2026-01-01T00:00:05Z" in told


def test_the_pipeline_learns_all_before_the_record_and_nothing_after() -> None:
    pipeline = DetectionPipeline()
    insight = examined(pipeline, [A, B], 104, InputLimits())
    assert (insight.offset, insight.result["timestamp"]) == (104, "2026-01-01T00:00:03Z")
    other = DetectionPipeline()
    for batch in (A, records(("a", 3), first=104)):
        other.score(read(batch, InputLimits()))
    for name, array in other.state().items():
        np.testing.assert_array_equal(pipeline.state()[name], array)


@pytest.mark.parametrize(("offset", "said"), [(105, "no data point"), (99, "no record"), (200, "no record")])
def test_what_cannot_be_examined_is_said(offset: int, said: str) -> None:
    with pytest.raises(AnomalydError, match=said):
        examined(DetectionPipeline(), [A, records(("a", 9), b"{", first=104)], offset, InputLimits())
