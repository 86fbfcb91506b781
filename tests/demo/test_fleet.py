from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.demo.fleet import FAULTS, VALUES, Fault, Fleet, Floats

POINTS = 2000


def values_of(fleet: Fleet) -> Floats:
    """(points, sources, values)."""
    return np.stack([values.copy() for _, values in fleet.rounds()])


def without_faults(seed: int, sources: int = 12) -> Floats:
    """The same fleet as it would have run with nothing planted."""
    fleet = Fleet(sources, POINTS, seed)
    fleet.faults = tuple(replace(fault, start=fleet.points) for fault in fleet.faults)
    return values_of(fleet)


def test_the_same_seed_gives_the_same_numbers_and_faults() -> None:
    first, second = Fleet(12, POINTS, 7), Fleet(12, POINTS, 7)
    assert first.faults == second.faults
    assert values_of(first).tobytes() == values_of(second).tobytes()


def test_another_seed_gives_another_fleet_and_other_faults() -> None:
    first, second = Fleet(12, POINTS, 7), Fleet(12, POINTS, 8)
    assert first.faults != second.faults
    assert not np.array_equal(values_of(first), values_of(second))


def test_rounds_are_numbered_and_have_a_row_for_each_source() -> None:
    rounds = list(Fleet(12, POINTS, 1).rounds())
    assert [number for number, _ in rounds] == list(range(POINTS))
    assert all(values.shape == (12, len(VALUES)) and np.isfinite(values).all() for _, values in rounds)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_each_fault_has_a_source_of_its_own_and_lies_behind_enough_of_normal(seed: int) -> None:
    fleet = Fleet(20, 6500, seed)
    assert len(fleet.faults) == FAULTS == 10
    assert len({fault.source_id for fault in fleet.faults}) == FAULTS
    assert {fault.source_id for fault in fleet.faults} <= set(fleet.source_ids)
    for fault in fleet.faults:
        assert 0.69 * fleet.points < fault.start < fault.start + fault.points + 10 < fleet.points
        assert fault.value in VALUES


@pytest.mark.parametrize("seed", [1, 2])
def test_faults_change_their_value_where_they_say_and_nothing_else(seed: int) -> None:
    fleet = Fleet(12, POINTS, seed)
    changed = values_of(fleet) != without_faults(seed)
    owed = np.zeros_like(changed)
    for fault in fleet.faults:
        source, value = fleet.source_ids.index(fault.source_id), VALUES.index(fault.value)
        owed[fault.start : fault.start + fault.points, source, value] = True
    assert np.array_equal(changed, owed)


def test_a_drop_out_is_zero() -> None:
    fleet = Fleet(12, POINTS, 1)
    values = values_of(fleet)
    (fault,) = [fault for fault in fleet.faults if fault.kind == "drop-out to zero"]
    hit = values[:, fleet.source_ids.index(fault.source_id), VALUES.index(fault.value)]
    assert (hit[fault.start : fault.start + fault.points] == 0.0).all()
    assert (hit[: fault.start] > 0.0).all()


def test_a_fault_holds_from_its_start_to_ten_points_behind_its_end() -> None:
    fault = Fault("spike", "pump-01", "flow", 100, 3)
    assert [fault.holds(point) for point in (99, 100, 112, 113)] == [False, True, True, False]


def test_fewer_sources_than_faults_are_refused() -> None:
    with pytest.raises(ValueError, match="10 faults need as many sources, got 9"):
        Fleet(9, POINTS, 1)
