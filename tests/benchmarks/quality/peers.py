"""Simple detectors that people run today, vectorised; each score uses nothing but what came before its point.

Those of river are river's own formulas; `libraries` says how near. Missing values are taken for the last one
before them. Needs numpy alone, so that an interpreter with the libraries can import it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from tests.benchmarks.quality.arrays import Floats

Detector = Callable[[Floats], Floats]
"""From the values (n,) of one series to its scores (n,)."""

WINDOW = 6_400
"""Points that NAB's windowed Gaussian looks back."""
_TINY = 1e-10
_BLOCK_POINTS = 512  # that a median is taken of at once
_erf = np.vectorize(math.erf, otypes=[np.float64])


def windowed_gaussian(x: Floats, window: int = WINDOW) -> Floats:
    """How many standard deviations off the mean of the last `window` points."""
    mean, deviation, count = _before(x, window, ddof=0)
    return np.where(count < 2, 0.0, np.abs(x - mean) / (deviation + _TINY))


def standard_absolute_deviation(x: Floats) -> Floats:
    """river.anomaly.StandardAbsoluteDeviation: the same over all points so far."""
    mean, deviation, _ = _before(x, len(x), ddof=1)
    return np.abs(x - mean) / (deviation + _TINY)


def gaussian_scorer(x: Floats, window: int = 1_000, grace_points: int = 100) -> Floats:
    """river.anomaly.GaussianScorer: how much of a Gaussian over the last `window` points lies nearer."""
    mean, deviation, count = _before(x, window, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = _erf(np.abs(x - mean) / (deviation * math.sqrt(2.0)))
    share = np.where(deviation > 0, share, np.where(x == mean, 0.0, 1.0))
    return np.where(count < grace_points, 0.0, share)


def robust_z(x: Floats, window: int = 1_000, untie: bool = False) -> Floats:
    """How many scaled median absolute deviations off the median of the last `window` points.

    Where more than half of them are equal that is 0, and everything else far off; with `untie` the scaled
    mean absolute deviation stands in.
    """
    score = np.zeros_like(x)
    for start in range(1, len(x), _BLOCK_POINTS):
        stop = min(start + _BLOCK_POINTS, len(x))
        # Each row is what lies before one point; the first ones are short, which NaN stands for.
        padded = np.concatenate(
            [np.full(max(0, window - start), np.nan), x[max(0, start - window) : stop - 1]]
        )
        rows = np.lib.stride_tricks.sliding_window_view(padded, window)
        median, mean = (np.median, np.mean) if start >= window else (np.nanmedian, np.nanmean)
        middle = median(rows, axis=1)
        off = np.abs(rows - middle[:, None])
        spread = 1.4826 * median(off, axis=1)
        if untie:
            tied = spread == 0
            spread[tied] = 1.2533 * mean(off[tied], axis=1)
        score[start:stop] = np.abs(x[start:stop] - middle) / (spread + _TINY)
    return score


def of_difference(detector: Detector, x: Floats) -> Floats:
    """The detector on x[t] - x[t - 1]."""
    return detector(np.diff(x, prepend=x[:1]))


PEERS: dict[str, Detector] = {
    "windowed Gaussian": windowed_gaussian,
    "difference, windowed Gaussian": partial(of_difference, windowed_gaussian),
    "river SAD": standard_absolute_deviation,
    "difference, river SAD": partial(of_difference, standard_absolute_deviation),
    "river Gaussian(1000)": gaussian_scorer,
    "robust z(1000)": robust_z,
    "robust z(1000), untied": partial(robust_z, untie=True),
}
JOINS: dict[str, Callable[[Floats], Floats]] = {
    "max": lambda each: np.asarray(each.max(axis=1)),
    "mean": lambda each: np.asarray(each.mean(axis=1)),
}


def filled(values: Floats) -> Floats:
    """Values (n, k) with the last one before a missing one in its place, 0 before the first."""
    known = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values))[:, None], 0), axis=0)
    return np.nan_to_num(np.take_along_axis(values, last, axis=0))


def scores(values: Floats) -> dict[str, Floats]:
    """Every peer on values (n, k), by name; joined in both ways where there are several."""
    columns = filled(values).T
    found: dict[str, Floats] = {}
    for name, detector in PEERS.items():
        each = np.column_stack([detector(np.ascontiguousarray(column)) for column in columns])
        found |= joined(name, each)
    return found


def joined(name: str, each: Floats) -> dict[str, Floats]:
    """Scores (n, k) of the values as those of the source, (n,)."""
    if each.shape[1] == 1:
        return {name: each[:, 0]}
    return {f"{name}, {how}": join(each) for how, join in JOINS.items()}


def _before(x: Floats, window: int, ddof: int) -> tuple[Floats, Floats, Floats]:
    """Mean, standard deviation and count of up to `window` points before each one; 0 where there are none."""
    centred = x - x[:1]  # against cancellation in the sums
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    squares = np.concatenate([[0.0], np.cumsum(centred**2)])
    now = np.arange(len(x))
    first = np.maximum(now - window, 0)
    count = (now - first).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (sums[now] - sums[first]) / count
        left = squares[now] - squares[first] - count * mean**2
        # What is left of two equal sums is no variance.
        left[left < 1e-9 * (squares[now] - squares[first])] = 0.0
        variance = left / (count - ddof)
    mean = np.where(count > 0, mean + x[:1], 0.0)
    return mean, np.sqrt(np.where(count > ddof, np.maximum(variance, 0.0), 0.0)), count
