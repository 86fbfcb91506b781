"""Exact statistics of the last `window` values of one series: kernels on one row of state each.

A row is a ring of the newest values, which others look at too, and the places in it of the last `window`, in
the order of their values, of equal ones the older first; so a value's rank is found by counting, and what it
moves is bytes. Running mean and sum of squared deviations stand beside it. Nothing here allocates; every
kernel changes only the row it is given. Comparisons' outcomes are reckoned with instead of branched on: in
noise every second branch is mispredicted, which costs more.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.kernels import copy_numbers, inlined, kernel, move_bytes

Floats = npt.NDArray[np.float64]
Ring = npt.NDArray[np.float32]
Places = npt.NDArray[np.uint8]

MAX_WINDOW = 256  # places are stored in a byte

# Removing a value that carried nearly the whole sum of squares leaves only rounding noise behind:
# below this share of the old sum it is computed anew.
_CANCELLATION = 1e-6

_AROUND = 3  # ranks on either side; 98 in 100 times enough in noise


@inlined
def place_of(seen: int, size: int) -> int:
    """Where in a ring of that size a value stands that followed `seen` others: it is filled backwards."""
    return size - 1 - seen % size


@inlined
def unroll(x: float, seen: int, ring: Ring, past: Ring) -> None:
    """Write a value that follows `seen` others and those in `ring` (n,) to `past` (n + 1,), newest first.

    So a loop over neighbours takes no turn. NaN where there was none; the last is the one whose place the
    newest is to take.
    """
    size = len(ring)
    place = place_of(seen, size)
    past[0] = x
    copy_numbers(past, 1, ring, place + 1, size - 1 - place)
    copy_numbers(past, size - place, ring, 0, place + 1)
    if seen < size:
        past[seen + 1 :] = np.nan


@inlined
def push(past: Ring, seen: int, ring: Ring, order: Places) -> None:
    """Put the newest of the `past` into its ring and `order` (window,), and the oldest out of them.

    All values are looked at, many at once: a search is as fast, but what hangs on its outcome waits for each
    step. What stands between the two moves by one, in one way for both directions.
    """
    window = len(order)
    x, old = past[0], past[window] if seen >= window else np.float32(np.inf)
    rank = below_old = np.int32(0)
    for i in range(1, window + 1):
        rank = np.int32(rank + np.int32(past[i] <= x))
        below_old = np.int32(below_old + np.int32(past[i] < old))
    to, at = int(rank), int(below_old)
    down = int(to > at)  # what stands between, as the newest comes to stand above it
    to -= down
    first, last = min(at, to), max(at, to)
    move_bytes(order, first + 1 - down, first + down, last - first)
    place = place_of(seen, len(ring))
    ring[place] = x
    order[to] = place


@kernel
def exact_moments(values: Ring) -> tuple[float, float]:
    """Mean and sum of squared deviations of the values, one after the other."""
    total = 0.0
    for i in range(len(values)):
        total += np.float64(values[i])
    mean = total / len(values)
    squares = 0.0
    for i in range(len(values)):
        squares += (np.float64(values[i]) - mean) ** 2
    return mean, squares


@inlined
def moments(past: Ring, window: int, seen: int, mean: float, squares: float) -> tuple[float, float]:
    """Mean and sum of squared deviations of the last `window` values; the rest as of before the newest.

    Welford's update (1962) while the window fills, its sliding form after; computed anew each time as many
    values as it holds have come, so that rounding never piles up, and where a subtraction has cancelled.
    """
    x = np.float64(past[0])
    if seen < window:
        delta = x - mean
        new_mean = mean + delta / (seen + 1)
        return new_mean, squares + delta * (x - new_mean)
    old = np.float64(past[window])
    new_mean = mean + (x - old) / window
    new_squares = squares + (x - old) * (x - new_mean + old - mean)
    if seen % window == window - 1 or new_squares < _CANCELLATION * squares:
        return exact_moments(past[:window])
    return new_mean, max(new_squares, 0.0)


@inlined
def _at(ring: Ring, order: Places, rank: int) -> float:
    return float(ring[order[rank]])


@inlined
def median(ring: Ring, order: Places, count: int) -> float:
    """The median of the `count` > 0 values; the mean of the middle two if there are two."""
    half = count // 2
    if count % 2:
        return _at(ring, order, half)
    return 0.5 * _at(ring, order, half - 1) + 0.5 * _at(ring, order, half)


@inlined
def _is_above(ring: Ring, order: Places, low: int, half: int, twice: float) -> int:
    """1 if the nearest half + 1 values begin above rank `low`, else 0; `twice` the center."""
    return int(_at(ring, order, low) + _at(ring, order, low + half + 1) < twice)


@inlined
def _begin_of_nearest(ring: Ring, order: Places, count: int, twice: float, before: int) -> int:
    """The rank at which the nearest half + 1 values begin, which is hardly ever far from that `before`.

    Looked for around there, all places at once, as one that hangs on the outcome of another waits for it.
    """
    half = count // 2
    low, left = 0, count - 1 - half
    first = before - _AROUND
    if first >= 0 and before + _AROUND <= left:
        above = 0
        for i in range(2 * _AROUND):
            above += _is_above(ring, order, first + i, half, twice)
        if 0 < above < 2 * _AROUND:
            return first + above
    while left > 0:
        step = (left + 1) // 2
        low += step * _is_above(ring, order, low + step - 1, half, twice)
        left -= step
    return low


@inlined
def median_absolute_deviation(
    ring: Ring, order: Places, count: int, center: float, before: int
) -> tuple[float, int]:
    """The median distance of the `count` > 0 values to `center`, and what to tell as `before` the next time.

    Distances fall towards the place of `center` from both sides, so the nearest half + 1 values are
    neighbours. The furthest of them is at one end, the next one is the furthest without it.
    """
    low = _begin_of_nearest(ring, order, count, 2.0 * center, before)
    high = low + count // 2
    below, above = abs(center - _at(ring, order, low)), abs(_at(ring, order, high) - center)
    upper = max(below, above)
    if count % 2:
        return upper, low
    inner_below, inner_above = center - _at(ring, order, low + 1), _at(ring, order, high - 1) - center
    next_one = max(abs(inner_below), above) if below >= above else max(below, abs(inner_above))
    return 0.5 * next_one + 0.5 * upper, low


@kernel
def shift(by: float, most: float, seen: int, ring: Ring, past: Ring, order: Places) -> None:
    """Move all values of a ring down by so much, to no more than `most` from 0; after `push`.

    Rounding can make values equal, whose order is by age then.
    """
    size = len(ring)
    for i in range(size):
        ring[i] = min(max(np.float64(ring[i]) - by, -most), most)
        past[i] = min(max(np.float64(past[i]) - by, -most), most) if i <= seen else np.nan
    place = place_of(seen, size)
    for i in range(1, min(seen + 1, len(order))):
        moved, at = order[i], i
        age = (int(moved) - place) % size
        while at > 0:
            other = order[at - 1]
            if ring[other] < ring[moved] or (
                ring[other] == ring[moved] and (int(other) - place) % size > age
            ):
                break
            order[at] = other
            at -= 1
        order[at] = moved
