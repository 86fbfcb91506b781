"""A stream's distribution in some 100 counters, and how rare a value is in it: kernels on one row of state.

Bins of growing width hold integer weights (sums are exact in any order); older points fade because newer
ones weigh more. Below the 98 % quantile the rarity is what was counted; above it a generalised Pareto tail is
fitted by probability-weighted moments (Hosking and Wallis 1987), shrunk towards a mildly heavy one.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from service.history.fading import whole
from service.kernels import inlined, kernel

Floats = npt.NDArray[np.float64]
Bins = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

# Bin 0 is all below 2^-10; from there on each octave has 8 bins of equal width, so that a bin's number is
# the exponent and the first three bits of the fraction of an IEEE 754 number: a shift instead of a logarithm.
BINS = 192
"""The most bins a sketch may have: up to 2^13.9, about 15,000. The last is open above."""
_SHIFT = 49
_FIRST = ((1023 - 10) << 3) - 1

_PER_DECADE = 1.0 / math.log(10.0)

TAIL_SHARE = 0.02
_SHOULDER_SHARE = 0.1
_SHAPE_PRIOR, _SHAPE_WEIGHT = 0.1, 100.0
_SCALE_PRIOR, _SCALE_WEIGHT = 0.25, 5.0  # of the threshold; in points
_BLEND = 10.0  # points above a value at which its counted and its fitted rarity weigh the same
_REFIT_EVERY = 32
_REFIT_ALWAYS_BELOW = 64
_SHAPE_LOWEST, _SHAPE_HIGHEST = -0.3, 0.9

_UNIT = 256.0  # weight of the first point
_FULL_OF_16_BITS, _FULL_OF_32_BITS = 60_000.0, 2.0**31  # so that sums never leave them

# The first columns of a sketch's row of numbers.
WEIGHT, TOTAL, SEEN, EDGE, SHAPE, SCALE, TAIL = range(7)
NUMBERS = 7


def _edges() -> Floats:
    """Lower edge of every bin, and the last one's upper edge if it were closed."""
    numbers = np.arange(1, BINS + 1, dtype=np.int64) + _FIRST
    return np.append(0.0, (numbers << _SHIFT).view(np.float64))


EDGES = _edges()


def prior_bins(
    rarity_decades_per_unit: float, weight_points: float, bins: int = BINS
) -> npt.NDArray[np.uint32]:
    """Bins of an exponential distribution whose rarity grows by so many decades per unit of the value."""
    edges = np.append(EDGES[:bins], np.inf)
    survival = 10.0 ** (-rarity_decades_per_unit * edges)
    return np.round(-np.diff(survival) * weight_points * _UNIT).astype(np.uint32)


@inlined
def bin_of(value: float, bins: int) -> int:
    """The number of the value's bin among `bins`."""
    number = int(np.float64(value).view(np.int64) >> _SHIFT) - _FIRST
    return min(max(number, 0), bins - 1)


@inlined
def decades(probability: float) -> float:
    """-log10 of a probability; the C library's natural logarithm is the faster one."""
    return float(-math.log(probability) * _PER_DECADE)


@inlined
def weight_above(bins: Bins, i: int) -> float:
    """Weight of all bins above bin `i`; walks over all, as the end of a varying loop is mispredicted."""
    total, first = np.uint32(0), np.uint32(i + 1)
    for j in range(bins.shape[0]):
        total = np.uint32(total + np.uint32(bins[j]) * np.uint32(np.uint32(j) >= first))
    return float(total)


@kernel
def start(bins: Bins, fit: Floats, prior: Bins) -> None:
    """Give a fresh row the prior's weights."""
    total = 0.0
    for i in range(bins.shape[0]):
        bins[i] = prior[i]
        total += prior[i]
    fit[WEIGHT] = _UNIT
    fit[TOTAL] = total
    fit[SEEN] = 0.0


@kernel
def _quantile_bin(bins: Bins, above: float, i: int, share: float) -> tuple[float, int]:
    """Down from bin `i`, with the weight `above` above it, to the first that does not fit into `share`.

    Returns the weight above that bin, and its number.
    """
    while i > 0 and above + bins[i] <= share:
        above += bins[i]
        i -= 1
    return above, i


@kernel
def _tail_begin(bins: Bins, total: float) -> tuple[float, int]:
    """The bin that holds the 98 % quantile, and the weight above it; the open last bin is always tail."""
    last = bins.shape[0] - 1
    return _quantile_bin(bins, float(bins[last]), last - 1, TAIL_SHARE * total)


@kernel
def refit(bins: Bins, fit: Floats) -> None:
    """Find the 98 % quantile anew and fit the tail above it."""
    total = weight_above(bins, -1)
    fit[TOTAL] = total
    above, edge = _tail_begin(bins, total)
    threshold = EDGES[edge + 1]
    first = second = 0.0  # the probability-weighted moments of the excess, times the tail's weight
    beyond = 0.0
    for i in range(bins.shape[0] - 1, edge, -1):
        if bins[i] > 0:
            excess = 0.5 * (EDGES[i] + EDGES[i + 1]) - threshold
            weight = float(bins[i])
            first += weight * excess
            second += weight * excess * (beyond + 0.5 * weight)
            beyond += weight
    points = above / fit[WEIGHT]
    shape, mean_excess = _SHAPE_PRIOR, 0.0
    if above > 0.0:
        mean_excess = first / above
        alpha1 = second / (above * above)
        if mean_excess > 2.0 * alpha1:
            shape = 2.0 - mean_excess / (mean_excess - 2.0 * alpha1)
        else:
            shape = _SHAPE_LOWEST
        shape = min(max(shape, _SHAPE_LOWEST), _SHAPE_HIGHEST)
    shape = (points * shape + _SHAPE_WEIGHT * _SHAPE_PRIOR) / (points + _SHAPE_WEIGHT)
    scale = (points * mean_excess + _SCALE_WEIGHT * _SCALE_PRIOR * threshold) / (points + _SCALE_WEIGHT)
    fit[EDGE] = threshold
    fit[SHAPE] = shape
    fit[SCALE] = max(scale * (1.0 - shape), 1e-9)
    fit[TAIL] = max(above / total, 0.25 * TAIL_SHARE) if total > 0.0 else TAIL_SHARE


@inlined
def refit_if_due(bins: Bins, fit: Floats) -> None:
    """Refit at fixed counts of points; to be called before a value is judged."""
    seen = int(fit[SEEN])
    if seen < _REFIT_ALWAYS_BELOW or seen % _REFIT_EVERY == 0:
        refit(bins, fit)


@inlined
def _repeats(bins: Bins, i: int) -> bool:
    """Whether bin `i` holds so much more than its neighbours that one value repeats in it."""
    neighbours = 0.0
    if i > 0:
        neighbours += bins[i - 1]
    if i < bins.shape[0] - 1:
        neighbours += bins[i + 1]
    return bool(bins[i] > 2.0 * neighbours)


@inlined
def _at_or_above(bins: Bins, value: float) -> float:
    """Weight of what was at least as large as the value, interpolated within its bin."""
    i = bin_of(value, bins.shape[0])
    share = 1.0
    if not _repeats(bins, i):  # otherwise all of the bin is at least as large
        share = min(max((EDGES[i + 1] - value) / (EDGES[i + 1] - EDGES[i]), 0.0), 1.0)
    return weight_above(bins, i) + share * float(bins[i])


@inlined
def surprise(bins: Bins, fit: Floats, value: float) -> float:
    """-log10 of the probability that the stream's next value is at least this large."""
    at_or_above = _at_or_above(bins, value)
    counted = at_or_above / fit[TOTAL]
    if value < fit[EDGE]:
        return decades(min(max(counted, fit[TAIL]), 1.0))  # no odder than where the tail begins
    stretch = 1.0 + fit[SHAPE] * (value - fit[EDGE]) / fit[SCALE]
    if stretch <= 0.0:
        fitted = 0.0
    elif abs(fit[SHAPE]) < 1e-6:
        fitted = fit[TAIL] * math.exp(-(value - fit[EDGE]) / fit[SCALE])
    else:
        fitted = fit[TAIL] * stretch ** (-1.0 / fit[SHAPE])
    points = at_or_above / fit[WEIGHT]
    trust = points / (points + _BLEND)
    return decades(min(max(trust * counted + (1.0 - trust) * fitted, 1e-12), 1.0))


@kernel
def draw_curve(bins: Bins, fit: Floats, curve: Floats) -> None:
    """Write the magnitude as a straight line for each bin, `curve[0] + curve[1] * value`; after a `refit`.

    Below the 98 % quantile it joins the counted surprises at the bins' edges. Above, it goes on as an
    exponential tail as steep as its shoulder, between the 90 and the 98 % quantile, where past faults are too
    few to reach: what was extreme before does not blunt what is extreme now, and the order never saturates.
    """
    total, tail = fit[TOTAL], fit[TAIL]
    above, edge = _tail_begin(bins, total)
    beyond, shoulder = _quantile_bin(bins, above, edge, _SHOULDER_SHARE * total)
    decline = math.log(max(beyond / total, tail * 1.5) / tail)
    spread = max(fit[EDGE] - EDGES[shoulder + 1], 0.1 * fit[EDGE]) / decline
    upper = decades(tail)
    steepness = _PER_DECADE / spread
    curve[0, edge + 1 :] = upper - steepness * fit[EDGE]
    curve[1, edge + 1 :] = steepness
    for i in range(edge, -1, -1):
        lower = upper
        if bins[i] > 0:
            above += bins[i]
            lower = decades(min(max(above / total, tail), 1.0))
        slope = 0.0 if _repeats(bins, i) else (upper - lower) / (EDGES[i + 1] - EDGES[i])
        curve[0, i] = lower - slope * EDGES[i]
        curve[1, i] = slope
        upper = lower


@inlined
def magnitude(curve: Floats, value: float) -> float:
    """As `surprise` below the 98 % quantile, and without an end above it; as of the last `draw_curve`."""
    i = bin_of(value, curve.shape[1])
    return float(curve[0, i] + curve[1, i] * value)


@inlined
def halve_if_full(bins: Bins, fit: Floats) -> None:
    """Halve all weights before their sum leaves a bin's bits."""
    if fit[TOTAL] > (_FULL_OF_16_BITS if bins.itemsize == 2 else _FULL_OF_32_BITS):
        total, turn = 0.0, int(fit[SEEN])
        for i in range(bins.shape[0]):
            bins[i] = whole(0.5 * bins[i], turn + i)
            total += bins[i]
        fit[TOTAL] = total
        fit[WEIGHT] *= 0.5


@inlined
def learn(bins: Bins, fit: Floats, i: int, memory_points: float) -> None:
    """Count a value of bin `i`; what came before fades as if the sketch held `memory_points` points."""
    fit[WEIGHT] *= memory_points / (memory_points - 1.0)
    weight = whole(fit[WEIGHT], int(fit[SEEN]))
    bins[i] += weight
    fit[TOTAL] += weight
    fit[SEEN] += 1.0
    halve_if_full(bins, fit)


@kernel
def cut_back(bins: Bins, fit: Floats, first: int, share: float) -> None:
    """Take from bin `first` and those above what exceeds such a share of all weight."""
    beyond, total = weight_above(bins, first - 1), weight_above(bins, -1)
    kept = share / (1.0 - share) * (total - beyond)
    if total > beyond > kept:
        for i in range(first, bins.shape[0]):
            bins[i] = whole(bins[i] * (kept / beyond), i)
    refit(bins, fit)
