"""FeatureEngine: what each value of a point is against its own past, and one vector for the whole point.

Everything is computed before the point is learned. Knows series rows and numbers, no source names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.features import rolling
from service.history.sources import Placement
from service.history.table import Column, StateTable
from service.kernels import kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class FeatureConfig(BaseModel):
    """How long a series' memory is and when it is long enough to judge by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_points: int = Field(128, ge=8, le=rolling.MAX_WINDOW)
    """Values of the rolling statistics (mean, std, median, MAD)."""
    min_history_points: int = Field(30, ge=8)
    """Values that a series must have shown before it is judged; below, its points are skipped."""
    ewma_gain: float = Field(0.1, gt=0, le=1)
    """Weight of the newest value in the exponentially weighted mean."""
    long_memory_points: int = Field(20_000, ge=100)
    """Memory of the scales that differences and the smoothed mean are measured by."""

    @model_validator(mode="after")
    def _history_fits_window(self) -> FeatureConfig:
        if self.min_history_points > self.window_points:
            raise ValueError("min_history_points must not exceed window_points")
        return self


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

# A point's vector, the same width for any number of values: for each kind of z the signed one that is
# furthest out among the values, then the root mean square over the values of the first and the last.
VECTOR_WIDTH = 6

_SEEN, _MEAN, _SQUARES, _EWMA, _EWMA_SQUARE, _LAST, _DIFFERENCE_SQUARE = range(7)
_STATE_WIDTH = 7

# Squares of larger numbers, summed over a window, would overflow.
_LARGEST = 1e140
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Features of `n` fresh points with `m` values between them, as of before each point was learned.

    `rows` is (m, FEATURES), NaN where a value is missing or its history too short; the rows of point j
    are `row_start[j]` to `row_start[j + 1]`. `vectors` is (n, VECTOR_WIDTH), each number in (-1, 1) and
    0 for a value that behaves as always; NaN where `has_history` is false.
    """

    source: Ints
    row_start: Ints
    rows: Floats
    vectors: Floats
    has_history: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.source)

    def part(self, start: int, stop: int) -> FeatureBatch:
        """Points `start` to `stop` as views; `row_start` still counts from the first row of the whole."""
        return FeatureBatch(
            self.source[start:stop],
            self.row_start[start : stop + 1],
            self.rows,
            self.vectors[start:stop],
            self.has_history[start:stop],
        )


@kernel
def _scaled(deviation: float, scale: float, typical: float) -> float:
    """Deviation in units of scale; a series that never moved gets a scale of a millionth of its level."""
    return deviation / max(scale, 1e-9 + 1e-6 * abs(typical))


@kernel
def _advance(
    series: Ints,
    values: Floats,
    ring: Floats,
    order: npt.NDArray[np.uint8],
    state: Floats,
    out: Floats,
    min_history: int,
    ewma_gain: float,
    long_memory: float,
) -> None:
    """Fill `out` (m, FEATURES) and learn, value by value."""
    window = ring.shape[1]
    for row in range(series.shape[0]):
        x = values[row]
        out[row, :] = np.nan
        if math.isnan(x):
            continue
        out[row, Feature.VALUE] = x
        x = min(max(x, -_LARGEST), _LARGEST)
        slot = series[row]
        s = state[slot]
        seen = int(s[_SEEN])
        count = min(seen, window)
        gain = max(1.0 / (seen + 1), 1.0 / long_memory)
        if seen == 0:
            ewma, difference, gap = x, 0.0, 0.0
        else:
            ewma = s[_EWMA] + ewma_gain * (x - s[_EWMA])
            difference = x - s[_LAST]
            gap = ewma - s[_MEAN]
        # The point itself counts in these two scales: a first move after long rest is then bounded by
        # the square root of the history's length instead of being infinite.
        ewma_square = s[_EWMA_SQUARE] + gain * (gap * gap - s[_EWMA_SQUARE])
        difference_square = s[_DIFFERENCE_SQUARE] + gain * (difference * difference - s[_DIFFERENCE_SQUARE])
        if seen >= min_history:
            mean = s[_MEAN]
            std = math.sqrt(s[_SQUARES] / (count - 1))
            middle = rolling.median(ring[slot], order[slot], count)
            mad = rolling.median_absolute_deviation(ring[slot], order[slot], count, middle)
            out[row, Feature.MEAN] = mean
            out[row, Feature.STD] = std
            out[row, Feature.Z_SCORE] = _scaled(x - mean, std, mean)
            out[row, Feature.MEDIAN] = middle
            out[row, Feature.MAD] = mad
            # With more than half the values equal the MAD is 0 and says nothing of the other half.
            out[row, Feature.ROBUST_Z] = _scaled(
                x - middle, _MAD_TO_SIGMA * mad if mad > 0.0 else std, middle
            )
            out[row, Feature.EWMA] = ewma
            out[row, Feature.EWMA_Z] = _scaled(gap, math.sqrt(ewma_square), mean)
            out[row, Feature.DIFFERENCE] = difference
            out[row, Feature.DIFFERENCE_Z] = _scaled(difference, math.sqrt(difference_square), mean)
        mean, squares = rolling.push_moments(ring[slot], seen, s[_MEAN], s[_SQUARES], x)
        rolling.push_value(ring[slot], order[slot], seen, x)
        s[_SEEN] = seen + 1
        s[_MEAN] = mean
        s[_SQUARES] = squares
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
def _vectors(row_start: Ints, rows: Floats, vectors: Floats, has_history: npt.NDArray[np.bool_]) -> None:
    for point in range(vectors.shape[0]):
        known = 0
        z = robust = ewma = difference = 0.0
        z_squares = difference_squares = 0.0
        for row in range(row_start[point], row_start[point + 1]):
            if math.isnan(rows[row, Feature.MEAN]):
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
            continue
        vectors[point, 0] = _squash(z)
        vectors[point, 1] = _squash(robust)
        vectors[point, 2] = _squash(ewma)
        vectors[point, 3] = _squash(difference)
        vectors[point, 4] = math.sqrt(z_squares / known)
        vectors[point, 5] = math.sqrt(difference_squares / known)


class FeatureEngine:
    """Rolling and exponentially weighted statistics of every series, in columns."""

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        self.table = StateTable(
            {
                "ring": Column(np.float64, config.window_points),
                "order": Column(np.uint8, config.window_points),
                "state": Column(np.float64, _STATE_WIDTH),
            }
        )

    def advance(self, placed: Placement) -> FeatureBatch:
        """The features of the placed points, each from what came before it; then learn them."""
        points = len(placed.source)
        rows = np.empty((len(placed.series), FEATURES))
        vectors = np.empty((points, VECTOR_WIDTH))
        has_history = np.empty(points, np.bool_)
        config = self._config
        _advance(
            placed.series,
            placed.values,
            self.table["ring"],
            self.table["order"],
            self.table["state"],
            rows,
            config.min_history_points,
            config.ewma_gain,
            float(config.long_memory_points),
        )
        _vectors(placed.row_start, rows, vectors, has_history)
        return FeatureBatch(placed.source, placed.row_start, rows, vectors, has_history)
