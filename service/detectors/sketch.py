"""A stream's distribution in 192 counters, and how rare a value is in it: kernels on one row of state.

Logarithmic bins hold integer weights (sums are exact in any order); older points fade because newer ones
weigh more. Below the 98 % quantile the rarity is what was counted; above it a generalised Pareto tail is
fitted by probability-weighted moments (Hosking and Wallis 1987), shrunk towards a mildly heavy one.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from service.history.table import Column
from service.kernels import kernel

Floats = npt.NDArray[np.float64]
Bins = npt.NDArray[np.uint32]

BINS = 192
_LOWEST = 1e-3
_RATIO = 1.08
_LOG_RATIO = math.log(_RATIO)

TAIL_SHARE = 0.02
_SHOULDER_SHARE = 0.1
_SHAPE_PRIOR, _SHAPE_WEIGHT = 0.1, 100.0
_SCALE_PRIOR, _SCALE_WEIGHT = 0.25, 5.0  # of the threshold; in points
_BLEND = 10.0  # points above a value at which its counted and its fitted rarity weigh the same
_REFIT_EVERY = 32
_REFIT_ALWAYS_BELOW = 64
_SHAPE_LOWEST, _SHAPE_HIGHEST = -0.3, 0.9

_UNIT = 1024.0  # weight of the first point
_TOTAL_LIMIT = 2**31

# Columns of a sketch's row of numbers.
WEIGHT, TOTAL, SEEN, EDGE, SHAPE, SCALE, TAIL, SPREAD = range(8)
NUMBERS = 8

SKETCH_COLUMNS = {"bins": Column(np.uint32, BINS), "fit": Column(np.float64, NUMBERS)}


def prior_bins(rarity_decades_per_unit: float, weight_points: float) -> Bins:
    """Bins of an exponential distribution whose rarity grows by so many decades per unit of the value."""
    edges = np.concatenate([[0.0], _LOWEST * _RATIO ** np.arange(BINS), [np.inf]])[: BINS + 1]
    edges[-1] = np.inf
    survival = 10.0 ** (-rarity_decades_per_unit * edges)
    return np.round(-np.diff(survival) * weight_points * _UNIT).astype(np.uint32)


@kernel
def _bin(value: float) -> int:
    if value < _LOWEST:
        return 0
    return min(1 + int(math.log(value / _LOWEST) / _LOG_RATIO), BINS - 1)


@kernel
def _lower_edge(i: int) -> float:
    return 0.0 if i == 0 else _LOWEST * math.exp((i - 1) * _LOG_RATIO)


@kernel
def _upper_edge(i: int) -> float:
    return _LOWEST * math.exp(i * _LOG_RATIO)


@kernel
def _weight_above(bins: Bins, i: int) -> float:
    """Weight of all bins above bin `i`."""
    total = np.uint64(0)
    for j in range(i + 1, BINS):
        total += np.uint64(bins[j])
    return float(total)


@kernel
def start(bins: Bins, fit: Floats, prior: Bins) -> None:
    """Give a fresh row the prior's weights."""
    total = 0.0
    for i in range(BINS):
        bins[i] = prior[i]
        total += prior[i]
    fit[WEIGHT] = _UNIT
    fit[TOTAL] = total
    fit[SEEN] = 0.0


@kernel
def _refit(bins: Bins, fit: Floats) -> None:
    """Find the 98 % quantile anew and fit the tail above it."""
    total = 0.0
    for i in range(BINS):
        total += bins[i]
    fit[TOTAL] = total
    above, edge = 0.0, BINS - 1
    while edge > 0 and above + bins[edge] <= TAIL_SHARE * total:
        above += bins[edge]
        edge -= 1
    threshold = _upper_edge(edge)
    first = second = 0.0  # the probability-weighted moments of the excess, times the tail's weight
    beyond = 0.0
    for i in range(BINS - 1, edge, -1):
        if bins[i] > 0:
            excess = 0.5 * (_lower_edge(i) + _upper_edge(i)) - threshold
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
    shoulder = edge
    while shoulder > 0 and above + bins[shoulder] <= _SHOULDER_SHARE * total:
        above += bins[shoulder]
        shoulder -= 1
    decline = math.log(max(above / total, fit[TAIL] * 1.5) / fit[TAIL]) if total > 0.0 else 1.0
    fit[SPREAD] = max(threshold - _upper_edge(shoulder), 0.1 * threshold) / decline


@kernel
def refit_if_due(bins: Bins, fit: Floats) -> None:
    """Refit at fixed counts of points; to be called before a value is judged."""
    seen = int(fit[SEEN])
    if seen < _REFIT_ALWAYS_BELOW or seen % _REFIT_EVERY == 0:
        _refit(bins, fit)


@kernel
def _at_or_above(bins: Bins, value: float) -> float:
    """Weight of what was at least as large as the value, interpolated within its bin."""
    i = _bin(value)
    own = float(bins[i])
    neighbours = 0.0
    if i > 0:
        neighbours += bins[i - 1]
    if i < BINS - 1:
        neighbours += bins[i + 1]
    share = 1.0
    if own <= 2.0 * neighbours:  # otherwise one value repeats, and all of the bin is at least as large
        low, high = _lower_edge(i), _upper_edge(i)
        share = min(max((high - value) / (high - low), 0.0), 1.0)
    return _weight_above(bins, i) + share * own


@kernel
def surprise(bins: Bins, fit: Floats, value: float) -> float:
    """-log10 of the probability that the stream's next value is at least this large."""
    at_or_above = _at_or_above(bins, value)
    counted = at_or_above / fit[TOTAL]
    if value < fit[EDGE]:
        return -math.log10(min(max(counted, fit[TAIL]), 1.0))  # no odder than where the tail begins
    stretch = 1.0 + fit[SHAPE] * (value - fit[EDGE]) / fit[SCALE]
    if stretch <= 0.0:
        fitted = 0.0
    elif abs(fit[SHAPE]) < 1e-6:
        fitted = fit[TAIL] * math.exp(-(value - fit[EDGE]) / fit[SCALE])
    else:
        fitted = fit[TAIL] * stretch ** (-1.0 / fit[SHAPE])
    points = at_or_above / fit[WEIGHT]
    trust = points / (points + _BLEND)
    return -math.log10(min(max(trust * counted + (1.0 - trust) * fitted, 1e-12), 1.0))


@kernel
def magnitude(bins: Bins, fit: Floats, value: float) -> float:
    """As `surprise` below the 98 % quantile; above it, an exponential tail as steep as its shoulder.

    The shoulder lies between the 90 and the 98 % quantile, where past faults are too few to reach: what
    was extreme before does not blunt what is extreme now, and the order at the top never saturates.
    """
    if value < fit[EDGE]:
        return -math.log10(min(max(_at_or_above(bins, value) / fit[TOTAL], fit[TAIL]), 1.0))
    return float(-math.log10(fit[TAIL]) + (value - fit[EDGE]) / (fit[SPREAD] * math.log(10.0)))


@kernel
def learn(bins: Bins, fit: Floats, value: float, memory_points: float) -> None:
    """Count the value; what came before fades as if the sketch held the last `memory_points` points."""
    weight = fit[WEIGHT] / (1.0 - 1.0 / memory_points)
    bins[_bin(value)] += np.uint32(weight)
    fit[TOTAL] += np.uint32(weight)
    fit[WEIGHT] = weight
    fit[SEEN] += 1.0
    if fit[TOTAL] > _TOTAL_LIMIT:
        total = 0.0
        for i in range(BINS):
            bins[i] >>= np.uint32(1)
            total += bins[i]
        fit[TOTAL] = total
        fit[WEIGHT] = 0.5 * weight
