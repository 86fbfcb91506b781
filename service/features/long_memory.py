"""LongMemory: how far each point lies from its source's whole past, and what speaks for an incident.

Puts together what the kernels beside it know of one value (`window`, `deviations`, `changes`) or of all
values of a source (`joint`); everything is computed before the point is learned.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.features import changes, cohorts, deviations, joint, window
from service.features.cohorts import CohortRows, Cohorts
from service.features.config import LongMemoryConfig
from service.features.days import days_since_epoch, is_off
from service.features.deviations import DEVIATIONS, Deviation
from service.features.marks import MARKS, is_marked, mark, mark_signs
from service.features.window import FEATURES, Windows
from service.features.zones import offsets_ms
from service.history.blocks import ALL, Firsts, Kind
from service.history.sources import Placement
from service.history.table import Column, StateTable
from service.kernels import borrowed, inlined, kernel, prefetch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int32]


# Columns of a source's row: points that were related, and the joined oddness as it is held and smoothed.
_POINTS, _HELD, _SLOW = range(3)
_PER_SOURCE = 3
_SERIES, _SIGNS, _RELATIONS = range(3)  # kinds of blocks, in the order of `LongMemory.kinds`
_HOLD, _SLOW_GAIN = 0.8, 0.05
_JOINED_FROM = 2.5
# So that 6.4 is about as rare in sources of many values as in those of one; a few rarely exceed anything.
_JOINED_UNIT, _FEW = 4.25, 6.0
_SOFT = 20.0
_AHEAD = 2  # points whose rows are on their way from memory
_CELLS_A_LINE = 16
_HALTING_VALUES = 4  # a source of more may well have one that seldom changes
_EARLY_HISTORY = 8  # points from which on a source is judged that began with its cohort's scales


class _Tables(NamedTuple):
    """What the kernels see of the state."""

    per_source: Floats
    numbers: Floats
    residuals: Floats
    changes: Floats
    offs: npt.NDArray[np.float32]
    slots: npt.NDArray[np.float32]
    visits: npt.NDArray[np.uint8]
    bins: npt.NDArray[np.uint16]
    covariance: npt.NDArray[np.float32]
    precision: npt.NDArray[np.float32]


class _Room(NamedTuple):
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
    def of(cls, most: int, joint_values: int, past: int) -> _Room:
        """For points of up to so many values, of which so many are remembered."""
        return cls(
            np.empty((most, DEVIATIONS)),
            np.zeros((max(most, joint_values), 2)),
            np.zeros((joint_values, 2)),
            np.zeros(joint_values),
            np.empty((joint_values, joint_values)),
            np.zeros(2),
            np.empty(changes.SIGNS),
            np.zeros(changes.ROOM),
            np.empty(past + 1, np.float32),
        )


@inlined
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
        total, of_each = 0.0, 1.0 / 3.0
        for kind in range(3):
            total += _soft(deviations_[v, kind]) ** 2
        if related:
            total += _soft(residuals[v, 0]) ** 2 + _soft(residuals[v, 1]) ** 2
            of_each = 1.0 / 5.0
        part = math.sqrt(total * of_each)
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
def _unrelate(value: int, side: int, cells: npt.NDArray[np.float32]) -> None:
    """Clear what a (side, side) matrix holds of one value and the others."""
    for other in range(side):
        cells[value * side + other] = cells[other * side + value] = 0.0


@inlined
def _soft(z: float) -> float:
    return _SOFT * z / (_SOFT + z)


@kernel
def _advance(
    source: Ints,
    first: Firsts,
    rows: Counts,
    widths: Counts,
    row_start: Ints,
    series: Ints,
    names: npt.NDArray[np.uint64],
    values: Floats,
    changed: Bools,
    local_ms: Ints,
    holidays: Ints,
    min_history: int,
    early_history: int,
    recurrence_values: int,
    joint_values: int,
    signs_of_change: bool,
    with_cohorts: bool,
    tables: _Tables,
    windows: Windows,
    cohort_rows: CohortRows,
    room: _Room,
    features: Floats,
    judged: Bools,
    known: Floats,
    oddness: Floats,
    shares: Floats,
    evidence: Floats,
    marked: Bools,
    marks: Floats,
) -> None:
    """What `advance` tells of each point, which is then learned; `marks` of those `marked`.

    A value's `features` (FEATURES,) are of its window.
    """
    numbers, windows = borrowed(tables.numbers), window.lent(windows)
    covariance, precision = borrowed(tables.covariance), borrowed(tables.precision)
    residual_numbers, per_source = borrowed(tables.residuals), borrowed(tables.per_source)
    change_numbers, offs, bins = borrowed(tables.changes), borrowed(tables.offs), borrowed(tables.bins)
    slots, visits, first = borrowed(tables.slots), borrowed(tables.visits), borrowed(first)
    values, holidays, features = borrowed(values), borrowed(holidays), borrowed(features)
    shares, marks = borrowed(shares), borrowed(marks)
    found, residuals, apart = borrowed(room.found), borrowed(room.residuals), borrowed(room.apart)
    signed, square, nowhere = borrowed(room.signed), borrowed(room.square), borrowed(room.nowhere)
    signs, change_room, past = borrowed(room.signs), borrowed(room.changes), borrowed(room.past)
    for point in range(source.shape[0]):
        start, stop = row_start[point], row_start[point + 1]
        coming = min(point + _AHEAD, source.shape[0] - 1)
        prefetch(per_source, source[coming])
        wide, rows_ahead = int(widths[coming]), row_start[coming] - start
        if wide > 1 and joint_values > 0:
            cells = first[coming, _RELATIONS]
            for cell in range(cells, cells + min(int(rows[coming]), joint_values) ** 2, _CELLS_A_LINE):
                prefetch(covariance, cell)
                prefetch(precision, cell)
        if wide == 1 and signs_of_change:
            at = first[coming, _SIGNS]
            prefetch(change_numbers, at)
            prefetch(offs, at)
            prefetch(slots, at)
            prefetch(visits, at)
            prefetch(bins, at)
        own, width = per_source[source[point]], int(widths[point])
        first_series = int(first[point, _SERIES])
        with_signs = width == 1 and signs_of_change
        with_recurrence = width <= recurrence_values
        related = min(width, joint_values) if width > 1 else 0
        signed[:related] = 0.0
        evidence[point] = np.nan
        recent_mean = halted = known[point] = 0.0
        has_history = False
        for row in range(start, stop):
            ahead = row + rows_ahead
            if ahead < row_start[coming + 1]:  # one at a time: memory answers only so many at once
                prefetch(numbers, series[ahead])
                if wide > 1:
                    prefetch(residual_numbers, series[ahead])
                prefetch(windows.ring, series[ahead])
                prefetch(windows.order, series[ahead])
                prefetch(windows.numbers, series[ahead])
            x, slot = values[row], series[row]
            judged[row] = False
            if math.isnan(x):
                features[row, :] = np.nan
                continue
            x = min(max(x, -window.LARGEST), window.LARGEST)
            within, s = slot - first_series, numbers[slot]
            if changed[row]:  # its past is of another unit
                s[:], residual_numbers[slot, :] = 0.0, 0.0
                window.forget(slot, windows)
                if with_signs:
                    own_signs = first[point, _SIGNS]
                    change_numbers[own_signs, :], offs[own_signs, :] = 0.0, 0.0
                    slots[own_signs, :], visits[own_signs, :], bins[own_signs, :, :] = 0.0, 0, 0
                if within < related:
                    side, cells = min(int(rows[point]), joint_values), int(first[point, _RELATIONS])
                    _unrelate(within, side, covariance[cells : cells + side * side])
                    _unrelate(within, side, precision[cells : cells + side * side])
            seen, last = int(s[deviations.SEEN]), s[deviations.LAST]
            anchor = s[deviations.ANCHOR] if seen > 0 else x
            if with_cohorts and seen == 0:
                cohorts.begin(cohort_rows, names[row], s)
            judged[row] = seen >= (early_history if s[deviations.PRIOR] > 0.0 else min_history)
            has_history |= judged[row]
            known[point] = max(known[point], seen + s[deviations.PRIOR])
            window.advance(
                values[row], x, anchor, last, seen, judged[row], slot, windows, past, features[row]
            )
            nearest = nearest_steps = 0.0
            if with_recurrence:
                nearest, nearest_steps = deviations.recurrence(seen, past)
            halted = max(halted, deviations.standstill(x, s))
            off, recent_mean = deviations.deviate(x, s, nearest, nearest_steps, found[row - start])
            if with_cohorts and cohorts.is_lesson(seen + 1):
                cohorts.learn(cohort_rows, names[row], s)
            if within < related:
                signed[within] = joint.bounded(off)
            if with_signs:
                own_signs, half_hour = first[point, _SIGNS], local_ms[point] // changes.SLOT_MS
                evidence[point] = changes.evidence(
                    x - last if seen > 0 else 0.0,
                    window.distance(x, anchor),
                    half_hour,
                    is_off(half_hour // changes.SLOTS, holidays),
                    seen,
                    past,
                    change_numbers[own_signs],
                    offs[own_signs],
                    slots[own_signs],
                    visits[own_signs],
                    bins[own_signs],
                    signs,
                    change_room,
                )
            if window.is_far(seen, slot, windows):
                s[deviations.ANCHOR] = x
                window.anchor_by(x - anchor, seen, slot, windows, past)
                if with_signs:
                    own_signs = first[point, _SIGNS]
                    own_numbers, own_slots = change_numbers[own_signs], slots[own_signs]
                    changes.anchor_by(x - anchor, past, own_numbers, own_slots, visits[own_signs])
        fitting = False
        if width == 1:
            shares[start:stop] = 1.0
            oddness[point] = np.nan
            if stop > start and not math.isnan(values[start]):
                oddness[point] = deviations.alone(found[0], recent_mean, with_recurrence)
        else:
            if related > 0:
                side = min(int(rows[point]), joint_values)
                cells = int(first[point, _RELATIONS])
                fitting = joint.relate(
                    signed,
                    related,
                    int(own[_POINTS]),
                    covariance[cells : cells + side * side].reshape(side, side),
                    precision[cells : cells + side * side].reshape(side, side),
                    residual_numbers[first_series : first_series + related],
                    square,
                    apart,
                )
                own[_POINTS] += 1.0
                for row in range(start, stop):
                    within = series[row] - first_series
                    for kind in range(2):
                        residuals[row - start, kind] = apart[within, kind] if within < related else 0.0
            joined = _join(found, residuals, fitting, with_recurrence, values[start:stop], shares[start:stop])
            oddness[point] = joined
            if not math.isnan(joined):
                own[_HELD] = max(joined, _HOLD * own[_HELD])
                own[_SLOW] += _SLOW_GAIN * (joined - own[_SLOW])
                unit = _JOINED_UNIT * max(1.0, _FEW / width)
                oddness[point] = (0.5 * joined + 0.25 * own[_HELD] + 0.25 * own[_SLOW]) * unit
        if width <= max(recurrence_values, _HALTING_VALUES) and halted > oddness[point]:
            oddness[point] = halted
        if not has_history:
            oddness[point] = evidence[point] = np.nan
        marked[point] = is_marked(oddness[point], evidence[point], width)
        if marked[point]:
            for row in range(start, stop):
                apart_now = residuals[row - start] if fitting else nowhere
                mark(found[row - start], apart_now, numbers[series[row]], marks[row])
                if with_signs:
                    mark_signs(signs, change_numbers[first[point, _SIGNS]], marks[row])


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


class LongMemory:
    """The long past of every series and source, in columns."""

    def __init__(self, config: LongMemoryConfig) -> None:
        self._config = config
        self._holidays = days_since_epoch(config.holidays)
        self.source_table = StateTable({"joined": Column(np.float64, _PER_SOURCE)})
        self.table = StateTable(
            {
                "numbers": Column(np.float64, deviations.NUMBERS),
                "residuals": Column(np.float64, joint.NUMBERS),
            }
        )
        self.signs = StateTable(
            {
                "changes": Column(np.float64, changes.NUMBERS),
                "offs": Column(np.float32, changes.LONG),
                "slots": Column(np.float32, changes.PROFILES),
                "visits": Column(np.uint8, changes.PROFILES),
                "bins": Column(np.uint16, changes.SIGNS * changes.HISTOGRAM),
            }
        )
        self.cohorts = Cohorts()
        self.relations = StateTable({"covariance": Column(np.float32), "precision": Column(np.float32)})

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The tables of those sources that have what is kept there; they follow the series' block."""
        config = self._config
        alone = 1 if config.signs_of_change else 0
        return (
            Kind([self.signs], most=alone),
            Kind(
                [self.relations],
                least=2 if config.joint_values else ALL,
                side=config.joint_values,
                square=True,
            ),
        )

    def advance(
        self, placed: Placement, changed: Bools, time_ms: Ints, min_history: int, windows: Windows
    ) -> Judged:
        """What the placed points are to their sources' past, of which `min_history` points must be known.

        `changed` (m,) says which values begin anew, in another unit than before.
        """
        oddness, evidence = np.empty(len(placed.source)), np.empty(len(placed.source))
        rows = np.empty((len(placed.series), FEATURES))
        shares, judged = np.empty(len(placed.series)), np.empty(len(placed.series), np.bool_)
        known = np.empty(len(placed.source))
        marks, marked = np.empty((len(placed.series), MARKS)), np.empty(len(placed.source), np.bool_)
        config = self._config
        _advance(
            placed.source,
            placed.first,
            placed.rows,
            placed.width,
            placed.row_start,
            placed.series,
            placed.names,
            placed.values,
            changed,
            time_ms + offsets_ms(config.time_zone, time_ms),
            self._holidays,
            min_history,
            min(_EARLY_HISTORY, min_history),
            config.recurrence_values,
            config.joint_values,
            config.signs_of_change,
            config.cohorts,
            self._tables(),
            windows,
            self.cohorts.rows,
            _Room.of(int(placed.width.max(initial=0)), config.joint_values, windows.ring.shape[1]),
            rows,
            judged,
            known,
            oddness,
            shares,
            evidence,
            marked,
            marks,
        )
        return Judged(rows, judged, known, oddness, shares, evidence, marked, marks)

    def _tables(self) -> _Tables:
        signs, relations = self.signs, self.relations
        return _Tables(
            self.source_table["joined"],
            self.table["numbers"],
            self.table["residuals"],
            signs["changes"],
            signs["offs"],
            signs["slots"],
            signs["visits"],
            signs["bins"].reshape(len(signs), changes.SIGNS, changes.HISTOGRAM),
            relations["covariance"],
            relations["precision"],
        )
