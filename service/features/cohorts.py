"""What is usual among a partition's sources under one value name, for the first points of a new one.

A cohort keeps, over the sources of its name that have been there for long, the mean and the variance of
the logarithms of their scales. A new source begins as if it had seen some points of the cohort's usual
scales already: the fewer, the more the cohort's sources differ (the moderated variance of Smyth 2004, an
empirical Bayes estimate). Kernels on rows of a value's numbers, in the layout of `deviations`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.features import deviations
from service.features.deviations import PRIOR, SCALES, SEEN, SQUARES, Deviation
from service.history.table import Array, Column, StateTable
from service.kernels import inlined, kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Names = npt.NDArray[np.uint64]

MOST_NAMES = 1024
_FIRST_LESSON, _LESSON_EVERY = 256, 1024  # points of a source; between them at powers of two
_LEAST_SOURCES = 8
_MEMORY_LESSONS = 1000.0
_POINTS_PER_VARIANCE = 8.0  # 2 for independent points of a normal distribution; streams remember
_LEAST_PRIOR, _MOST_PRIOR = 16.0, 200.0
_KNOWN_LESSONS = 8.0  # from which on outliers are told by the cohort's own spread

# Columns of a cohort's row: sources it has learned from, lessons, then mean and variance of each logarithm.
_SOURCES, _LESSONS, _MEANS = range(3)
_VARIANCES = _MEANS + len(SCALES)
NUMBERS = _VARIANCES + len(SCALES)

# Of the counters that belong to all cohorts: names in use, lessons and births so far.
_USED, _CLOCK = range(2)

_SCALES = np.array(SCALES)
_JUDGED_BY = deviations.DEVIATIONS - 2  # the deviations that vary least with age tell how like sources are


class CohortRows(NamedTuple):
    """What kernels see; row i of `numbers` and `last_used` belongs to the name with the hash `names[i]`."""

    names: Names
    last_used: Ints
    numbers: Floats
    counters: Ints


@kernel
def _find(cohorts: CohortRows, name: np.uint64) -> int:
    """The row of a name, -1 if it has none; looked for only now and then."""
    for row in range(cohorts.counters[_USED]):
        if cohorts.names[row] == name:
            return row
    return -1


@kernel
def _found_or_made(cohorts: CohortRows, name: np.uint64) -> int:
    """The row of a name; where there is no room, in place of the one that was not used for longest."""
    row = _find(cohorts, name)
    if row < 0:
        row = cohorts.counters[_USED]
        if row < len(cohorts.names):
            cohorts.counters[_USED] += 1
        else:
            row = int(np.argmin(cohorts.last_used))
        cohorts.names[row] = name
        cohorts.numbers[row, :] = 0.0
        cohorts.numbers[row, _MEANS:_VARIANCES] = np.nan
    return row


@kernel
def _use(cohorts: CohortRows, row: int) -> None:
    cohorts.counters[_CLOCK] += 1
    cohorts.last_used[row] = cohorts.counters[_CLOCK]


@kernel
def begin(cohorts: CohortRows, name: np.uint64, value: Floats) -> None:
    """Give a value that has seen nothing yet the scales of its cohort, if that has something to say."""
    row = _find(cohorts, name)
    if row < 0:
        return
    _use(cohorts, row)
    cohort = cohorts.numbers[row]
    if cohort[_SOURCES] < _LEAST_SOURCES:
        return
    variance = 0.0
    for i in range(_JUDGED_BY):
        variance += cohort[_VARIANCES + i]
    points = min(_POINTS_PER_VARIANCE / (variance / _JUDGED_BY + 1e-9), _MOST_PRIOR)
    if points < _LEAST_PRIOR:
        return
    value[PRIOR] = points
    for i in range(len(_SCALES)):
        if not math.isnan(cohort[_MEANS + i]):
            value[_SCALES[i]] = math.exp(cohort[_MEANS + i])


@inlined
def is_lesson(seen: int) -> bool:
    """Whether a value with so many points is what its cohort learns from."""
    return seen % _LESSON_EVERY == 0 or (seen & (seen - 1) == 0 and seen >= _FIRST_LESSON)


@kernel
def learn(cohorts: CohortRows, name: np.uint64, value: Floats) -> None:
    """Take the scales of a value into its cohort; one that never moved says nothing."""
    if not value[SQUARES + Deviation.STEP] > 0.0:
        return
    row = _found_or_made(cohorts, name)
    _use(cohorts, row)
    cohort = cohorts.numbers[row]
    if value[SEEN] == _FIRST_LESSON:
        cohort[_SOURCES] += 1.0
    cohort[_LESSONS] = min(cohort[_LESSONS] + 1.0, _MEMORY_LESSONS)
    gain = 1.0 / cohort[_LESSONS]
    own = 1.0 + value[PRIOR] / value[SEEN]  # what it began with is none of its own
    for i in range(len(_SCALES)):
        if not value[_SCALES[i]] > 0.0:  # this is not kept of such a value
            continue
        size = math.log(value[_SCALES[i]])
        if math.isnan(cohort[_MEANS + i]):
            cohort[_MEANS + i] = size
        off = own * (size - cohort[_MEANS + i])
        if cohort[_LESSONS] > _KNOWN_LESSONS:  # a fault must not make the cohort
            reach = 0.5 + 3.0 * math.sqrt(cohort[_VARIANCES + i])
            off = min(max(off, -reach), reach)
        cohort[_MEANS + i] += gain * off
        cohort[_VARIANCES + i] += gain * ((1.0 - gain) * off * off - cohort[_VARIANCES + i])


class Cohorts:
    """The cohorts of a partition: as many names as there is room for, the most recently used."""

    def __init__(self) -> None:
        self._table = StateTable(
            {
                "name": Column(np.uint64),
                "last_used": Column(np.int64),
                "numbers": Column(np.float64, NUMBERS),
            },
            rows=MOST_NAMES,
        )
        self._counters = np.zeros(2, np.int64)

    @property
    def rows(self) -> CohortRows:
        return CohortRows(
            self._table["name"], self._table["last_used"], self._table["numbers"], self._counters
        )

    def state(self) -> dict[str, Array]:
        return {**self._table.arrays(int(self._counters[_USED])), "counters": self._counters.copy()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` gave.

        Raises:
            ValueError: a part is missing.
        """
        if "counters" not in state:
            raise ValueError("saved cohorts have no counters")
        self._table.restore(state)
        self._counters[:] = state["counters"]
