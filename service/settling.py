"""Settling: a source whose incident is over, but whose values are not back where they were before it.

When an incident opens, the level of each value before it is noted; when it is resolved, the present levels
are compared with those. What has settled elsewhere is the new normal, and that is said. Whoever does not take
it for one refuses it: from then on points that lie nearer to the new level than to the one before are
anomalies, however used to it everything else has become.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.decision import DecisionBatch, Incident, Severity
from service.features.engine import Feature, FeatureBatch
from service.history.sources import Placement
from service.history.table import Column, StateTable
from service.kernels import borrowed, kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_REVERSIBLE_POINTS = 5000.0  # so long a new level may be refused, and so long it then stays refused

_FAR = 3.0  # spreads
_FAR_FOR_SMOOTHED = 4.0  # times the usual distance of the smoothed value from the window's mean
_MAD_TO_SIGMA = 1.4826

# Of a value: its level and spread before the latest incident (the spread below 0 where they are of a rate);
# where it was before it settled, and where it did; equal where it did not.
_BEFORE, _SPREAD, _OLD, _NEW = range(4)
# Of a source: the offset that opened the incident after which it settled, plus one, 0 for none; how bad that
# was; points seen when it settled, and when that was refused, 0 for never.
_OPENED, _WORST, _SETTLED, _REFUSED = range(4)


class Move(NamedTuple):
    """A value (its place among the point's) that went from one level to another."""

    value: int
    before: float
    now: float


Moves = Mapping[int, Sequence[Move]]
"""By fresh point of a stretch."""


@kernel
def _is_lately(seen: float, then: float) -> bool:
    return then > 0.0 and seen - then <= _REVERSIBLE_POINTS


@kernel
def _find_away(
    source: Ints,
    seen: Floats,
    row_start: Ints,
    series: Ints,
    values: Floats,
    settled: Floats,
    levels: Floats,
    away: Bools,
) -> None:
    """Which points (n,) lie nearer to what was refused than to what was before."""
    settled, levels = borrowed(settled), borrowed(levels)
    for point in range(source.shape[0]):
        if not _is_lately(seen[point], settled[source[point], _REFUSED]):
            continue
        for row in range(row_start[point], row_start[point + 1]):
            level, x = levels[series[row]], values[row]
            if abs(x - level[_NEW]) < abs(x - level[_OLD]):  # never of NaN
                away[point] = True


class Settling:
    """The levels before incidents, where sources settled after them, and what of that was refused."""

    def __init__(self) -> None:
        self.sources = StateTable({"settled": Column(np.float64, 4)})
        self.values = StateTable({"levels": Column(np.float64, 4)})
        self._refused = False  # whether any source may have refused something: until then no point looks

    def restored(self) -> None:
        """To be called once the tables were restored."""
        self._refused = bool((self.sources["settled"][:, _REFUSED] > 0.0).any())

    def away(self, placed: Placement, features: FeatureBatch, seen: Floats) -> tuple[Bools, Moves]:
        """Which points (n,) lie at a level that was refused, and where their values went from and to."""
        away = np.zeros(len(placed.source), np.bool_)
        if not self._refused:
            return away, {}
        values = np.ascontiguousarray(features.rows[:, Feature.VALUE])
        settled, levels = self.sources["settled"], self.values["levels"]
        _find_away(placed.source, seen, placed.row_start, placed.series, values, settled, levels, away)
        return away, {j: _moves(levels[_series(placed, j)]) for j in np.flatnonzero(away).tolist()}

    def advance(self, placed: Placement, features: FeatureBatch, decided: DecisionBatch) -> Moves:
        """Note what opens; of what is resolved, which values have settled elsewhere."""
        moves = {}
        changes = (decided.incident == Incident.OPENED) | (decided.incident == Incident.RESOLVED)
        for j in np.flatnonzero(changes).tolist():
            if decided.incident[j] == Incident.OPENED:
                self._note(placed, features, j)
            elif moved := self._settle(placed, features, decided, j):
                moves[j] = moved
        return moves

    def _note(self, placed: Placement, features: FeatureBatch, j: int) -> None:
        """What is normal of the values of a point before it."""
        levels, first = self.values["levels"], int(placed.first[j, 0])
        levels[first : first + placed.rows[j], : _SPREAD + 1] = 0.0
        own = slice(features.row_start[j], features.row_start[j + 1])
        rows, is_rate = features.rows[own].tolist(), features.is_rate[own].tolist()
        for slot, row, rate in zip(placed.series[own].tolist(), rows, is_rate, strict=True):
            if not math.isnan(row[Feature.MEDIAN]):
                spread = _spread(row)
                levels[slot, : _SPREAD + 1] = row[Feature.MEDIAN], -spread if rate else spread

    def _settle(
        self, placed: Placement, features: FeatureBatch, decided: DecisionBatch, j: int
    ) -> list[Move]:
        """Which values of a point are far from where they were; nothing where they are back from elsewhere.

        What is refused stays as it is, so that it does not depend on what happens meanwhile.
        """
        source, levels = self.sources["settled"][placed.source[j]], self.values["levels"]
        own = slice(features.row_start[j], features.row_start[j + 1])
        present = levels[placed.series[own]]
        rows, is_rate = features.rows[own].tolist(), features.is_rate[own].tolist()
        now = [
            _now(level, row, rate) for level, row, rate in zip(present.tolist(), rows, is_rate, strict=True)
        ]
        moves = [
            Move(v, before, after)
            for v, (before, after) in enumerate(zip(present[:, _BEFORE].tolist(), now, strict=True))
            if before != after
        ]
        seen = float(decided.pace.seen[j])
        refused = _is_lately(seen, source[_REFUSED])
        lately = refused or (source[_OPENED] > 0.0 and _is_lately(seen, source[_SETTLED]))
        if lately and all(abs(to - present[v, _OLD]) < abs(to - present[v, _NEW]) for v, _, to in moves):
            source[_OPENED] = 0.0 if moves else source[_OPENED]
            return []
        if refused or not moves:
            return moves
        first = int(placed.first[j, 0])
        levels[first : first + placed.rows[j], _OLD:] = 0.0
        levels[placed.series[own], _OLD], levels[placed.series[own], _NEW] = present[:, _BEFORE], now
        source[:] = decided.incident_offset[j] + 1, decided.severity[j], seen, 0.0
        return moves

    # What people say.

    def refuse(self, slot: int, seen: float, anomaly_offset: int | None) -> tuple[int, Severity] | None:
        """Refuse the level that a source has settled at lately, if any, unless an earlier incident is meant.

        Returns the offset that opened the incident which goes on with that, and how bad it was.
        """
        own = self.sources["settled"][slot]
        opened = int(own[_OPENED]) - 1
        is_meant = anomaly_offset is None or anomaly_offset >= opened
        if opened < 0 or not is_meant or not _is_lately(seen, own[_SETTLED]):
            return None
        own[_OPENED], own[_REFUSED] = 0.0, seen
        self._refused = True
        return opened, Severity(int(own[_WORST]))

    def allow(self, slot: int) -> None:
        """What was refused is no longer."""
        self.sources["settled"][slot, _REFUSED] = 0.0


def _series(placed: Placement, j: int) -> Ints:
    return placed.series[placed.row_start[j] : placed.row_start[j + 1]]


def _moves(levels: Floats) -> list[Move]:
    return [Move(v, *level) for v, level in enumerate(levels[:, _OLD:].tolist()) if level[0] != level[1]]


def _now(level: Sequence[float], row: Sequence[float], is_rate: bool) -> float:
    """Where a value has settled: far from where it was on the average of the last ones, and now."""
    before, far = level[_BEFORE], _FAR * abs(level[_SPREAD])
    smoothed, newest = row[Feature.EWMA] - before, row[Feature.VALUE] - before
    is_far = min(abs(smoothed), abs(newest)) > far > 0.0 and smoothed * newest > 0.0
    same_unit = is_rate == (level[_SPREAD] < 0.0)
    return row[Feature.EWMA] if is_far and same_unit else before


def _spread(row: Sequence[float]) -> float:
    """How far a value usually is from its level: in the window, or as the smoothed value wanders."""
    scale = _MAD_TO_SIGMA * row[Feature.MAD] if row[Feature.MAD] > 0.0 else row[Feature.STD]
    gap, times = row[Feature.EWMA] - row[Feature.MEAN], row[Feature.EWMA_Z]
    wander = abs(gap / times) if times != 0.0 else 0.0
    return max(scale, _FAR_FOR_SMOOTHED / _FAR * wander, 1e-9 + 1e-6 * abs(row[Feature.MEDIAN]))
