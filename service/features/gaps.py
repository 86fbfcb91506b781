"""Values that stop coming while their source goes on: how long one is missing, in units of what is usual.

Said like a standstill: at every fourth point only, and no more after the 32nd, for what is gone for long is
no news. Sources of one value have no such gaps; where it stops, the source is silent.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from service.features.deviations import LONG_MEMORY_POINTS
from service.history.blocks import Firsts
from service.history.table import Column
from service.kernels import borrowed, inlined, kernel, prefetch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]

_LONGEST_RUN, _SAID_EVERY = 32.0, 4.0
_LEAST_POINTS = 30.0
_HERE = -1.0
_AHEAD = 6  # points whose rows are on their way from memory

_SEEN, _RUN, _RUN_SQUARE = range(3)  # points since it came first, for which it is missing, mean square

COLUMN = Column(np.float32, 3)


@inlined
def _learn(gap: Singles) -> float:
    """Take up whether a value came, and say how much longer than usual it is missing."""
    run = 0.0 if gap[_RUN] == _HERE else gap[_RUN] + 1.0
    seen = min(gap[_SEEN] + 1.0, LONG_MEMORY_POINTS)
    gap[_SEEN], gap[_RUN] = seen, run
    if run == 0.0 and gap[_RUN_SQUARE] == 0.0:  # most values are never missing
        return 0.0
    square = gap[_RUN_SQUARE] + (run * run - gap[_RUN_SQUARE]) / seen
    gap[_RUN_SQUARE] = square
    if run == 0.0 or seen < _LEAST_POINTS or run > _LONGEST_RUN or run % _SAID_EVERY != 0.0:
        return 0.0
    return float(run / (1.0 + math.sqrt(square)))


@kernel
def advance(
    first: Firsts,
    width: npt.NDArray[np.int32],
    row_start: Ints,
    series: Ints,
    values: Floats,
    gaps: Singles,
    oddness: Floats,
    missing: Ints,
) -> None:
    """Make points (n,) as odd as the value that is missing for longest, if they are not odder by themselves.

    `missing` is where that is so the value's place among its source's, otherwise -1.
    """
    gaps = borrowed(gaps)
    for point in range(width.shape[0]):
        if point + _AHEAD < width.shape[0] and width[point + _AHEAD] > 1:
            prefetch(gaps, first[point + _AHEAD, 0])
        missing[point] = -1
        if width[point] < 2:
            continue
        for row in range(row_start[point], row_start[point + 1]):
            if not math.isnan(values[row]):
                gaps[series[row], _RUN] = _HERE
        for place in range(width[point]):
            longer = _learn(gaps[first[point, 0] + place])
            if longer > oddness[point]:  # never of NaN
                oddness[point], missing[point] = longer, place
