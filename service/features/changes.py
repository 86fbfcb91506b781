"""Seven signs of change in a value, each as a surprise on its own past: what an incident is judged by.

The step, the means of the last 6 and 24 values against their running medians, the logarithm of the last 48
values' standard deviation against its own, and the residual of the usual value at this time of day, plain
and averaged over 6 and 24 points. What is usual on off days (weekends, holidays) is learned beside what is
usual on all days; once that has been shown to tell off days better, they are told apart. Each sign is
ranked in a histogram of its own past (quarter octaves; above the 98 % quantile an exponential tail); a
surprise is held for a few points, so that signs that come one after the other meet, and their mean is the
evidence. Kernels on one value's rows of state.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.features.window import FURTHEST
from service.history.fading import whole
from service.kernels import borrowed, inlined, kernel, prefetch

Floats = npt.NDArray[np.float64]
Ring = npt.NDArray[np.float32]
Bins = npt.NDArray[np.uint16]
Counts = npt.NDArray[np.uint8]

SIGNS = 7
SLOTS = 48  # half hours of a day
SLOT_MS = 1_800_000
PROFILES = 2 * SLOTS  # of all days, or, once off days are told apart, of working days; then of off days
SPAN = 48  # points of the standard deviation, the longest
_SHORT, LONG = 6, 24
BINS = 32
ROOM = 8, 8  # rows of numbers that are worked on at once: those of the signs, and one more

_MEDIAN_POINTS = 3000.0
_MEDIAN_STEP = 1.5
_SLOT_GAIN = 0.01
_FORGETTING_POINTS = 50_000.0
_SHOWN_DAYS = 6.0  # three weekends
_COMPARED_SLOTS = 200.0
_SQUARE_BELOW, _SQUARE_ABOVE = 0.5, 0.8  # of the common profile's: apart, together again
_ROOT_BELOW, _ROOT_ABOVE = 0.7, 0.9
_FIRST_RESIDUAL = 4  # the signs from here on are residuals of the usual value
_TAIL_SHARE = 0.02
_LEAST_TAIL = 0.005
_REFIT_EVERY = 32
_REFIT_ALWAYS_BELOW = 64
_LARGEST = 8.0
_HOLD = 0.75
_UNIT = 256.0  # of the first point's weight
_FULL = 60_000  # of all weight in a histogram, to be halved: sums stay below 2^16
_PER_DECADE = 1.0 / math.log(10.0)
_DECADES_AN_OCTAVE = math.log10(2.0)
_ROOT_OF_HALF = int(np.float64(math.sqrt(0.5)).view(np.int64))
_CENTRE = 1.09  # of a bin, in units of its lower edge
_FIRST_BIN = 24  # of the first value: smaller ones may come, and for larger ones the window moves
_ROOM = 12  # bins between the tail's beginning and the top, below which the window moves up
_MOVE = 8  # by so many

# Columns of a value's row of numbers.
_WEIGHT, _SUM_SHORT, _SUM_LONG, _MEAN, _SQUARES, _RESIDUAL_SHORT, _RESIDUAL_LONG = range(7)
_MEDIANS, _SPREADS, HELD, _STEEPNESS = (
    7,
    10,
    13,
    20,
)  # three, three, seven, seven: decades a unit in the tail
# The half hour last seen, off days so far, and on them: half hours of the comparison, means of the squares
# and of the roots of the common profile's errors and of their own, and whether they are told apart.
_HALF_HOUR, _OFF_DAYS, _COMPARED, _APART = range(27, 31)
_SQUARE, _OWN_SQUARE, _ROOT, _OWN_ROOT = range(31, 35)
NUMBERS = _OWN_ROOT + 1

# Columns of a sign's histogram behind its bins: the window's first bin, all weight, the tail's first bin
# less one. A window that begins at 0 waits for the first value above 0.
_BASE, _TOTAL, _EDGE = range(BINS, BINS + 3)
HISTOGRAM = BINS + 3


_MASKS = np.repeat(np.array([0, 2**16 - 1], np.uint16), BINS)  # masks, to be laid at a bin


class SignTables(NamedTuple):
    """What is kept of each value whose signs of change are looked at, a row each."""

    numbers: Floats  # (rows, NUMBERS)
    residuals: Ring  # (rows, LONG), of the usual values at this time of day
    slots: Ring  # (rows, PROFILES), those usual values
    visits: Counts  # (rows, PROFILES), points that they rest on
    bins: Bins  # (rows, SIGNS, HISTOGRAM)


# Rows of the room to work in.
_VALUE, _LOWER, _UPPER, _ABOVE, _WITHIN, _ALL, _DECADES, _SURPRISE = range(ROOM[0])


@inlined
def _octave_bin(value: float) -> int:
    """The number of the value's quarter octave: the exponent and two bits of the fraction."""
    return int(np.float64(value).view(np.int64) >> 50)


@inlined
def _edge_of(number: int) -> float:
    """The lower edge of a quarter octave."""
    return float(np.int64(np.int64(number) << 50).view(np.float64))


@kernel
def _move_up(bins: Bins) -> None:
    for i in range(1, _MOVE + 1):
        bins[0] += bins[i]
    for i in range(1, BINS - _MOVE):
        bins[i] = bins[i + _MOVE]
    bins[BINS - _MOVE : BINS] = 0


@kernel
def _refit(bins: Bins, weight: float) -> float:
    """Find the 98 % quantile and keep the window around it; the decades a unit above it."""
    while True:
        above, edge = float(bins[BINS - 1]), BINS - 2
        while edge > 0 and above + bins[edge] <= _TAIL_SHARE * bins[_TOTAL]:
            above += bins[edge]
            edge -= 1
        if edge <= BINS - _ROOM or bins[BINS - 1] == 0:
            break
        _move_up(bins)
        bins[_BASE] += np.uint16(_MOVE)
    base = int(bins[_BASE])
    threshold = _edge_of(base + edge + 1)
    excess = 0.0
    for i in range(edge + 1, BINS):
        if bins[i] > 0:
            excess += bins[i] * (_CENTRE * _edge_of(base + i) - threshold)
    mean_excess = (excess / weight + 0.1 * threshold) / (above / weight + 1.0)
    bins[_EDGE] = edge
    return float(_PER_DECADE / mean_excess)


@inlined
def _weight_above(bins: Bins, i: int) -> float:
    """Weight of all bins above bin `i`, in whole numbers, whose order does not matter.

    The bins to be added are masked, in which form it takes a fraction of the time of comparisons.
    """
    above = _MASKS[BINS - 1 - i : 2 * BINS - 1 - i]
    total = np.uint16(0)
    for j in range(BINS):
        total = np.uint16(total + (bins[j] & above[j]))
    return float(total)


@inlined
def _rank(
    own: Bins, s: Floats, sign: int, refit: bool, value: float, weight: np.uint16, room: Floats
) -> None:
    """Put what tells how rare a sign's value is among its past into its column of `room`; it then joins that.

    The value, its bin's edges, the weight above the bin, in it and altogether. In the tail instead of a bin
    where that begins, and the decades a unit.
    """
    number = _octave_bin(value)
    if own[_BASE] == 0 and value > 0.0:
        own[_BASE] = max(number - _FIRST_BIN, 1)
    if refit and own[_BASE] > 0:
        s[_STEEPNESS + sign] = _refit(own, s[_WEIGHT])
    base, edge = int(own[_BASE]), int(own[_EDGE])
    i = min(max(number - base, 0), BINS - 1) if base > 0 else 0
    last, is_tail = min(i, edge), i > edge and own[_TOTAL] > 0
    lower = base + last + int(is_tail)
    room[_VALUE, sign], room[_LOWER, sign], room[_UPPER, sign] = value, _edge_of(lower), _edge_of(lower + 1)
    room[_ABOVE, sign] = _weight_above(own, last)
    room[_WITHIN, sign] = 0.0 if is_tail else own[i]
    room[_ALL, sign] = own[_TOTAL] if base > 0 else 0.0
    room[_DECADES, sign] = s[_STEEPNESS + sign] if is_tail else 0.0
    own[i] += weight
    own[_TOTAL] += weight


@inlined
def _decades(share: float) -> float:
    """-log10 of a normal number, to nine digits: a sum that is vectorised over the signs, as no call can be.

    The exponent, and of the rest m, within sqrt(2) of 1, the series of atanh((m - 1)/(m + 1)).
    """
    bits = np.float64(share).view(np.int64)
    exponent = (bits - _ROOT_OF_HALF) >> 52
    m = np.int64(bits - (exponent << 52)).view(np.float64)
    t = (m - 1.0) / (m + 1.0)
    u = t * t
    series = 1.0 + u * (1.0 / 3.0 + u * (1.0 / 5.0 + u * (1.0 / 7.0 + u * (1.0 / 9.0 + u / 11.0))))
    return -(exponent * _DECADES_AN_OCTAVE + 2.0 * _PER_DECADE * t * series)


@inlined
def _surprise(room: Floats, surprises: Floats) -> None:
    """The decades of the share of its past that each value is rarer than, and of its way into the tail."""
    value, lower, upper, above = room[_VALUE], room[_LOWER], room[_UPPER], room[_ABOVE]
    within, total, decades = room[_WITHIN], room[_ALL], room[_DECADES]
    for i in range(len(surprises)):
        part = min(max((upper[i] - value[i]) / (upper[i] - lower[i]), 0.0), 1.0)
        share = (above[i] + part * within[i]) / total[i] if total[i] > 0.0 else 1.0
        beyond = (value[i] - lower[i]) * decades[i]
        surprises[i] = min(_decades(max(share, _LEAST_TAIL)) + beyond, _LARGEST)


@kernel
def _halve(bins: Bins, seen: int) -> None:
    """Halve the weights of all signs."""
    for sign in range(SIGNS):
        total = 0
        for i in range(BINS):
            bins[sign, i] = whole(0.5 * bins[sign, i], seen + i)
            total += bins[sign, i]
        bins[sign, _TOTAL] = total


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
        s[_WEIGHT] = _UNIT
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
    refit = seen < _REFIT_ALWAYS_BELOW or seen % _REFIT_EVERY == 0
    weight = np.uint16(whole(s[_WEIGHT], seen))
    for sign in range(SIGNS):
        _rank(bins[sign], s, sign, refit, abs(signs[sign]), weight, room)
    surprises = room[_SURPRISE]
    _surprise(room, surprises)
    total = 0.0
    for sign in range(SIGNS):
        s[HELD + sign] = max(surprises[sign], _HOLD * s[HELD + sign])
        total += s[HELD + sign]
    s[_WEIGHT] *= 1.0 + 1.0 / _FORGETTING_POINTS
    if bins[0, _TOTAL] > _FULL:
        _halve(bins, seen)
        s[_WEIGHT] *= 0.5
    return total / SIGNS
