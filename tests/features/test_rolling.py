from __future__ import annotations

from collections import deque
from itertools import pairwise

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
        self.ring = np.zeros(window)
        self.order = np.zeros(window, np.uint8)
        self.seen = 0
        self.mean = self.squares = 0.0

    def push(self, x: float) -> None:
        self.mean, self.squares = rolling.push_moments(self.ring, self.seen, self.mean, self.squares, x)
        rolling.push_value(self.ring, self.order, self.seen, x)
        self.seen += 1

    @property
    def count(self) -> int:
        return min(self.seen, len(self.ring))

    @property
    def median(self) -> float:
        return rolling.median(self.ring, self.order, self.count)

    def mad(self, center: float) -> float:
        return rolling.median_absolute_deviation(self.ring, self.order, self.count, center)


def tails(values: list[float], window: int) -> list[Floats]:
    """What a deque of that length holds after each value."""
    tail: deque[float] = deque(maxlen=window)
    held = []
    for x in values:
        tail.append(x)
        held.append(np.array(tail))
    return held


@given(sequences, windows)
def test_the_sorted_order_is_that_of_the_newest_values(values: list[float], window: int) -> None:
    state = Rolling(window)
    for x, tail in zip(values, tails(values, window), strict=True):
        state.push(x)
        order = state.order[: state.count]
        assert sorted(order.tolist()) == list(range(state.count))
        assert state.ring[order].tolist() == sorted(tail.tolist())


@given(sequences, windows)
def test_the_ring_holds_each_value_at_its_arrival_modulo_the_window(values: list[float], window: int) -> None:
    state = Rolling(window)
    for x in values:
        state.push(x)
    first = max(0, len(values) - window)
    assert [state.ring[i % window] for i in range(first, len(values))] == values[first:]


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
    assert state.ring[state.order].tolist() == sorted(newest.tolist())
    assert all(a <= b for a, b in pairwise(state.ring[state.order]))
