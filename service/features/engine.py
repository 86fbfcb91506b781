"""FeatureEngine: what each value of a point is against its own past, and one vector for the whole point.

Everything is computed before the point is learned. Knows series rows and numbers, no source names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from service.features import counters, gaps, window
from service.features.config import FeatureConfig
from service.features.deviations import LAGS
from service.features.long_memory import LongMemory
from service.features.window import Feature, Windows
from service.history.sources import Placement
from service.history.table import Column, StateTable
from service.kernels import borrowed, inlined, kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


KINDS = (Feature.Z_SCORE, Feature.ROBUST_Z, Feature.EWMA_Z, Feature.DIFFERENCE_Z)
"""The kinds of z, in the order of `FeatureBatch.furthest`."""

# A point's vector, the same width for any number of values: for each kind of z the signed one that is
# furthest out among the values, then the root mean square over the values of the first and the last.
VECTOR_WIDTH = 6


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


@inlined
def _squash(z: float) -> float:
    """To (-1, 1), with most room for the usual: 3 becomes a half."""
    return z / (3.0 + abs(z))


@inlined
def _further(furthest: float, z: float) -> float:
    return z if abs(z) > abs(furthest) else furthest


@kernel
def _summarise(
    row_start: Ints, rows: Floats, judged: Bools, vectors: Floats, furthest: Floats, has_history: Bools
) -> None:
    """One vector for each whole point from the rows of its values, and what its values have furthest out."""
    rows = borrowed(rows)
    for point in range(vectors.shape[0]):
        known = 0
        z = robust = ewma = difference = 0.0
        z_squares = difference_squares = 0.0
        for row in range(row_start[point], row_start[point + 1]):
            if not judged[row]:
                continue
            known += 1
            z = _further(z, rows[row, Feature.Z_SCORE])
            robust = _further(robust, rows[row, Feature.ROBUST_Z])
            ewma = _further(ewma, rows[row, Feature.EWMA_Z])
            difference = _further(difference, rows[row, Feature.DIFFERENCE_Z])
            z_squares += _squash(rows[row, Feature.Z_SCORE]) ** 2
            difference_squares += _squash(rows[row, Feature.DIFFERENCE_Z]) ** 2
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
        with_lags = config.recurrence_values > 0 or config.signs_of_change
        self.table = StateTable(
            {
                "ring": Column(np.float32, max(config.window_points, LAGS if with_lags else 0)),
                "order": Column(np.uint8, config.window_points),
                "window": Column(np.float64, window.NUMBERS),
                "counter": Column(np.float64, counters.NUMBERS),
                "growth": Column(np.uint16, counters.GROWTHS),
                "gap": gaps.COLUMN,
            }
        )
        self.long_memory = LongMemory(config)

    def advance(self, placed: Placement, time_ms: Ints) -> FeatureBatch:
        """The features of the placed points at these times, each from what came before; then learn them."""
        points = len(placed.source)
        vectors = np.empty((points, VECTOR_WIDTH))
        furthest = np.empty((points, len(KINDS)))
        has_history = np.empty(points, np.bool_)
        config = self._config
        changed, is_rate = np.zeros(len(placed.series), np.bool_), np.zeros(len(placed.series), np.bool_)
        if config.counters:
            placed = replace(placed, values=self._judged_by(placed, time_ms, changed, is_rate))
        past = self.long_memory.advance(placed, changed, time_ms, config.min_history_points, self._windows())
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
        _summarise(placed.row_start, past.rows, past.values, vectors, furthest, has_history)
        return FeatureBatch(
            placed.source,
            placed.row_start,
            past.rows,
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

    def _windows(self) -> Windows:
        table, config = self.table, self._config
        return Windows(
            table["ring"], table["order"], table["window"], config.ewma_gain, float(config.long_memory_points)
        )

    def _judged_by(self, placed: Placement, time_ms: Ints, changed: Bools, is_rate: Bools) -> Floats:
        """What there is to see of the values (m,): of a counter its rate."""
        out = np.empty(len(placed.series))
        numbers, growth = self.table["counter"], self.table["growth"]
        counters.advance(
            placed.row_start, placed.series, placed.values, time_ms, numbers, growth, out, changed, is_rate
        )
        return out
