"""Kernels that judge placed points by all that is known of their values and sources, and learn them.

They put together what those beside them know of one value (`window`, `deviations`, `changes`), of all values
of a source (`joint`, `several`) and of a name (`cohorts`). A point's values are walked one after the other,
while what is kept of those to come is brought from memory.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.features import changes, cohorts, deviations, joint, octaves, several, window
from service.features.changes import SignTables
from service.features.cohorts import CohortRows
from service.features.days import is_off
from service.features.deviations import DEVIATIONS
from service.features.marks import MARKS, is_marked, mark, mark_signs
from service.features.window import FEATURES, Windows
from service.history.blocks import Firsts
from service.kernels import borrowed, inlined, kernel, prefetch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int32]

_SERIES, _SIGNS, _RELATIONS = range(3)  # kinds of blocks, in the order of `LongMemory.kinds`
_AHEAD = 2  # points whose rows are on their way from memory
_CELLS_A_LINE = 16
_HALTING_VALUES = 4  # a source of more may well have one that seldom changes


class Points(NamedTuple):
    """The placed points, and what else is known of them: see `Placement` and `LongMemory.advance`."""

    source: Ints
    first: Firsts
    rows: Counts
    width: Counts
    row_start: Ints
    series: Ints
    names: npt.NDArray[np.uint64]
    values: Floats
    changed: Bools
    local_ms: Ints


class Ways(NamedTuple):
    """How they are to be judged."""

    min_history: int
    early_history: int
    recurrence_values: int
    joint_values: int
    signs_of_change: bool
    cohorts: bool
    holidays: Ints


class Tables(NamedTuple):
    """What the kernels see of the state."""

    windows: Windows
    numbers: Floats
    signs: SignTables
    per_source: Floats
    residuals: Floats
    covariance: npt.NDArray[np.float32]
    precision: npt.NDArray[np.float32]
    cohorts: CohortRows


class Room(NamedTuple):
    """Arrays to work in: a kernel that made them could lend them to no other without counting references."""

    found: Floats
    residuals: Floats
    apart: Floats
    signed: Floats
    square: Floats
    nowhere: Floats
    signs: Floats
    changes: Floats
    past: npt.NDArray[np.float32]

    @classmethod
    def of(cls, most: int, joint_values: int, past: int) -> Room:
        """For points of up to so many values, of which so many are remembered."""
        return cls(
            np.empty((most, DEVIATIONS)),
            np.zeros((max(most, joint_values), 2)),
            np.zeros((joint_values, 2)),
            np.zeros(joint_values),
            np.empty((joint_values, joint_values)),
            np.zeros(2),
            np.empty(changes.SIGNS),
            np.zeros(octaves.ROOM),
            np.empty(past + 1, np.float32),
        )


class Judged(NamedTuple):
    """What is known of n points with m values: see `FeatureBatch`; `values` (m,) says which were judged."""

    rows: Floats
    values: Bools
    known: Floats
    oddness: Floats
    shares: Floats
    evidence: Floats
    marked: Bools
    marks: Floats

    @classmethod
    def of(cls, points: int, values: int) -> Judged:
        """Room for it."""
        return cls(
            np.empty((values, FEATURES)),
            np.empty(values, np.bool_),
            np.empty(points),
            np.empty(points),
            np.empty(values),
            np.empty(points),
            np.empty(points, np.bool_),
            np.empty((values, MARKS)),
        )


@inlined
def _related(width: int, ways: Ways) -> int:
    """How many values of a source of so many are related to each other."""
    return min(width, ways.joint_values) if width > 1 else 0


@inlined
def _side(point: int, points: Points, ways: Ways) -> int:
    """Rows and columns that the source's matrices have."""
    return min(int(points.rows[point]), ways.joint_values)


@kernel
def _unrelate(value: int, side: int, cells: npt.NDArray[np.float32]) -> None:
    """Clear what a (side, side) matrix holds of one value and the others."""
    for other in range(side):
        cells[value * side + other] = cells[other * side + value] = 0.0


@inlined
def _forget(row: int, point: int, points: Points, ways: Ways, tables: Tables) -> None:
    """Begin a value anew: its past is of another unit."""
    slot, width, side = points.series[row], int(points.width[point]), _side(point, points, ways)
    tables.numbers[slot, :], tables.residuals[slot, :] = 0.0, 0.0
    window.forget(slot, tables.windows)
    if width == 1 and ways.signs_of_change:
        changes.forget(points.first[point, _SIGNS], tables.signs)
    within = slot - points.first[point, _SERIES]
    if within < _related(width, ways):
        cells = int(points.first[point, _RELATIONS])
        _unrelate(within, side, tables.covariance[cells : cells + side * side])
        _unrelate(within, side, tables.precision[cells : cells + side * side])


@inlined
def _ask_for_source(point: int, points: Points, ways: Ways, tables: Tables) -> None:
    """Have what is kept of a point's source brought from memory."""
    prefetch(tables.per_source, points.source[point])
    if points.width[point] > 1 and ways.joint_values > 0:
        cells = points.first[point, _RELATIONS]
        for cell in range(cells, cells + _side(point, points, ways) ** 2, _CELLS_A_LINE):
            prefetch(tables.covariance, cell)
            prefetch(tables.precision, cell)
    if points.width[point] == 1 and ways.signs_of_change:
        changes.ask_for(points.first[point, _SIGNS], tables.signs)


@inlined
def _ask_for_value(slot: int, wide: bool, tables: Tables) -> None:
    """Have what is kept of a value brought from memory."""
    prefetch(tables.numbers, slot)
    if wide:
        prefetch(tables.residuals, slot)
    window.ask_for(slot, tables.windows)


@inlined
def _advance_value(
    row: int, point: int, points: Points, ways: Ways, tables: Tables, room: Room, judged: Judged
) -> tuple[float, float]:
    """Judge one value of a point by its own past, which learns it; `room.found` gets its deviations.

    Returns how odd it is that it stands still, and its oddness against the recent past.
    """
    windows, past, slot = tables.windows, room.past, points.series[row]
    x = min(max(points.values[row], -window.LARGEST), window.LARGEST)
    width, s = int(points.width[point]), tables.numbers[slot]
    within, place = slot - points.first[point, _SERIES], row - points.row_start[point]
    if points.changed[row]:
        _forget(row, point, points, ways, tables)
    seen, last = int(s[deviations.SEEN]), s[deviations.LAST]
    anchor = s[deviations.ANCHOR] if seen > 0 else x
    if ways.cohorts and seen == 0:
        cohorts.begin(tables.cohorts, points.names[row], s)
    has_history = seen >= (ways.early_history if s[deviations.PRIOR] > 0.0 else ways.min_history)
    judged.values[row] = has_history
    judged.known[point] = max(judged.known[point], seen + s[deviations.PRIOR])
    window.advance(
        points.values[row], x, anchor, last, seen, has_history, slot, windows, past, judged.rows[row]
    )
    nearest = nearest_steps = 0.0
    if width <= ways.recurrence_values:
        nearest, nearest_steps = deviations.recurrence(seen, past)
    halted = deviations.standstill(x, s)
    off, recent_mean = deviations.deviate(x, s, nearest, nearest_steps, room.found[place])
    if ways.cohorts and cohorts.is_lesson(seen + 1):
        cohorts.learn(tables.cohorts, points.names[row], s)
    if within < _related(width, ways):
        room.signed[within] = joint.bounded(off)
    with_signs = width == 1 and ways.signs_of_change
    if with_signs:
        half_hour = points.local_ms[point] // changes.SLOT_MS
        judged.evidence[point] = changes.evidence(
            x - last if seen > 0 else 0.0,
            window.distance(x, anchor),
            half_hour,
            is_off(half_hour // changes.SLOTS, ways.holidays),
            seen,
            past,
            points.first[point, _SIGNS],
            tables.signs,
            room.signs,
            room.changes,
        )
    if window.is_far(seen, slot, windows):
        s[deviations.ANCHOR] = x
        window.anchor_by(x - anchor, seen, slot, windows, past)
        if with_signs:
            changes.anchor_by(x - anchor, past, points.first[point, _SIGNS], tables.signs)
    return halted, recent_mean


@inlined
def _relate(point: int, points: Points, ways: Ways, tables: Tables, room: Room) -> bool:
    """How the point's values fit together, which is learned, to `room.residuals`; whether that is known."""
    related = _related(int(points.width[point]), ways)
    if related == 0:
        return False
    own, side = tables.per_source[points.source[point]], _side(point, points, ways)
    cells, first = int(points.first[point, _RELATIONS]), int(points.first[point, _SERIES])
    known = joint.relate(
        room.signed,
        related,
        int(own[several.POINTS]),
        tables.covariance[cells : cells + side * side].reshape(side, side),
        tables.precision[cells : cells + side * side].reshape(side, side),
        tables.residuals[first : first + related],
        room.square,
        room.apart,
    )
    own[several.POINTS] += 1.0
    start = points.row_start[point]
    for row in range(start, points.row_start[point + 1]):
        within = points.series[row] - first
        for kind in range(2):
            room.residuals[row - start, kind] = room.apart[within, kind] if within < related else 0.0
    return known


@kernel
def advance(points: Points, ways: Ways, tables: Tables, room: Room, judged: Judged) -> None:
    """What `LongMemory.advance` tells of each point, which is then learned."""
    points, ways, tables = borrowed(points), borrowed(ways), borrowed(tables)
    room, judged = borrowed(room), borrowed(judged)
    row_start, values, width_of = points.row_start, points.values, points.width
    for point in range(len(points.source)):
        start, stop, width = row_start[point], row_start[point + 1], int(width_of[point])
        coming = min(point + _AHEAD, len(points.source) - 1)
        rows_ahead = row_start[coming] - start
        _ask_for_source(coming, points, ways, tables)
        with_recurrence = width <= ways.recurrence_values
        room.signed[: _related(width, ways)] = 0.0
        judged.evidence[point] = np.nan
        recent_mean = halted = judged.known[point] = 0.0
        has_history = False
        for row in range(start, stop):
            ahead = row + rows_ahead
            if ahead < row_start[coming + 1]:  # one at a time: memory answers only so many at once
                _ask_for_value(points.series[ahead], width_of[coming] > 1, tables)
            if math.isnan(values[row]):
                judged.values[row], judged.rows[row, :] = False, np.nan
                continue
            still, recent_mean = _advance_value(row, point, points, ways, tables, room, judged)
            halted = max(halted, still)
            has_history |= judged.values[row]
        fitting = _relate(point, points, ways, tables, room)
        if width == 1:
            judged.shares[start:stop] = 1.0
            oddness = np.nan
            if stop > start and not math.isnan(values[start]):
                oddness = deviations.alone(room.found[0], recent_mean, with_recurrence)
        else:
            joined = several.join(
                room.found,
                room.residuals,
                fitting,
                with_recurrence,
                values[start:stop],
                judged.shares[start:stop],
            )
            oddness = several.oddness_of(joined, width, tables.per_source[points.source[point]])
        if width <= max(ways.recurrence_values, _HALTING_VALUES) and halted > oddness:
            oddness = halted
        if not has_history:
            oddness = judged.evidence[point] = np.nan
        judged.oddness[point] = oddness
        judged.marked[point] = is_marked(oddness, judged.evidence[point], width)
        if judged.marked[point]:
            for row in range(start, stop):
                apart = room.residuals[row - start] if fitting else room.nowhere
                mark(room.found[row - start], apart, tables.numbers[points.series[row]], judged.marks[row])
                if width == 1 and ways.signs_of_change:
                    signs = tables.signs.numbers[points.first[point, _SIGNS]]
                    mark_signs(room.signs, signs, judged.marks[row])
