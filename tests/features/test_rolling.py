from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.features import rolling

Floats = npt.NDArray[np.float64]

# Few different numbers, so that there are ties; any number; numbers far larger than the others.
any_number = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-1e6, 1e6),
    st.sampled_from([1e30, -1e30, 1e120, -1e140, 1e140, 5e-324, -0.0]),
)
sequences = st.lists(any_number, min_size=1, max_size=80)
windows = st.sampled_from([8, 9, 16, 31])


class Rolling:
    """The kernels' row of state, with everything that they say of it."""

    def __init__(self, window: int) -> None:
        self.ascending = np.zeros(window)
        self.ranks = np.zeros(window, np.uint8)
        self.seen = 0
        self.mean = self.squares = 0.0

    def push(self, x: float) -> None:
        old = rolling.push_value(self.ascending, self.ranks, self.seen, x)
        self.mean, self.squares = rolling.moments(self.ascending, self.seen, self.mean, self.squares, x, old)
        self.seen += 1

    @property
    def count(self) -> int:
        return min(self.seen, len(self.ascending))

    @property
    def median(self) -> float:
        return rolling.median(self.ascending, self.count)

    def mad(self, center: float) -> float:
        return rolling.median_absolute_deviation(self.ascending, self.count, center)


def tails(values: list[float], window: int) -> list[Floats]:
    """What a deque of that length holds after each value."""
    tail: deque[float] = deque(maxlen=window)
    held = []
    for x in values:
        tail.append(x)
        held.append(np.array(tail))
    return held


@given(sequences, windows)
def test_the_newest_values_are_there_in_ascending_order(values: list[float], window: int) -> None:
    state = Rolling(window)
    for x, tail in zip(values, tails(values, window), strict=True):
        state.push(x)
        assert state.ascending[: state.count].tolist() == sorted(tail.tolist())


@given(sequences, windows)
def test_the_rank_of_a_place_leads_to_the_value_that_arrived_there(values: list[float], window: int) -> None:
    state = Rolling(window)
    for seen, x in enumerate(values, 1):
        state.push(x)
        ranks = state.ranks[: state.count]
        assert sorted(ranks.tolist()) == list(range(state.count))
        newest = range(max(0, seen - window), seen)
        assert [state.ascending[state.ranks[i % window]] for i in newest] == values[newest.start : seen]


@given(sequences, windows)
def test_a_full_window_gives_back_what_came_first(values: list[float], window: int) -> None:
    ascending, ranks = np.zeros(window), np.zeros(window, np.uint8)
    given_back = [rolling.push_value(ascending, ranks, seen, x) for seen, x in enumerate(values)]
    assert given_back[window:] == values[: max(0, len(values) - window)]


@given(st.lists(any_number, max_size=40), any_number)
def test_the_rank_of_a_value_is_that_of_numpy(values: list[float], x: float) -> None:
    ascending = np.sort(np.array([*values, 0.0]))
    for count in range(len(ascending)):
        assert rolling.rank_of(ascending, count, x) == np.searchsorted(ascending[:count], x, side="right")


@given(sequences, windows)
def test_the_median_is_that_of_numpy(values: list[float], window: int) -> None:
    state = Rolling(window)
    for x, tail in zip(values, tails(values, window), strict=True):
        state.push(x)
        assert state.median == pytest.approx(float(np.median(tail)), rel=1e-15, abs=1e-300)


@given(sequences, windows, st.one_of(st.none(), any_number))
def test_the_median_absolute_deviation_is_that_of_numpy(
    values: list[float], window: int, elsewhere: float | None
) -> None:
    state = Rolling(window)
    for x, tail in zip(values, tails(values, window), strict=True):
        state.push(x)
        center = state.median if elsewhere is None else elsewhere
        expected = float(np.median(np.abs(tail - center)))
        assert state.mad(center) == pytest.approx(expected, rel=1e-15, abs=1e-300)


def assert_moments(state: Rolling, tail: Floats, rel: float) -> None:
    """Mean and spread are those of numpy, to a share of the largest number in the window."""
    size = float(np.abs(tail).max())
    spread = float(np.sqrt(((tail - tail.mean()) ** 2).sum()))
    assert abs(state.mean - float(tail.mean())) <= rel * size + 1e-300
    assert state.squares >= 0.0
    assert abs(np.sqrt(state.squares) - spread) <= rel * size + 1e-6 * spread + 1e-300


@settings(max_examples=200)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), windows)
def test_the_moments_are_those_of_numpy(values: list[float], window: int) -> None:
    state = Rolling(window)
    largest = 0.0
    for x, tail in zip(values, tails(values, window), strict=True):
        state.push(x)
        # A number that has left may leave rounding noise of its own size until the ring wraps.
        largest = max(largest, abs(x))
        assert abs(state.mean - float(tail.mean())) <= 1e-13 * largest
        squares = float(((tail - tail.mean()) ** 2).sum())
        assert abs(state.squares - squares) <= 1e-12 * largest**2


@given(sequences, windows)
def test_the_moments_are_finite_whatever_comes(values: list[float], window: int) -> None:
    state = Rolling(window)
    for x in values:
        state.push(x)
        assert np.isfinite(state.mean)
        assert np.isfinite(state.squares)
        assert state.squares >= 0.0


@pytest.mark.parametrize("outlier", [1e9, -1e15, 1e60, 1e140])
@pytest.mark.parametrize("window", [16, 128])
def test_a_huge_outlier_that_has_left_leaves_no_trace(outlier: float, window: int) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(5.0, 0.1, 3 * window)
    values[window + 7] = outlier
    state = Rolling(window)
    for i, (x, tail) in enumerate(zip(values, tails(values.tolist(), window), strict=True)):
        state.push(x)
        if i >= window + 7 + window:
            assert_moments(state, tail, 1e-12)
            assert state.median == float(np.median(tail))


def test_small_changes_on_a_high_level_are_not_lost() -> None:
    rng = np.random.default_rng(4)
    values = 1e9 + rng.normal(0.0, 1e-3, 2000)
    state = Rolling(128)
    for x, tail in zip(values, tails(values.tolist(), 128), strict=True):
        state.push(x)
        if len(tail) > 2:
            assert np.sqrt(state.squares / (len(tail) - 1)) == pytest.approx(tail.std(ddof=1), rel=1e-3)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e9, 1e140])
def test_a_constant_has_no_spread(constant: float) -> None:
    state = Rolling(16)
    for _ in range(100):
        state.push(constant)
        assert state.mean == pytest.approx(constant, rel=1e-15)
        assert np.sqrt(state.squares) <= 1e-14 * abs(constant)
        assert state.median == constant
        assert state.mad(constant) == 0.0


def test_rounding_does_not_pile_up_over_a_long_stream() -> None:
    values = np.random.default_rng(5).normal(1e6, 1.0, 100_000)
    state = Rolling(64)
    for x in values:
        state.push(float(x))
    assert state.mean == pytest.approx(values[-64:].mean(), rel=1e-14)
    assert np.sqrt(state.squares / 63) == pytest.approx(values[-64:].std(ddof=1), rel=1e-6)


def test_a_window_may_have_as_many_places_as_a_byte_can_name() -> None:
    values = np.random.default_rng(6).integers(0, 50, 1000).astype(float)
    state = Rolling(rolling.MAX_WINDOW)
    for x in values:
        state.push(float(x))
    newest = values[-rolling.MAX_WINDOW :]
    assert state.ascending.tolist() == sorted(newest.tolist())
    assert state.ascending[state.ranks[1000 % rolling.MAX_WINDOW]] == newest[0]
