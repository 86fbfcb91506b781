"""Exact statistics of the last `window` values of one series: kernels on one row of state each.

A row is a ring of the values in order of arrival (position = how many came before, modulo window), the
ring's positions sorted by value, and the running mean and sum of squared deviations. Nothing here
allocates; every kernel changes only the row it is given.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.kernels import kernel

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.uint8]

MAX_WINDOW = 256  # positions are stored in a byte

# Removing a value that carried nearly the whole sum of squares leaves only rounding noise behind:
# below this share of the old sum it is computed anew.
_CANCELLATION = 1e-6


@kernel
def exact_moments(ring: Floats, count: int) -> tuple[float, float]:
    """Mean and sum of squared deviations of the first `count` places, in place order."""
    total = 0.0
    for i in range(count):
        total += ring[i]
    mean = total / count
    squares = 0.0
    for i in range(count):
        squares += (ring[i] - mean) ** 2
    return mean, squares


@kernel
def push_moments(ring: Floats, seen: int, mean: float, squares: float, x: float) -> tuple[float, float]:
    """Mean and sum of squared deviations once `x` takes its place; to be called before `push_value`.

    Welford's update (1962) while the ring fills, its sliding form after; computed anew each time the
    ring wraps, so that rounding never piles up, and where a subtraction has cancelled.
    """
    window = ring.shape[0]
    if seen < window:
        delta = x - mean
        new_mean = mean + delta / (seen + 1)
        return new_mean, squares + delta * (x - new_mean)
    position = seen % window
    old = ring[position]
    new_mean = mean + (x - old) / window
    new_squares = squares + (x - old) * (x - new_mean + old - mean)
    if position == window - 1 or new_squares < _CANCELLATION * squares:
        ring[position] = x
        new_mean, new_squares = exact_moments(ring, window)
        ring[position] = old
    return new_mean, max(new_squares, 0.0)


@kernel
def _rank(ring: Floats, order: Positions, count: int, x: float) -> int:
    """How many of the `count` sorted values are below or equal to `x`."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if ring[order[middle]] <= x:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def push_value(ring: Floats, order: Positions, seen: int, x: float) -> None:
    """Put `x` in the place of the oldest value and keep the sorted order."""
    window = ring.shape[0]
    position = seen % window
    count = min(seen, window)
    if count == window:
        at = _rank(ring, order, count, ring[position]) - 1
        while order[at] != position:  # among equal values
            at -= 1
        to = _rank(ring, order, count, x)
        if to > at:
            to -= 1
            for i in range(at, to):
                order[i] = order[i + 1]
        else:
            for i in range(at, to, -1):
                order[i] = order[i - 1]
    else:
        to = _rank(ring, order, count, x)
        for i in range(count, to, -1):
            order[i] = order[i - 1]
    order[to] = position
    ring[position] = x


@kernel
def median(ring: Floats, order: Positions, count: int) -> float:
    """The median of the `count` > 0 values; the mean of the middle two if there are two."""
    half = count // 2
    if count % 2:
        return float(ring[order[half]])
    return float(0.5 * ring[order[half - 1]] + 0.5 * ring[order[half]])


@kernel
def _kth_deviation(ring: Floats, order: Positions, count: int, center: float, k: int) -> float:
    """The k-th smallest (from 0) distance to `center`.

    Distances fall towards the place of `center` in the sorted values from both sides, so the k + 1
    nearest are neighbours: find where that stretch begins by bisection.
    """
    low, high = 0, count - 1 - k
    while low < high:
        middle = (low + high) // 2
        if center - ring[order[middle]] > ring[order[middle + k + 1]] - center:
            low = middle + 1
        else:
            high = middle
    return float(max(abs(center - ring[order[low]]), abs(ring[order[low + k]] - center)))


@kernel
def median_absolute_deviation(ring: Floats, order: Positions, count: int, center: float) -> float:
    """The median distance of the `count` > 0 values to `center`."""
    half = count // 2
    upper = _kth_deviation(ring, order, count, center, half)
    if count % 2:
        return upper
    return 0.5 * _kth_deviation(ring, order, count, center, half - 1) + 0.5 * upper
