"""Seven signs of change in a value, each as a surprise on its own past: what an incident is judged by.

The step, the means of the last 6 and 24 values against their running medians, the logarithm of the last 48
values' standard deviation against its own, and the residual of the usual value at this time of day, plain
and averaged over 6 and 24 points. What is usual on off days (weekends, holidays) is learned beside what is
usual on all days; once that has been shown to tell off days better, they are told apart. Each sign is
ranked in a histogram of its own past (`octaves`); a surprise is held for a few points, so that signs that
come one after the other meet, and their mean is the evidence. Kernels on one value's rows of state.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.features import octaves
from service.features.octaves import Bins
from service.features.window import FURTHEST
from service.history.fading import whole
from service.kernels import borrowed, inlined, kernel, prefetch

Floats = npt.NDArray[np.float64]
Ring = npt.NDArray[np.float32]
Counts = npt.NDArray[np.uint8]

SIGNS = 7
SLOTS = 48  # half hours of a day
SLOT_MS = 1_800_000
PROFILES = 2 * SLOTS  # of all days, or, once off days are told apart, of working days; then of off days
SPAN = 48  # points of the standard deviation, the longest
_SHORT, LONG = 6, 24

_MEDIAN_POINTS = 3000.0
_MEDIAN_STEP = 1.5
_SLOT_GAIN = 0.01
_FORGETTING_POINTS = 50_000.0
_SHOWN_DAYS = 6.0  # three weekends
_COMPARED_SLOTS = 200.0
_SQUARE_BELOW, _SQUARE_ABOVE = 0.5, 0.8  # of the common profile's: apart, together again
_ROOT_BELOW, _ROOT_ABOVE = 0.7, 0.9
_FIRST_RESIDUAL = 4  # the signs from here on are residuals of the usual value
_HOLD = 0.75

# Columns of a value's row of numbers.
_WEIGHT, _SUM_SHORT, _SUM_LONG, _MEAN, _SQUARES, _RESIDUAL_SHORT, _RESIDUAL_LONG = range(7)
# Three, three, seven and seven: decades a unit in the tail.
_MEDIANS, _SPREADS, HELD, _STEEPNESS = 7, 10, 13, 20
# The half hour last seen, off days so far, and on them: half hours of the comparison, means of the squares
# and of the roots of the common profile's errors and of their own, and whether they are told apart.
_HALF_HOUR, _OFF_DAYS, _COMPARED, _APART = range(27, 31)
_SQUARE, _OWN_SQUARE, _ROOT, _OWN_ROOT = range(31, 35)
NUMBERS = _OWN_ROOT + 1


class SignTables(NamedTuple):
    """What is kept of each value whose signs of change are looked at, a row each."""

    numbers: Floats  # (rows, NUMBERS)
    residuals: Ring  # (rows, LONG), of the usual values at this time of day
    slots: Ring  # (rows, PROFILES), those usual values
    visits: Counts  # (rows, PROFILES), points that they rest on
    bins: Bins  # (rows, SIGNS, HISTOGRAM)


@inlined
def _push(seen: int, s: Floats, past: Ring) -> None:
    """Take the newest value into the sums of the last 48; every 48 points they are made anew."""
    x = np.float64(past[0])
    if seen < SPAN:
        if seen == 0:
            s[_SUM_SHORT] = s[_SUM_LONG] = s[_MEAN] = s[_SQUARES] = 0.0
        count = seen + 1
        delta = x - s[_MEAN]
        s[_MEAN] += delta / count
        s[_SQUARES] += delta * (x - s[_MEAN])
    else:
        old = np.float64(past[SPAN])
        mean = s[_MEAN] + (x - old) / SPAN
        s[_SQUARES] = max(s[_SQUARES] + (x - old) * (x - mean + old - s[_MEAN]), 0.0)
        s[_MEAN] = mean
    s[_SUM_SHORT] += x - (past[_SHORT] if seen >= _SHORT else 0.0)
    s[_SUM_LONG] += x - (past[LONG] if seen >= LONG else 0.0)
    if seen % SPAN == SPAN - 1:
        _add_up(s, past)


@kernel
def _add_up(s: Floats, past: Ring) -> None:
    total = short = long = squares = 0.0
    for lag in range(SPAN - 1, -1, -1):
        value = np.float64(past[lag])
        total += value
        long += value if lag < LONG else 0.0
        short += value if lag < _SHORT else 0.0
    for lag in range(SPAN - 1, -1, -1):
        squares += (np.float64(past[lag]) - total / SPAN) ** 2
    s[_MEAN], s[_SQUARES], s[_SUM_LONG], s[_SUM_SHORT] = total / SPAN, squares, long, short


@kernel
def anchor_by(shift: float, past: Ring, row: int, tables: SignTables) -> None:
    """Let what is told as a distance from the anchor be less by so much; `past` already is, and is full."""
    s, slots, visits = tables.numbers[row], tables.slots[row], tables.visits[row]
    _add_up(s, past)
    s[_MEDIANS] -= shift
    s[_MEDIANS + 1] -= shift
    for slot in range(PROFILES):
        if visits[slot] > 0:
            slots[slot] = min(max(np.float64(slots[slot]) - shift, -FURTHEST), FURTHEST)


@kernel
def forget(row: int, tables: SignTables) -> None:
    """Begin anew."""
    tables.numbers[row, :], tables.residuals[row, :] = 0.0, 0.0
    tables.slots[row, :], tables.visits[row, :], tables.bins[row, :, :] = 0.0, 0, 0


@inlined
def ask_for(row: int, tables: SignTables) -> None:
    """Have a row brought from memory that will be looked at soon."""
    prefetch(tables.numbers, row)
    prefetch(tables.residuals, row)
    prefetch(tables.slots, row)
    prefetch(tables.visits, row)
    prefetch(tables.bins, row)


@inlined
def _learn_usual(x: float, slot: int, slots: Ring, visits: Counts) -> None:
    if visits[slot] == 0:
        slots[slot] = x
    slots[slot] += max(_SLOT_GAIN, 1.0 / (visits[slot] + 1.0)) * (x - slots[slot])
    visits[slot] = min(visits[slot] + 1, 200)


@kernel
def _compare(x: float, half_hour: int, slots: Ring, visits: Counts, s: Floats) -> bool:
    """Compare what both profiles expected of an off day; whether such days are told apart from now on.

    Only the first value of a half hour counts: of the next ones a profile that learns fast would know.
    Squares are of large errors, roots of usual ones: a single outlier that one profile has learned moves
    the former alone.
    """
    if half_hour // SLOTS != s[_HALF_HOUR] // SLOTS:
        s[_OFF_DAYS] += 1.0
    slot = half_hour % SLOTS
    if half_hour == s[_HALF_HOUR] or visits[slot] == 0 or visits[SLOTS + slot] == 0:
        return False
    s[_COMPARED] = min(s[_COMPARED] + 1.0, _COMPARED_SLOTS)
    error, own = abs(x - slots[slot]), abs(x - slots[SLOTS + slot])
    s[_SQUARE] += (error * error - s[_SQUARE]) / s[_COMPARED]
    s[_OWN_SQUARE] += (own * own - s[_OWN_SQUARE]) / s[_COMPARED]
    s[_ROOT] += (math.sqrt(error) - s[_ROOT]) / s[_COMPARED]
    s[_OWN_ROOT] += (math.sqrt(own) - s[_OWN_ROOT]) / s[_COMPARED]
    if s[_APART] > 0.0:
        if s[_OWN_SQUARE] > _SQUARE_ABOVE * s[_SQUARE] or s[_OWN_ROOT] > _ROOT_ABOVE * s[_ROOT]:
            s[_APART] = 0.0
        return False
    if s[_OFF_DAYS] < _SHOWN_DAYS:
        return False
    if s[_OWN_SQUARE] >= _SQUARE_BELOW * s[_SQUARE] or s[_OWN_ROOT] >= _ROOT_BELOW * s[_ROOT]:
        return False
    s[_APART] = 1.0
    return True


@kernel
def _begin_anew(visits: Counts, bins: Bins, s: Floats) -> None:
    """Let the common profile become that of working days, and forget how large residuals used to be."""
    for slot in range(SLOTS):
        visits[slot] = min(visits[slot], 1)
    for sign in range(_FIRST_RESIDUAL, SIGNS):
        bins[sign, :] = 0
        s[_STEEPNESS + sign] = s[HELD + sign] = 0.0


@inlined
def _residual(
    x: float, slot: int, off: bool, slots: Ring, visits: Counts, seen: int, s: Floats, residuals: Ring
) -> float:
    """The distance from what is usual in this half hour of such a day, which learns it."""
    apart = off and s[_APART] > 0.0
    usual = SLOTS + slot if apart else slot
    gap = x - np.float64(slots[usual]) if visits[usual] > 0 else 0.0
    if off:
        _learn_usual(x, SLOTS + slot, slots, visits)
    if not apart:
        _learn_usual(x, slot, slots, visits)
    narrow = np.float32(gap)
    s[_RESIDUAL_SHORT] += narrow - (residuals[(seen - _SHORT) % LONG] if seen >= _SHORT else np.float32(0.0))
    s[_RESIDUAL_LONG] += narrow - (residuals[seen % LONG] if seen >= LONG else np.float32(0.0))
    residuals[seen % LONG] = narrow
    if seen % LONG == LONG - 1:
        total = short = 0.0
        for i in range(LONG):
            total += np.float64(residuals[i])
            short += np.float64(residuals[i]) if i >= LONG - _SHORT else 0.0
        s[_RESIDUAL_LONG], s[_RESIDUAL_SHORT] = total, short
    return gap


@inlined
def _off_median(y: float, seen: int, s: Floats, i: int, gain: float) -> float:
    """The signed distance from running median `i`, which then takes a step towards `y`."""
    if seen == 0:
        s[_MEDIANS + i] = y
    off = y - s[_MEDIANS + i]
    s[_SPREADS + i] += gain * (abs(off) - s[_SPREADS + i])
    limit = _MEDIAN_STEP * gain * s[_SPREADS + i]
    s[_MEDIANS + i] += min(max(off, -limit), limit)
    return float(off)


@inlined
def evidence(
    step: float,
    distance: float,
    half_hour: int,
    off: bool,
    seen: int,
    past: Ring,
    row: int,
    tables: SignTables,
    signs: Floats,
    room: Floats,
) -> float:
    """The mean held surprise of the seven signs of one value, which is learned in its row of the tables.

    The value is given as its distance from the one before and from the anchor, and as the newest in `past`
    (see `rolling.unroll`), of `seen` before it. `half_hour` counts them from local midnight of 1970,
    `off` is whether its day is an off day. `signs` (SIGNS,) get their sizes, of which the absolute counts;
    `room` (ROOM), of zeros at first, is to work in.
    """
    tables, past, signs, room = borrowed(tables), borrowed(past), borrowed(signs), borrowed(room)
    s, residuals, slots = tables.numbers[row], tables.residuals[row], tables.slots[row]
    visits, bins = tables.visits[row], tables.bins[row]
    if seen == 0:
        s[_WEIGHT] = octaves.UNIT
    _push(seen, s, past)
    if off and _compare(distance, half_hour, slots, visits, s):
        _begin_anew(visits, bins, s)
    s[_HALF_HOUR] = half_hour
    residual = _residual(distance, half_hour % SLOTS, off, slots, visits, seen, s, residuals)
    count = seen + 1
    gain = max(1.0 / count, 1.0 / _MEDIAN_POINTS)
    variance = s[_SQUARES] / min(count, SPAN)
    spread = 0.5 * math.log(variance + 1e-12 * s[_MEAN] ** 2 + 1e-18)
    signs[0] = step
    signs[1] = _off_median(s[_SUM_SHORT] / min(count, _SHORT), seen, s, 0, gain)
    signs[2] = _off_median(s[_SUM_LONG] / min(count, LONG), seen, s, 1, gain)
    signs[3] = _off_median(spread, seen, s, 2, gain)
    signs[4] = residual
    signs[5] = s[_RESIDUAL_SHORT] / min(count, _SHORT)
    signs[6] = s[_RESIDUAL_LONG] / min(count, LONG)
    refit, weight = octaves.refit_is_due(seen), np.uint16(whole(s[_WEIGHT], seen))
    steepness = s[_STEEPNESS : _STEEPNESS + SIGNS]
    for sign in range(SIGNS):
        octaves.rank(bins[sign], s[_WEIGHT], refit, sign, abs(signs[sign]), weight, steepness, room)
    surprises = octaves.surprise(room)
    total = 0.0
    for sign in range(SIGNS):
        s[HELD + sign] = max(surprises[sign], _HOLD * s[HELD + sign])
        total += s[HELD + sign]
    s[_WEIGHT] *= 1.0 + 1.0 / _FORGETTING_POINTS
    if octaves.is_full(bins[0]):
        octaves.halve(bins, seen)
        s[_WEIGHT] *= 0.5
    return total / SIGNS
