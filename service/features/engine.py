"""FeatureEngine: what each value of a point is against its own past, and one vector for the whole point.

Everything is computed before the point is learned. Knows series rows and numbers, no source names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from service.features import counters, gaps, rolling
from service.features.config import FeatureConfig
from service.features.long_memory import LongMemory
from service.history.sources import Placement
from service.history.table import Column, StateTable
from service.kernels import borrowed, kernel, prefetch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Feature(IntEnum):
    """The columns of a value's feature row; the names are public, in results."""

    VALUE = 0
    MEAN = 1
    STD = 2
    Z_SCORE = 3
    MEDIAN = 4
    MAD = 5
    ROBUST_Z = 6
    EWMA = 7
    EWMA_Z = 8
    DIFFERENCE = 9
    DIFFERENCE_Z = 10


FEATURES = len(Feature)

KINDS = (Feature.Z_SCORE, Feature.ROBUST_Z, Feature.EWMA_Z, Feature.DIFFERENCE_Z)
"""The kinds of z, in the order of `FeatureBatch.furthest`."""

# A point's vector, the same width for any number of values: for each kind of z the signed one that is
# furthest out among the values, then the root mean square over the values of the first and the last.
VECTOR_WIDTH = 6

_SEEN, _MEAN, _SQUARES, _EWMA, _EWMA_SQUARE, _LAST, _DIFFERENCE_SQUARE = range(7)
_STATE_WIDTH = 7

# Squares of larger numbers, summed over a window, would overflow.
_LARGEST = 1e140
_MAD_TO_SIGMA = 1.4826

_AHEAD = 4  # values whose rows are on their way from memory


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Features of `n` fresh points with `m` values between them, as of before each point was learned.

    `rows` is (m, FEATURES), NaN where a value is missing or its history too short; the rows of point j
    are `row_start[j]` to `row_start[j + 1]`. `vectors` is (n, VECTOR_WIDTH), each number in (-1, 1) and
    0 for a value that behaves as always; `furthest` (n, KINDS) the largest absolute z of each kind among
    the point's values. `oddness` (n,) is how far the point lies from its source's whole past, `shares` (m,)
    each value's part in it, `evidence` (n,) what speaks for an incident of a source of one value, NaN for
    others. All are NaN where `has_history` is false. `known` (n,) is how many points the judgement rests on,
    those counted that a source began with of its cohort's scales. `marks` (m, MARKS) says what is odd about
    each value of the points that are `marked` (n,), and is undefined for others. `is_rate` (m,) says which
    values are counters: what is known of them is of their rate. `missing` (n,) is the place, among its
    source's, of the value that makes the point odd because it has stopped coming, or -1.
    """

    source: Ints
    row_start: Ints
    rows: Floats
    vectors: Floats
    furthest: Floats
    oddness: Floats
    shares: Floats
    evidence: Floats
    known: Floats
    marked: npt.NDArray[np.bool_]
    marks: Floats
    has_history: npt.NDArray[np.bool_]
    is_rate: npt.NDArray[np.bool_]
    missing: Ints

    def __len__(self) -> int:
        return len(self.source)

    def part(self, start: int, stop: int) -> FeatureBatch:
        """Points `start` to `stop` as views; `row_start` still counts from the first row of the whole."""
        if start == 0 and stop == len(self):
            return self
        return FeatureBatch(
            self.source[start:stop],
            self.row_start[start : stop + 1],
            self.rows,
            self.vectors[start:stop],
            self.furthest[start:stop],
            self.oddness[start:stop],
            self.shares,
            self.evidence[start:stop],
            self.known[start:stop],
            self.marked[start:stop],
            self.marks,
            self.has_history[start:stop],
            self.is_rate,
            self.missing[start:stop],
        )


@kernel
def _scaled(deviation: float, scale: float, typical: float) -> float:
    """Deviation in units of scale; a series that never moved gets a scale of a millionth of its level."""
    return deviation / max(scale, 1e-9 + 1e-6 * abs(typical))


@kernel
def _advance_value(
    x: float,
    ascending: Floats,
    ranks: npt.NDArray[np.uint8],
    s: Floats,
    out: Floats,
    judged: bool,
    ewma_gain: float,
    long_memory: float,
) -> None:
    """Write the features (FEATURES,) of one value, NaN if it is not to be judged; then learn it."""
    if math.isnan(x):
        out[:] = np.nan
        return
    window = ascending.shape[0]
    out[Feature.VALUE] = x
    x = min(max(x, -_LARGEST), _LARGEST)
    seen = int(s[_SEEN])
    count = min(seen, window)
    gain = max(1.0 / (seen + 1), 1.0 / long_memory)
    mean = s[_MEAN]
    if seen == 0:
        ewma, difference, gap = x, 0.0, 0.0
    else:
        ewma = s[_EWMA] + ewma_gain * (x - s[_EWMA])
        difference = x - s[_LAST]
        gap = ewma - mean
    # The point itself counts in these two scales: a first move after long rest is then bounded by
    # the square root of the history's length instead of being infinite.
    ewma_square = s[_EWMA_SQUARE] + gain * (gap * gap - s[_EWMA_SQUARE])
    difference_square = s[_DIFFERENCE_SQUARE] + gain * (difference * difference - s[_DIFFERENCE_SQUARE])
    if judged:
        std = math.sqrt(s[_SQUARES] / (count - 1))
        middle = rolling.median(ascending, count)
        mad = rolling.median_absolute_deviation(ascending, count, middle)
        out[Feature.MEAN] = mean
        out[Feature.STD] = std
        out[Feature.Z_SCORE] = _scaled(x - mean, std, mean)
        out[Feature.MEDIAN] = middle
        out[Feature.MAD] = mad
        # With more than half the values equal the MAD is 0 and says nothing of the other half.
        out[Feature.ROBUST_Z] = _scaled(x - middle, _MAD_TO_SIGMA * mad if mad > 0.0 else std, middle)
        out[Feature.EWMA] = ewma
        out[Feature.EWMA_Z] = _scaled(gap, math.sqrt(ewma_square), mean)
        out[Feature.DIFFERENCE] = difference
        out[Feature.DIFFERENCE_Z] = _scaled(difference, math.sqrt(difference_square), mean)
    else:
        out[Feature.VALUE + 1 :] = np.nan
    old = rolling.push_value(ascending, ranks, seen, x)
    s[_MEAN], s[_SQUARES] = rolling.moments(ascending, seen, mean, s[_SQUARES], x, old)
    s[_SEEN] = seen + 1
    s[_EWMA] = ewma
    s[_EWMA_SQUARE] = ewma_square
    s[_LAST] = x
    s[_DIFFERENCE_SQUARE] = difference_square


@kernel
def _squash(z: float) -> float:
    """To (-1, 1), with most room for the usual: 3 becomes a half."""
    return z / (3.0 + abs(z))


@kernel
def _further(furthest: float, z: float) -> float:
    return z if abs(z) > abs(furthest) else furthest


@kernel
def _advance(
    row_start: Ints,
    series: Ints,
    values: Floats,
    ascending: Floats,
    ranks: npt.NDArray[np.uint8],
    state: Floats,
    changed: Bools,
    judged: Bools,
    ewma_gain: float,
    long_memory: float,
    rows: Floats,
    vectors: Floats,
    furthest: Floats,
    has_history: npt.NDArray[np.bool_],
) -> None:
    ascending, ranks, state, rows = borrowed(ascending), borrowed(ranks), borrowed(state), borrowed(rows)
    for point in range(vectors.shape[0]):
        known = 0
        z = robust = ewma = difference = 0.0
        z_squares = difference_squares = 0.0
        for row in range(row_start[point], row_start[point + 1]):
            if row + _AHEAD < series.shape[0]:
                coming = series[row + _AHEAD]
                prefetch(ascending, coming)
                prefetch(ranks, coming)
                prefetch(state, coming)
            slot, out = series[row], rows[row]
            if changed[row]:
                state[slot, :] = 0.0
            _advance_value(
                values[row],
                ascending[slot],
                ranks[slot],
                state[slot],
                out,
                judged[row],
                ewma_gain,
                long_memory,
            )
            if not judged[row]:
                continue
            known += 1
            z = _further(z, out[Feature.Z_SCORE])
            robust = _further(robust, out[Feature.ROBUST_Z])
            ewma = _further(ewma, out[Feature.EWMA_Z])
            difference = _further(difference, out[Feature.DIFFERENCE_Z])
            z_squares += _squash(out[Feature.Z_SCORE]) ** 2
            difference_squares += _squash(out[Feature.DIFFERENCE_Z]) ** 2
        has_history[point] = known > 0
        if known == 0:
            vectors[point, :] = np.nan
            furthest[point, :] = np.nan
            continue
        furthest[point, 0] = abs(z)
        furthest[point, 1] = abs(robust)
        furthest[point, 2] = abs(ewma)
        furthest[point, 3] = abs(difference)
        vectors[point, 0] = _squash(z)
        vectors[point, 1] = _squash(robust)
        vectors[point, 2] = _squash(ewma)
        vectors[point, 3] = _squash(difference)
        vectors[point, 4] = math.sqrt(z_squares / known)
        vectors[point, 5] = math.sqrt(difference_squares / known)


class FeatureEngine:
    """Rolling and exponentially weighted statistics of every series, in columns; long memory beside them."""

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        self.table = StateTable(
            {
                "ascending": Column(np.float64, config.window_points),
                "ranks": Column(np.uint8, config.window_points),
                "state": Column(np.float64, _STATE_WIDTH),
                "counter": Column(np.float64, counters.NUMBERS),
                "growth": Column(np.uint16, counters.GROWTHS),
                "gap": gaps.COLUMN,
            }
        )
        self.long_memory = LongMemory(config)

    def advance(self, placed: Placement, time_ms: Ints) -> FeatureBatch:
        """The features of the placed points at these times, each from what came before; then learn them."""
        points = len(placed.source)
        rows = np.empty((len(placed.series), FEATURES))
        vectors = np.empty((points, VECTOR_WIDTH))
        furthest = np.empty((points, len(KINDS)))
        has_history = np.empty(points, np.bool_)
        config = self._config
        changed, is_rate = np.zeros(len(placed.series), np.bool_), np.zeros(len(placed.series), np.bool_)
        if config.counters:
            placed = replace(placed, values=self._judged_by(placed, time_ms, changed, is_rate))
        past = self.long_memory.advance(placed, changed, time_ms, config.min_history_points)
        missing = np.empty(points, np.int64)
        gaps.advance(
            placed.first,
            placed.width,
            placed.row_start,
            placed.series,
            placed.values,
            self.table["gap"],
            past.oddness,
            missing,
        )
        _advance(
            placed.row_start,
            placed.series,
            placed.values,
            self.table["ascending"],
            self.table["ranks"],
            self.table["state"],
            changed,
            past.values,
            config.ewma_gain,
            float(config.long_memory_points),
            rows,
            vectors,
            furthest,
            has_history,
        )
        return FeatureBatch(
            placed.source,
            placed.row_start,
            rows,
            vectors,
            furthest,
            past.oddness,
            past.shares,
            past.evidence,
            past.known,
            past.marked,
            past.marks,
            has_history,
            is_rate,
            missing,
        )

    def _judged_by(self, placed: Placement, time_ms: Ints, changed: Bools, is_rate: Bools) -> Floats:
        """What there is to see of the values (m,): of a counter its rate."""
        out = np.empty(len(placed.series))
        numbers, growth = self.table["counter"], self.table["growth"]
        counters.advance(
            placed.row_start, placed.series, placed.values, time_ms, numbers, growth, out, changed, is_rate
        )
        return out
