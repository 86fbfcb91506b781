"""Exact statistics of the last `window` values of one series: kernels on one row of state each.

A row is the values in ascending order, the rank of each place of arrival (how many values came before, modulo
window, so that the oldest stands at `ranks[seen % window]`), and the running mean and sum of squared
deviations. Nothing here allocates; every kernel changes only the row it is given. Comparisons' outcomes are
reckoned with instead of branched on: in noise every second branch is mispredicted, which costs more.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.kernels import kernel, move_numbers

Floats = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.uint8]

MAX_WINDOW = 256  # ranks are stored in a byte

# Removing a value that carried nearly the whole sum of squares leaves only rounding noise behind:
# below this share of the old sum it is computed anew.
_CANCELLATION = 1e-6


@kernel
def exact_moments(ascending: Floats, count: int) -> tuple[float, float]:
    """Mean and sum of squared deviations of the `count` values, smallest first."""
    total = 0.0
    for i in range(count):
        total += ascending[i]
    mean = total / count
    squares = 0.0
    for i in range(count):
        squares += (ascending[i] - mean) ** 2
    return mean, squares


@kernel
def rank_of(ascending: Floats, count: int, x: float) -> int:
    """How many of the `count` values are below or equal to `x`.

    All are looked at, many at once: a search is as fast, but what hangs on its outcome waits for each step.
    """
    below = 0
    for i in range(count):
        below += int(ascending[i] <= x)
    return below


@kernel
def push_value(ascending: Floats, ranks: Ranks, seen: int, x: float) -> float:
    """Put `x` in the place of the oldest value, which is returned; while the window fills, 0 and one more.

    What stands between the two places moves by one, in one way for both directions.
    """
    window = ascending.shape[0]
    place, is_full = seen % window, seen >= window
    to = rank_of(ascending, min(seen, window), x)
    at = int(ranks[place]) if is_full else seen
    old = float(ascending[at]) if is_full else 0.0
    down = int(to > at)  # what stands between, as `x` comes to stand above it
    to -= down
    first, last = min(at, to), max(at, to)
    move_numbers(ascending, first + 1 - down, first + down, last - first)
    low, high, step = np.uint8(first), np.uint8(last), np.uint8(1 - 2 * down)
    for i in range(window):
        ranks[i] += np.uint8((ranks[i] >= low) & (ranks[i] <= high)) * step
    ascending[to] = x
    ranks[place] = to
    return old


@kernel
def moments(
    ascending: Floats, seen: int, mean: float, squares: float, x: float, old: float
) -> tuple[float, float]:
    """Mean and sum of squared deviations once `push_value` put `x` for `old`; the rest as of before it.

    Welford's update (1962) while the window fills, its sliding form after; computed anew each time the
    places of arrival wrap, so that rounding never piles up, and where a subtraction has cancelled.
    """
    window = ascending.shape[0]
    if seen < window:
        delta = x - mean
        new_mean = mean + delta / (seen + 1)
        return new_mean, squares + delta * (x - new_mean)
    new_mean = mean + (x - old) / window
    new_squares = squares + (x - old) * (x - new_mean + old - mean)
    if seen % window == window - 1 or new_squares < _CANCELLATION * squares:
        return exact_moments(ascending, window)
    return new_mean, max(new_squares, 0.0)


@kernel
def median(ascending: Floats, count: int) -> float:
    """The median of the `count` > 0 values; the mean of the middle two if there are two."""
    half = count // 2
    if count % 2:
        return float(ascending[half])
    return float(0.5 * ascending[half - 1] + 0.5 * ascending[half])


@kernel
def median_absolute_deviation(ascending: Floats, count: int, center: float) -> float:
    """The median distance of the `count` > 0 values to `center`.

    Distances fall towards the place of `center` from both sides, so the values nearest to it are neighbours:
    a search finds where the nearest half + 1 begin. The furthest of them is at one end, the next one is the
    furthest without it.
    """
    half = count // 2
    low, left = 0, count - 1 - half
    while left > 0:
        step = (left + 1) // 2
        i = low + step - 1
        low += step * (center - ascending[i] > ascending[i + half + 1] - center)
        left -= step
    high = low + half
    below, above = abs(center - ascending[low]), abs(ascending[high] - center)
    upper = max(below, above)
    if count % 2:
        return float(upper)
    if below >= above:
        next_one = max(abs(center - ascending[low + 1]), above)
    else:
        next_one = max(below, abs(ascending[high - 1] - center))
    return float(0.5 * next_one + 0.5 * upper)
