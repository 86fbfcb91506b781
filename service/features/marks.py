"""Marks: what is odd about each value of an odd point, and against which levels; for explanations alone.

Scoring has all of it in hand, but only for a moment, so it is noted for the few points that may come to be
explained. Nothing is decided by it.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from service.features import changes, deviations
from service.features.deviations import DEVIATIONS
from service.kernels import inlined, kernel

Floats = npt.NDArray[np.float64]

_ALONE_FROM, _JOINED_FROM, _EVIDENCE_FROM = 2.0, 0.3, 0.6  # a usual point has about 1.3, 0.1 and 0.4


class Mark(IntEnum):
    """The columns, behind those of `Deviation`; sizes of signs are in the value's own unit."""

    RESIDUAL = DEVIATIONS  # how far a value lies from what the others say of it, in units of what is usual
    SMOOTH_RESIDUAL = DEVIATIONS + 1  # the same, smoothed
    STANDSTILL = DEVIATIONS + 2  # its oddness
    REPEATS = DEVIATIONS + 3  # how often in a row it has come again
    MEAN = DEVIATIONS + 4  # of all
    SHORT_MEDIAN = DEVIATIONS + 5
    LONG_MEDIAN = DEVIATIONS + 6
    SIZES = DEVIATIONS + 7  # .. + 6: of the signs of change, with their signs
    SURPRISES = DEVIATIONS + 7 + changes.SIGNS  # .. + 6: of the signs, as they are held


MARKS = Mark.SURPRISES + changes.SIGNS


@inlined
def is_marked(oddness: float, evidence: float, width: int) -> bool:
    """Whether a point of so many values is so odd that it may have to be explained; false for NaN."""
    return oddness > (_ALONE_FROM if width == 1 else _JOINED_FROM) or evidence > _EVIDENCE_FROM


@kernel
def mark(found: Floats, residuals: Floats, s: Floats, out: Floats) -> None:
    """Note a value's deviations, its two residuals, and the levels that its row of numbers holds."""
    out[:DEVIATIONS] = found
    out[Mark.RESIDUAL], out[Mark.SMOOTH_RESIDUAL] = residuals
    out[Mark.STANDSTILL], out[Mark.REPEATS] = deviations.halted(s), s[deviations.RUN]
    out[Mark.MEAN] = s[deviations.MEAN]
    out[Mark.SHORT_MEDIAN] = s[deviations.SHORT_MEDIAN]
    out[Mark.LONG_MEDIAN] = s[deviations.LONG_MEDIAN]
    out[Mark.SIZES :] = math.nan


@kernel
def mark_signs(sizes: Floats, s: Floats, out: Floats) -> None:
    """Note the signs of change of a value with this row of them."""
    for sign in range(changes.SIGNS):
        out[Mark.SIZES + sign] = sizes[sign]
        out[Mark.SURPRISES + sign] = s[changes.HELD + sign]
