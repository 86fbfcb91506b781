"""How rare a size is among those before it: histograms of quarter octaves, whose weights fade.

Each looks at a window of eight octaves, kept around its 98 % quantile; above that the tail is exponential.
Kernels on the histograms of a value's signs of change, which are ranked one by one and told all at once.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from service.history.fading import whole
from service.kernels import inlined, kernel, sum_masked

Floats = npt.NDArray[np.float64]
Bins = npt.NDArray[np.uint16]

BINS = 32
UNIT = 256.0  # weight of the first point
ROOM = 8, 8  # rows of numbers that are worked on at once: those of the signs, and one more

_TAIL_SHARE = 0.02
_LEAST_TAIL = 0.005
_REFIT_EVERY = 32
_REFIT_ALWAYS_BELOW = 64
_LARGEST = 8.0
_FULL = 60_000  # of all weight in a histogram, before it is halved: sums stay below 2^16
_PER_DECADE = 1.0 / math.log(10.0)
_DECADES_AN_OCTAVE = math.log10(2.0)
_ROOT_OF_HALF = int(np.float64(math.sqrt(0.5)).view(np.int64))
_CENTRE = 1.09  # of a bin, in units of its lower edge
_FIRST_BIN = 24  # of the first value: smaller ones may come, and for larger ones the window moves
_ROOM = 12  # bins between the tail's beginning and the top, below which the window moves up
_MOVE = 8  # by so many

# Columns of a sign's histogram behind its bins: the window's first bin, all weight, the tail's first bin
# less one. A window that begins at 0 waits for the first value above 0.
_BASE, _TOTAL, _EDGE = range(BINS, BINS + 3)
HISTOGRAM = BINS + 3

_MASKS = np.repeat(np.array([0, 2**16 - 1], np.uint16), BINS)  # masks, to be laid at a bin

# Rows of the room to work in.
_VALUE, _LOWER, _UPPER, _ABOVE, _WITHIN, _ALL, _DECADES, _SURPRISE = range(ROOM[0])


@inlined
def refit_is_due(seen: int) -> bool:
    """Whether tails are to be found anew, after so many points."""
    return seen < _REFIT_ALWAYS_BELOW or seen % _REFIT_EVERY == 0


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
    """Weight of all bins above bin `i`, in whole numbers, whose order does not matter."""
    return float(sum_masked(bins, _MASKS, BINS - 1 - i, BINS))


@inlined
def rank(
    own: Bins,
    unit: float,
    refit: bool,
    sign: int,
    value: float,
    weight: np.uint16,
    steepness: Floats,
    room: Floats,
) -> None:
    """Put what tells how rare a sign's value is among its past into its column of `room`; it then joins that.

    The value, its bin's edges, the weight above the bin, in it and altogether. In the tail instead of a bin
    where that begins, and its `steepness` (SIGNS,), the decades a unit, which is found anew if `refit`. A
    point weighs `unit`, of which `weight` are the whole ones.
    """
    number = _octave_bin(value)
    if own[_BASE] == 0 and value > 0.0:
        own[_BASE] = max(number - _FIRST_BIN, 1)
    if refit and own[_BASE] > 0:
        steepness[sign] = _refit(own, unit)
    base, edge = int(own[_BASE]), int(own[_EDGE])
    i = min(max(number - base, 0), BINS - 1) if base > 0 else 0
    last, is_tail = min(i, edge), i > edge and own[_TOTAL] > 0
    lower = base + last + int(is_tail)
    room[_VALUE, sign], room[_LOWER, sign], room[_UPPER, sign] = value, _edge_of(lower), _edge_of(lower + 1)
    room[_ABOVE, sign] = _weight_above(own, last)
    room[_WITHIN, sign] = 0.0 if is_tail else own[i]
    room[_ALL, sign] = own[_TOTAL] if base > 0 else 0.0
    room[_DECADES, sign] = steepness[sign] if is_tail else 0.0
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
def surprise(room: Floats) -> Floats:
    """The decades of the share of its past that each value is rarer than, and of its way into the tail.

    Of all columns of `room`, whose last row they are.
    """
    value, lower, upper, above = room[_VALUE], room[_LOWER], room[_UPPER], room[_ABOVE]
    within, total, decades = room[_WITHIN], room[_ALL], room[_DECADES]
    surprises: Floats = room[_SURPRISE]
    for i in range(len(surprises)):
        part = min(max((upper[i] - value[i]) / (upper[i] - lower[i]), 0.0), 1.0)
        share = (above[i] + part * within[i]) / total[i] if total[i] > 0.0 else 1.0
        beyond = (value[i] - lower[i]) * decades[i]
        surprises[i] = min(_decades(max(share, _LEAST_TAIL)) + beyond, _LARGEST)
    return surprises


@inlined
def is_full(own: Bins) -> bool:
    """Whether a histogram, and with it those of the other signs, is to be halved."""
    return bool(own[_TOTAL] > _FULL)


@kernel
def halve(bins: Bins, seen: int) -> None:
    """Halve the weights of all signs (SIGNS, HISTOGRAM)."""
    for sign in range(bins.shape[0]):
        total = 0
        for i in range(BINS):
            bins[sign, i] = whole(0.5 * bins[sign, i], seen + i)
            total += bins[sign, i]
        bins[sign, _TOTAL] = total
