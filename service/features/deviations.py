"""How far one value is from its own past on scales of long memory, and whether its last points ever happened.

Kernels on one value's rows of state. A deviation is divided by its own root mean square over up to 50,000
points, this one included: a first move after long rest is bounded by the square root of the history, one
threshold serves all sources (a mean absolute scale does not), and an outage hardly blunts the next.

The recurrence distances ask at which lag the last few points happened before: a mean of |x[t] - x[t - lag]|
over six of the last thirteen points, the newer the denser and the heavier, at the best of 110 lags; and of
the steps between them. It is what a left matrix profile (Yeh et al., ICDM 2016) tells. Only the values are
kept: to add up a few distances anew at each lag costs less than to read and write a running mean for each.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from service.kernels import borrowed, fused, inlined

Floats = npt.NDArray[np.float64]
Ring = npt.NDArray[np.float32]
_Last: TypeAlias = tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]
_Then: TypeAlias = tuple[Ring, Ring, Ring, Ring, Ring, Ring]

LONG_MEMORY_POINTS = 50_000.0
LAGS = 128
_FIRST_LAG = 6
_SPAN = 12  # from the newest to the oldest of the points that are compared
_THIRD = 1.0 / 3.0  # a product takes a fifth of a division's time
_TWICE, _THRICE, _FOUR = np.float32(2.0), np.float32(3.0), np.float32(4.0)
_SMOOTHING = 0.1
_SHORT_MEDIAN_POINTS, _LONG_MEDIAN_POINTS = 300.0, 3000.0
_MEDIAN_STEP = 1.5
_RECENT_POINTS, _LATER_POINTS = 300.0, 5000.0
_LEAST_SCALE = 1e-3  # of the mean distance from the mean: below, a value has hardly moved
_LARGEST_BITS = np.int32(2**31 - 1)
_LONGEST_RUN, _SAID_EVERY = 32.0, 4.0
_RECENT_CAP = 12.0
_RECENT_WEIGHT = 0.4


class Deviation(IntEnum):
    """What is measured of a value, each in units of its own root mean square."""

    STEP = 0  # |x - the one before|
    LEVEL = 1  # |x - mean of all|
    SMOOTHED = 2  # |exponentially weighted mean - mean of all|
    SHORT = 3  # |x - running median of some 300|
    SHORT_OF_3 = 4  # the same of the mean of the last three
    LONG_OF_3 = 5  # |mean of the last three - running median of some 3,000|
    RECURRENCE = 6  # distance of the last few points from the nearest recent ones
    STEP_RECURRENCE = 7  # the same of their steps


DEVIATIONS = len(Deviation)
_RECENT = 5  # those of which a short memory is kept: step, short, mean of two, of three, long of three

# Columns of a value's row of numbers.
(
    SEEN,
    LAST,
    _LAST_BUT_ONE,
    MEAN,
    _SPREAD,
    _SMOOTH,
    SHORT_MEDIAN,
    LONG_MEDIAN,
    _GAP,
    _GAP_BEFORE,
    ANCHOR,
    RUN,
    _RUN_SQUARE,
) = range(13)
SQUARES = 13  # .. + 7: mean square of each deviation
_RECENT_MEANS = SQUARES + DEVIATIONS  # .. + 4
_LATER_MEANS = _RECENT_MEANS + _RECENT  # .. + 4
PRIOR = _LATER_MEANS + _RECENT  # points that it began with, of its cohort's scales
NUMBERS = PRIOR + 1

SCALES = (
    *range(SQUARES, SQUARES + DEVIATIONS),
    *range(_LATER_MEANS, _LATER_MEANS + _RECENT),
    *range(_RECENT_MEANS, _RECENT_MEANS + _RECENT),
    _SPREAD,
)
"""The columns that say how much a value moves: what sources under one name may have in common."""

ALONE = (1.0, 0.7, 0.0, 0.7, 0.7, 0.7, 6.0, 3.0)
"""Weights of the deviations in the oddness of a source's only value."""

_WEIGHTS = np.array(ALONE)
_WEIGHTS_SUM = float(_WEIGHTS.sum())
_PLAIN_SUM = float(_WEIGHTS[: Deviation.RECURRENCE].sum())


@inlined
def least_scale(mean: float) -> float:
    """A scale for what never moved: a millionth of its level."""
    return 1e-9 + 1e-6 * abs(mean)


@inlined
def _toward(median: float, x: float, gain: float, spread: float) -> float:
    """A running median: a step towards `x` of at most 1.5 times the gain in units of the usual spread."""
    limit = _MEDIAN_STEP * gain * spread
    return median + min(max(x - median, -limit), limit)


@inlined
def recurrence(seen: int, past: Ring) -> tuple[float, float]:
    """Distances of the last points and steps from the nearest recent ones; 0 for the first few.

    `past` (LAGS or more,) are the last values, newest first: see `rolling.unroll`.
    """
    if seen < 2 * _FIRST_LAG:
        return 0.0, 0.0
    lags = min(seen, LAGS - _SPAN) - _FIRST_LAG
    return _nearest(borrowed(past), lags, min(lags, max(seen + 1 - _FIRST_LAG - _SPAN, 0)))


@inlined
def _apart(distance: np.float32, whole: bool) -> np.float32:
    """How far apart two values are: not at all if there was no such value yet."""
    if whole:
        return abs(distance)
    return abs(distance) if distance == distance else np.float32(0.0)


@inlined
def _distances(last: _Last, then: _Then, lag: int, whole: bool) -> tuple[np.int32, np.int32]:
    """The bits of the distance of the last values from those at a lag, and of their steps.

    Two steps differ by what their values' distances differ by.
    """
    x0, x1, x2, x4, x8, x12 = last
    then0, then1, then2, then4, then8, then12 = then
    d0, d1, d2 = x0 - then0[lag], x1 - then1[lag], x2 - then2[lag]
    d4, d8, d12 = x4 - then4[lag], x8 - then8[lag], x12 - then12[lag]
    values = fused(_TWICE, _apart(d2, whole) + _apart(d4, whole), _apart(d8, whole) + _apart(d12, whole))
    values = fused(_FOUR, _apart(d0, whole), fused(_THRICE, _apart(d1, whole), values))
    steps = fused(_TWICE, _apart(d2 - d4, whole) + _apart(d4 - d8, whole), _apart(d8 - d12, whole))
    steps = fused(_FOUR, _apart(d0 - d1, whole), fused(_THRICE, _apart(d1 - d2, whole), steps))
    return np.float32(values).view(np.int32), np.float32(steps).view(np.int32)


@inlined
def _nearest(x: Ring, lags: int, whole: int) -> tuple[float, float]:
    """The least distance of the first values in `x` from those at so many lags, and of their steps.

    At the first `whole` lags all values are there, which need not be asked of each then. Of floats that are
    not negative the least has the least bits.
    """
    last = x[0], x[1], x[2], x[4], x[8], x[12]
    then = (
        x[_FIRST_LAG:],
        x[_FIRST_LAG + 1 :],
        x[_FIRST_LAG + 2 :],
        x[_FIRST_LAG + 4 :],
        x[_FIRST_LAG + 8 :],
        x[_FIRST_LAG + 12 :],
    )
    least = least_step = _LARGEST_BITS
    for lag in range(whole):
        values, steps = _distances(last, then, lag, True)
        least, least_step = min(least, values), min(least_step, steps)
    for lag in range(whole, lags):
        values, steps = _distances(last, then, lag, False)
        least, least_step = min(least, values), min(least_step, steps)
    nearest, nearest_step = np.int32(least).view(np.float32), np.int32(least_step).view(np.float32)
    return float(nearest) * (1.0 / 13.0), float(nearest_step) * (1.0 / 12.0)


@inlined
def halted(s: Floats) -> float:
    """What `standstill` said of the newest value."""
    run = s[RUN]
    if run == 0.0 or run > _LONGEST_RUN or run % _SAID_EVERY != 0.0:  # most often the first
        return 0.0
    return float(run / (1.0 + math.sqrt(s[_RUN_SQUARE])))


@inlined
def standstill(x: float, s: Floats) -> float:
    """How many times in a row a value has repeated, in units of how many are usual; before `deviate`.

    Said at every fourth repeat only, and no more after the 32nd: what stands still for long is no news.
    """
    run = s[RUN] + 1.0 if s[SEEN] > 0.0 and x == s[LAST] else 0.0
    s[RUN] = run
    gain = max(1.0 / (s[SEEN] + 1.0), 1.0 / LONG_MEMORY_POINTS)
    s[_RUN_SQUARE] += gain * (run * run - s[_RUN_SQUARE])
    return halted(s)


@inlined
def _scale(s: Floats, gain: float, least: float, deviations: Floats) -> None:
    """Put each deviation (DEVIATIONS,) into units of its root mean square with this point, which it joins."""
    squares = s[SQUARES : SQUARES + DEVIATIONS]
    for kind in range(len(squares)):  # not a constant, which would be unrolled instead of vectorised
        z = deviations[kind]
        square = squares[kind] + gain * (z * z - squares[kind])
        squares[kind] = square
        deviations[kind] = z / (math.sqrt(square) + least)


@inlined
def _recent(s: Floats, kind: int, z: float, known: float, least: float) -> float:
    """`z` in units of the larger of its means over the last 300 and 5,000 points, softly bounded."""
    recent, later = s[_RECENT_MEANS + kind], s[_LATER_MEANS + kind]
    share = 1.0 / (known + 1.0)
    new_recent = recent + max(share, 1.0 / _RECENT_POINTS) * (z - recent)
    new_later = later + max(share, 1.0 / _LATER_POINTS) * (z - later)
    s[_RECENT_MEANS + kind], s[_LATER_MEANS + kind] = new_recent, new_later
    scale = max(recent, later) if known >= 30.0 else max(new_recent, new_later)
    return float(z / (scale + least + z * (1.0 / _RECENT_CAP)))


@inlined
def deviate(x: float, s: Floats, nearest: float, nearest_steps: float, out: Floats) -> tuple[float, float]:
    """Write the deviations (DEVIATIONS,) of one value with these recurrence distances, then learn it.

    Returns its signed distance from the mean in units of what that was before this point, and the mean of
    the five that are measured against the recent past as well.
    """
    seen = int(s[SEEN])
    if seen == 0:
        s[LAST] = s[_LAST_BUT_ONE] = s[MEAN] = s[_SMOOTH] = x
        s[SHORT_MEDIAN] = s[LONG_MEDIAN] = s[ANCHOR] = x
    known = seen + s[PRIOR]
    share = 1.0 / (seen + 1)
    gain = max(1.0 / (known + 1.0), 1.0 / LONG_MEMORY_POINTS)
    mean, spread = s[MEAN], s[_SPREAD]
    least = _LEAST_SCALE * spread + least_scale(mean)
    step, level = x - s[LAST], x - mean
    smooth = s[_SMOOTH] + _SMOOTHING * (x - s[_SMOOTH])
    gap = x - s[SHORT_MEDIAN]
    of_3 = (gap + s[_GAP] + s[_GAP_BEFORE]) * _THIRD
    long_of_3 = (x + s[LAST] + s[_LAST_BUT_ONE]) * _THIRD - s[LONG_MEDIAN]
    past_rms = math.sqrt(s[SQUARES + Deviation.LEVEL])
    signed = level / (past_rms + least) if seen > 1 else 0.0

    out[Deviation.STEP], out[Deviation.LEVEL] = abs(step), abs(level)
    out[Deviation.SMOOTHED], out[Deviation.SHORT] = abs(smooth - mean), abs(gap)
    out[Deviation.SHORT_OF_3], out[Deviation.LONG_OF_3] = abs(of_3), abs(long_of_3)
    out[Deviation.RECURRENCE], out[Deviation.STEP_RECURRENCE] = nearest, nearest_steps
    _scale(s, gain, least, out)
    recent = _recent(s, 0, abs(step), known, least)
    recent += _recent(s, 1, abs(gap), known, least)
    recent += _recent(s, 2, abs(gap + s[_GAP]) / 2.0, known, least)
    recent += _recent(s, 3, abs(of_3), known, least)
    recent += _recent(s, 4, abs(long_of_3), known, least)

    s[_SPREAD] = spread + gain * (abs(level) - spread)
    s[MEAN] = mean + max(share, 1.0 / LONG_MEMORY_POINTS) * level
    s[_SMOOTH] = smooth
    if seen > 20:
        s[SHORT_MEDIAN] = _toward(s[SHORT_MEDIAN], x, max(share, 1.0 / _SHORT_MEDIAN_POINTS), s[_SPREAD])
        s[LONG_MEDIAN] = _toward(s[LONG_MEDIAN], x, max(share, 1.0 / _LONG_MEDIAN_POINTS), s[_SPREAD])
    else:
        s[SHORT_MEDIAN] += 0.5 * (x - s[SHORT_MEDIAN])
        s[LONG_MEDIAN] += 0.5 * (x - s[LONG_MEDIAN])
    s[_GAP_BEFORE], s[_GAP] = s[_GAP], gap
    s[_LAST_BUT_ONE], s[LAST] = s[LAST], x
    s[SEEN] = seen + 1
    return signed, recent * (1.0 / _RECENT)


@inlined
def alone(deviations: Floats, recent: float, with_recurrence: bool) -> float:
    """Oddness of a source's only value: weighted root mean square, and the recent past beside it."""
    total = 0.0
    for kind in range(DEVIATIONS):
        total += _WEIGHTS[kind] * deviations[kind] ** 2
    weights = _WEIGHTS_SUM if with_recurrence else _PLAIN_SUM
    return math.sqrt(total / weights) + _RECENT_WEIGHT * recent
