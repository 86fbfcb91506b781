"""FeatureEngine: what each value of a point is against its own past, and one vector for the whole point.

Everything is computed before the point is learned. Knows series rows and numbers, no source names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.features import changes, deviations, joint, rolling
from service.features.deviations import DEVIATIONS, Deviation
from service.features.zones import offsets_ms, zone
from service.history.sources import Placement
from service.history.table import Column, StateTable
from service.kernels import borrowed, kernel, prefetch

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
    recurrence_values: int = Field(4, ge=0, le=1024)
    """Sources of up to so many values are asked whether their last points happened before; 0 asks none."""
    joint_values: int = Field(40, ge=0, le=1024)
    """So many of a source's values are judged by how they fit together; 0 judges each alone."""
    signs_of_change: bool = True
    """Whether incidents of sources of one value are judged by seven signs of change, or by scores alone."""
    time_zone: str = "UTC"
    """Where the sources' days begin, by its name in the IANA time zone database."""

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        zone(name)
        return name

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


# Columns of a source's row, and how its joined oddness is smoothed.
_WIDTH, _POINTS, _HELD, _SLOW = range(4)
_PER_SOURCE = 4
_HOLD, _SLOW_GAIN = 0.8, 0.05
_JOINED_FROM = 2.5
_JOINED_UNIT = 4.25  # so that 6.4 is about as rare in sources of many values as in those of one
_SOFT = 20.0

_DAY_MS = 86_400_000


class _Tables(NamedTuple):
    """What the kernels of long memory see of the state."""

    per_source: Floats
    numbers: Floats
    ring: npt.NDArray[np.float32]
    distances: npt.NDArray[np.float32]
    step_distances: npt.NDArray[np.float32]
    covariance: npt.NDArray[np.float32]
    precision: npt.NDArray[np.float32]
    residuals: Floats
    changes: Floats
    recent: Floats
    offs: npt.NDArray[np.float32]
    slots: npt.NDArray[np.float32]
    visits: npt.NDArray[np.uint8]
    bins: npt.NDArray[np.uint32]
    tails: Floats


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Features of `n` fresh points with `m` values between them, as of before each point was learned.

    `rows` is (m, FEATURES), NaN where a value is missing or its history too short; the rows of point j
    are `row_start[j]` to `row_start[j + 1]`. `vectors` is (n, VECTOR_WIDTH), each number in (-1, 1) and
    0 for a value that behaves as always; `furthest` (n, KINDS) the largest absolute z of each kind among
    the point's values. `oddness` (n,) is how far the point lies from its source's whole past, `shares` (m,)
    each value's part in it, `evidence` (n,) what speaks for an incident of a source of one value, NaN for
    others. All are NaN where `has_history` is false.
    """

    source: Ints
    row_start: Ints
    rows: Floats
    vectors: Floats
    furthest: Floats
    oddness: Floats
    shares: Floats
    evidence: Floats
    has_history: npt.NDArray[np.bool_]

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
            self.has_history[start:stop],
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
    min_history: int,
    ewma_gain: float,
    long_memory: float,
) -> bool:
    """Write the features (FEATURES,) of one value of a series, then learn it; whether it could be judged."""
    if math.isnan(x):
        out[:] = np.nan
        return False
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
    judged = seen >= min_history
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
    return judged


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
    min_history: int,
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
            if not _advance_value(
                values[row],
                ascending[slot],
                ranks[slot],
                state[slot],
                out,
                min_history,
                ewma_gain,
                long_memory,
            ):
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


@kernel
def _join(
    deviations_: Floats,
    residuals: Floats,
    related: bool,
    with_recurrence: bool,
    values: Floats,
    shares: Floats,
) -> float:
    """Oddness of the values (k,) of a point, missing ones left out, and each one's part in it.

    A value's part is the root mean square of its deviations, softly bounded; what they exceed 2.5 by adds
    up, so that a fault of many values is odder than that of one and many quiet values drown none.
    """
    k, known, excess, usual = values.shape[0], 0, 0.0, 0.0
    for v in range(k):
        shares[v] = 0.0
        if math.isnan(values[v]):
            continue
        total, kinds = 0.0, 3
        for kind in range(3):
            total += _soft(deviations_[v, kind]) ** 2
        if related:
            total += _soft(residuals[v, 0]) ** 2 + _soft(residuals[v, 1]) ** 2
            kinds += 2
        part = math.sqrt(total / kinds)
        if with_recurrence:
            again = _soft(deviations_[v, Deviation.RECURRENCE]) ** 2
            again += _soft(deviations_[v, Deviation.STEP_RECURRENCE]) ** 2
            part = max(part, math.sqrt(0.5 * again))
        shares[v] = part * part
        excess += max(part - _JOINED_FROM, 0.0)
        usual += part
        known += 1
    if known == 0:
        return np.nan
    return excess / math.sqrt(k) + 0.01 * usual / known


@kernel
def _soft(z: float) -> float:
    return z / (1.0 + z / _SOFT)


@kernel
def _deviate(
    source: Ints,
    first_series: Ints,
    row_start: Ints,
    series: Ints,
    values: Floats,
    day_ms: Ints,
    has_history: npt.NDArray[np.bool_],
    recurrence_values: int,
    joint_values: int,
    signs_of_change: bool,
    tables: _Tables,
    oddness: Floats,
    shares: Floats,
    evidence: Floats,
) -> None:
    """`oddness`, `shares` and `evidence` of each point, which is then learned."""
    numbers, rings = borrowed(tables.numbers), borrowed(tables.ring)
    distances, step_distances = borrowed(tables.distances), borrowed(tables.step_distances)
    covariance, precision = borrowed(tables.covariance), borrowed(tables.precision)
    residual_numbers, per_source = borrowed(tables.residuals), borrowed(tables.per_source)
    change_numbers, recent, offs = borrowed(tables.changes), borrowed(tables.recent), borrowed(tables.offs)
    slots, visits = borrowed(tables.slots), borrowed(tables.visits)
    bins, tails = borrowed(tables.bins), borrowed(tables.tails)
    most = 0
    for point in range(source.shape[0]):
        most = max(most, row_start[point + 1] - row_start[point])
    found = np.empty((most, DEVIATIONS))
    residuals = np.zeros((max(most, joint_values), 2))
    apart = np.zeros((joint_values, 2))
    signed = np.zeros(joint_values)
    work = np.empty((joint_values, joint_values))
    signs = np.empty(changes.SIGNS)
    for point in range(source.shape[0]):
        start, stop = row_start[point], row_start[point + 1]
        own = per_source[source[point]]
        for row in range(start, stop):
            own[_WIDTH] = max(own[_WIDTH], series[row] - first_series[point] + 1)
        width = int(own[_WIDTH])
        with_recurrence = width <= recurrence_values
        related = min(width, joint_values) if width > 1 else 0
        signed[:related] = 0.0
        evidence[point] = np.nan
        recent_mean = halted = 0.0
        for row in range(start, stop):
            x = values[row]
            if math.isnan(x):
                continue
            x = min(max(x, -_LARGEST), _LARGEST)
            slot = series[row]
            halted = max(halted, deviations.standstill(x, numbers[slot]))
            distance, recent_mean = deviations.deviate(
                x,
                numbers[slot],
                rings[slot],
                distances[slot],
                step_distances[slot],
                with_recurrence,
                found[row - start],
            )
            if slot - first_series[point] < related:
                signed[slot - first_series[point]] = joint.bounded(distance)
            if width == 1 and signs_of_change:
                evidence[point] = changes.evidence(
                    x,
                    day_ms[point] // changes.SLOT_MS,
                    change_numbers[slot],
                    recent[slot],
                    offs[slot],
                    slots[slot],
                    visits[slot],
                    bins[slot],
                    tails[slot],
                    signs,
                )
        if width == 1:
            shares[start:stop] = 1.0
            oddness[point] = np.nan
            if stop > start and not math.isnan(values[start]):
                oddness[point] = deviations.alone(found[0], recent_mean, with_recurrence)
        else:
            judged = False
            if related > 0:
                first = first_series[point]
                judged = joint.relate(
                    signed,
                    related,
                    int(own[_POINTS]),
                    covariance[first : first + related],
                    precision[first : first + related],
                    residual_numbers[first : first + related],
                    work,
                    apart,
                )
                own[_POINTS] += 1.0
                for row in range(start, stop):
                    within = series[row] - first
                    for kind in range(2):
                        residuals[row - start, kind] = apart[within, kind] if within < related else 0.0
            joined = _join(
                found, residuals, judged, with_recurrence, values[start:stop], shares[start:stop]
            )
            oddness[point] = joined
            if not math.isnan(joined):
                own[_HELD] = max(joined, _HOLD * own[_HELD])
                own[_SLOW] += _SLOW_GAIN * (joined - own[_SLOW])
                oddness[point] = (0.5 * joined + 0.25 * own[_HELD] + 0.25 * own[_SLOW]) * _JOINED_UNIT
        if with_recurrence:
            oddness[point] = max(oddness[point], halted)
        if not has_history[point]:
            oddness[point] = evidence[point] = np.nan


class FeatureEngine:
    """Rolling, exponentially weighted and long statistics of every series, in columns."""

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        lags = deviations.LAGS if config.recurrence_values else 1
        signs = config.signs_of_change
        self.table = StateTable(
            {
                "ascending": Column(np.float64, config.window_points),
                "ranks": Column(np.uint8, config.window_points),
                "state": Column(np.float64, _STATE_WIDTH),
                "numbers": Column(np.float64, deviations.NUMBERS),
                "ring": Column(np.float32, lags),
                "distances": Column(np.float32, lags),
                "step_distances": Column(np.float32, lags),
                "covariance": Column(np.float32, max(config.joint_values, 1)),
                "precision": Column(np.float32, max(config.joint_values, 1)),
                "residuals": Column(np.float64, joint.NUMBERS),
                "changes": Column(np.float64, changes.NUMBERS if signs else 1),
                "recent": Column(np.float64, changes.SPAN if signs else 1),
                "offs": Column(np.float32, changes.LONG if signs else 1),
                "slots": Column(np.float32, changes.SLOTS if signs else 1),
                "visits": Column(np.uint8, changes.SLOTS if signs else 1),
                "bins": Column(np.uint32, changes.SIGNS * changes.BINS if signs else 1),
                "tails": Column(np.float64, changes.SIGNS * changes.TAIL if signs else 1),
            }
        )
        self.source_table = StateTable({"joined": Column(np.float64, _PER_SOURCE)})

    def advance(self, placed: Placement, time_ms: Ints) -> FeatureBatch:
        """The features of the placed points at these times, each from what came before it; then learn them."""
        points = len(placed.source)
        rows = np.empty((len(placed.series), FEATURES))
        vectors = np.empty((points, VECTOR_WIDTH))
        furthest = np.empty((points, len(KINDS)))
        has_history = np.empty(points, np.bool_)
        config = self._config
        _advance(
            placed.row_start,
            placed.series,
            placed.values,
            self.table["ascending"],
            self.table["ranks"],
            self.table["state"],
            config.min_history_points,
            config.ewma_gain,
            float(config.long_memory_points),
            rows,
            vectors,
            furthest,
            has_history,
        )
        oddness, evidence = np.empty(points), np.empty(points)
        shares = np.empty(len(placed.series))
        _deviate(
            placed.source,
            placed.first_series,
            placed.row_start,
            placed.series,
            placed.values,
            (time_ms + offsets_ms(config.time_zone, time_ms)) % _DAY_MS,
            has_history,
            config.recurrence_values,
            config.joint_values,
            config.signs_of_change,
            self._long_memory(),
            oddness,
            shares,
            evidence,
        )
        return FeatureBatch(
            placed.source, placed.row_start, rows, vectors, furthest, oddness, shares, evidence, has_history
        )

    def _long_memory(self) -> _Tables:
        """The columns that the kernel of long memory works on."""
        columns = {name: self.table[name] for name in _Tables._fields[1:]}
        signs = changes.SIGNS if self._config.signs_of_change else 1
        for name in ("bins", "tails"):
            columns[name] = columns[name].reshape(len(self.table), signs, -1)
        return _Tables(per_source=self.source_table["joined"], **columns)
