from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.features import rolling

Floats = npt.NDArray[np.float64]
Ring = npt.NDArray[np.float32]

# Few different numbers, so that there are ties; any number; numbers far larger than the others.
any_number = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-1e6, 1e6, width=32),
    st.sampled_from([1e30, -1e30, 1e37, -1e37, 1e-45, -0.0]),
)
sequences = st.lists(any_number, min_size=1, max_size=80)
windows = st.sampled_from([8, 9, 16, 31])
rings = st.sampled_from([31, 40, 64])


class Rolling:
    """The kernels' row of state, with everything that they say of it."""

    def __init__(self, window: int, size: int | None = None) -> None:
        self.ring = np.zeros(size or window, np.float32)
        self.order = np.zeros(window, np.uint8)
        self.past = np.empty(len(self.ring) + 1, np.float32)
        self.seen = self.nearest = 0
        self.mean = self.squares = 0.0

    def push(self, x: float) -> None:
        rolling.unroll(x, self.seen, self.ring, self.past)
        rolling.push(self.past, self.seen, self.ring, self.order)
        window = len(self.order)
        self.mean, self.squares = rolling.moments(self.past, window, self.seen, self.mean, self.squares)
        self.seen += 1

    @property
    def count(self) -> int:
        return min(self.seen, len(self.order))

    @property
    def ascending(self) -> Ring:
        ascending: Ring = self.ring[self.order[: self.count]]
        return ascending

    @property
    def median(self) -> float:
        return rolling.median(self.ring, self.order, self.count)

    def mad(self, center: float) -> float:
        mad, self.nearest = rolling.median_absolute_deviation(
            self.ring, self.order, self.count, center, self.nearest
        )
        return mad


def tails(values: list[float], window: int) -> list[Floats]:
    """What a deque of that length holds after each value, as 32-bit floats."""
    tail: deque[float] = deque(maxlen=window)
    held = []
    for x in values:
        tail.append(x)
        held.append(np.array(tail, np.float32).astype(np.float64))
    return held


@given(sequences, windows, rings)
def test_the_newest_values_are_there_in_ascending_order_equal_ones_by_age(
    values: list[float], window: int, size: int
) -> None:
    state = Rolling(window, size)
    for x, tail in zip(values, tails(values, window), strict=True):
        state.push(x)
        assert state.ascending.tolist() == sorted(tail.tolist())
        ages = (state.order[: state.count].astype(int) - rolling.place_of(state.seen - 1, size)) % size
        newest_first = tail[::-1]
        assert ages.tolist() == sorted(range(len(tail)), key=lambda age: (newest_first[age], -age))


@given(sequences, windows, rings)
def test_the_past_is_told_newest_first_with_the_one_that_goes(
    values: list[float], window: int, size: int
) -> None:
    state = Rolling(window, size)
    for seen, x in enumerate(values, 1):
        state.push(x)
        told = np.array(values[:seen], np.float32)[::-1][: size + 1]
        assert state.past[: len(told)].tolist() == told.tolist()
        assert np.isnan(state.past[len(told) :]).all()


@given(sequences, windows, rings, st.one_of(any_number, st.floats(-1e30, 1e30)))
def test_a_shift_moves_all_values_and_equal_ones_stand_by_age(
    values: list[float], window: int, size: int, by: float
) -> None:
    state = Rolling(window, size)
    for x in values:
        state.push(x)
    rolling.shift(by, 1e37, state.seen - 1, state.ring, state.past, state.order)
    told = np.array(values, np.float32)[::-1][: size + 1].astype(np.float64)
    moved = np.clip(told - by, -1e37, 1e37).astype(np.float32)
    np.testing.assert_array_equal(state.past[: len(moved)], moved)
    tail = moved[: state.count]
    ages = (state.order[: state.count].astype(int) - rolling.place_of(state.seen - 1, size)) % size
    assert ages.tolist() == sorted(range(len(tail)), key=lambda age: (tail[age], -age))
    state.push(0.0)
    assert state.ascending.tolist() == sorted([0.0, *moved[: state.count - 1].tolist()])


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


@pytest.mark.parametrize("outlier", [1e9, -1e15, 1e30, 1e37])
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


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e9, 1e37])
def test_a_constant_has_no_spread(constant: float) -> None:
    state = Rolling(16)
    held = float(np.float32(constant))
    for _ in range(100):
        state.push(constant)
        assert state.mean == pytest.approx(held, rel=1e-15)
        assert np.sqrt(state.squares) <= 1e-14 * abs(held)
        assert state.median == held
        assert state.mad(held) == 0.0


def test_rounding_does_not_pile_up_over_a_long_stream() -> None:
    values = np.random.default_rng(5).normal(1e6, 1.0, 100_000).astype(np.float32).astype(np.float64)
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
    assert state.past[: rolling.MAX_WINDOW].tolist() == newest[::-1].tolist()
    assert state.past[rolling.MAX_WINDOW] == values[-rolling.MAX_WINDOW - 1]
