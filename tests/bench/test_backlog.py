from __future__ import annotations

import json

import pytest

from service.bench.backlog import Fleet
from service.bench.cases import Case
from service.bench.signal import value_names
from service.wire.data_point import DataPoint
from service.wire.decode import InputLimits, decode


def bodies(case: Case, count: int) -> list[bytes]:
    fleet = Fleet(case)
    return [
        fleet.heads[number] + b"%d" % (1_767_225_600_000 + step) + tail
        for step, order, tails in fleet.steps(count)
        for number, tail in zip(order, tails, strict=True)
    ]


@pytest.mark.parametrize(("sources", "values", "count"), [(3, 1, 10), (5, 4, 5), (50, 12, 7)])
def test_a_fleet_sends_as_many_data_points_as_asked(sources: int, values: int, count: int) -> None:
    found = [
        decode(body, None, None, 1_767_225_600_000, InputLimits())
        for body in bodies(Case(sources, values), count)
    ]
    assert len(found) == count
    for point in found:
        assert isinstance(point, DataPoint)
        assert point.names == value_names(values)


def test_sources_take_turns() -> None:
    sources = [json.loads(body)["sourceId"] for body in bodies(Case(4, 1), 12)]
    assert all(len(set(sources[i : i + 4])) == 4 for i in (0, 4, 8))


def test_a_point_has_about_a_hundred_bytes() -> None:
    (body, *_) = bodies(Case(10, 1), 1)
    assert 70 <= len(body) <= 130
