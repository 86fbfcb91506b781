from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.history.fading import whole

turns = st.integers(0, 2**40)


@given(st.floats(0, 1e6), turns)
def test_a_weight_becomes_one_of_its_neighbours(weight: float, turn: int) -> None:
    assert int(weight) <= whole(weight, turn) <= int(weight) + 1


@given(st.integers(0, 2**31), turns)
def test_a_whole_weight_stays_as_it_is(weight: int, turn: int) -> None:
    assert whole(float(weight), turn) == weight


@given(st.floats(0, 100), turns)
def test_over_some_turns_the_mean_is_the_weight(weight: float, turn: int) -> None:
    mean = sum(whole(weight, turn + i) for i in range(1000)) / 1000
    assert mean == pytest.approx(weight, abs=0.005)
