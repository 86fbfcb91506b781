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
from service.features.engine import FeatureBatch
from service.features.window import Feature
from service.history.blocks import Firsts
from service.history.sources import Placement
from service.history.table import Column, StateTable
from service.kernels import borrowed, kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

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


@kernel
def _spread(row: Floats) -> float:
    """How far a value usually is from its level: in the window, or as the smoothed value wanders."""
    scale = _MAD_TO_SIGMA * row[Feature.MAD] if row[Feature.MAD] > 0.0 else row[Feature.STD]
    gap, times = row[Feature.EWMA] - row[Feature.MEAN], row[Feature.EWMA_Z]
    wander = abs(gap / times) if times != 0.0 else 0.0
    least = 1e-9 + 1e-6 * abs(row[Feature.MEDIAN])
    return float(max(scale, _FAR_FOR_SMOOTHED / _FAR * wander, least))


@kernel
def _now(level: Floats, row: Floats, is_rate: bool) -> float:
    """Where a value has settled: far from where it was on the average of the last ones, and now."""
    before, far = level[_BEFORE], _FAR * abs(level[_SPREAD])
    smoothed, newest = row[Feature.EWMA] - before, row[Feature.VALUE] - before
    if math.isnan(smoothed) or smoothed * newest <= 0.0 or is_rate != (level[_SPREAD] < 0.0):
        return float(before)
    return float(row[Feature.EWMA] if min(abs(smoothed), abs(newest)) > far > 0.0 else before)


@kernel
def _note(first: int, last: int, series: Ints, rows: Floats, is_rate: Bools, levels: Floats) -> None:
    """What is normal of a source's values (rows `first` to `last`) before a point that shows some of them."""
    levels[first:last, : _SPREAD + 1] = 0.0
    for v in range(len(series)):
        if not math.isnan(rows[v, Feature.MEDIAN]):
            spread = _spread(rows[v])
            levels[series[v], _BEFORE] = rows[v, Feature.MEDIAN]
            levels[series[v], _SPREAD] = -spread if is_rate[v] else spread


@kernel
def _settle(
    first: int, last: int, series: Ints, path: Floats, seen: float, own: Floats, levels: Floats
) -> tuple[bool, bool]:
    """Whether values of a point went from one level to another (`path`), and whether that may be refused.

    They did not where all are back from elsewhere. What is refused stays as it is, so that it does not
    depend on what happens meanwhile.
    """
    refused = _is_lately(seen, own[_REFUSED])
    moved, back = False, refused or (own[_OPENED] > 0.0 and _is_lately(seen, own[_SETTLED]))
    for v in range(len(series)):
        before, now, level = path[v, 0], path[v, 1], levels[series[v]]
        if now != before:
            moved = True
            back &= abs(now - level[_OLD]) < abs(now - level[_NEW])
    if moved and back:
        own[_OPENED] = 0.0
    if not moved or back:
        return False, False
    if not refused:
        levels[first:last, _OLD:] = 0.0
        for v in range(len(series)):
            levels[series[v], _OLD], levels[series[v], _NEW] = path[v, 0], path[v, 1]
    return True, not refused


@kernel
def _follow(
    source: Ints,
    first: Firsts,
    width: npt.NDArray[np.int32],
    row_start: Ints,
    series: Ints,
    rows: Floats,
    is_rate: Bools,
    seen: Floats,
    incident: Bytes,
    incident_offset: Ints,
    severity: Bytes,
    settled: Floats,
    levels: Floats,
    moved: Bools,
    path: Floats,
) -> None:
    """Note what opens; of what is resolved, whether it `moved` (n,), and its values' `path` (m, 2)."""
    settled, levels = borrowed(settled), borrowed(levels)
    for point in range(len(incident)):
        moved[point] = False
        if incident[point] != Incident.OPENED and incident[point] != Incident.RESOLVED:
            continue
        start, stop = row_start[point], row_start[point + 1]
        block, own = first[point, 0], settled[source[point]]
        its, of, rate = series[start:stop], rows[start:stop], is_rate[start:stop]
        if incident[point] == Incident.OPENED:
            _note(block, block + width[point], its, of, rate, levels)
            continue
        for v in range(len(its)):
            level = levels[its[v]]
            path[start + v, 0], path[start + v, 1] = level[_BEFORE], _now(level, of[v], rate[v])
        moved[point], may_be_refused = _settle(
            block, block + width[point], its, path[start:stop], seen[point], own, levels
        )
        if may_be_refused:
            own[_OPENED], own[_WORST] = incident_offset[point] + 1, severity[point]
            own[_SETTLED], own[_REFUSED] = seen[point], 0.0


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
        return away, {j: _moves(levels[_series(placed, j), _OLD:]) for j in np.flatnonzero(away).tolist()}

    def advance(self, placed: Placement, features: FeatureBatch, decided: DecisionBatch) -> Moves:
        """Note what opens; of what is resolved, which values have settled elsewhere."""
        moved, path = np.empty(len(placed.source), np.bool_), np.empty((len(placed.series), 2))
        _follow(
            placed.source,
            placed.first,
            placed.width,
            placed.row_start,
            placed.series,
            features.rows,
            features.is_rate,
            decided.pace.seen,
            decided.incident,
            decided.incident_offset,
            decided.severity,
            self.sources["settled"],
            self.values["levels"],
            moved,
            path,
        )
        start = placed.row_start
        return {j: _moves(path[start[j] : start[j + 1]]) for j in np.flatnonzero(moved).tolist()}

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


def _moves(paths: Floats) -> list[Move]:
    """Of the levels (k, 2) of values, before and after, those that differ."""
    return [Move(v, before, now) for v, (before, now) in enumerate(paths.tolist()) if before != now]
