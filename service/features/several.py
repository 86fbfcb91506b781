"""How odd a point of several values is, from how odd each of them is: kernels on one point.

A value's part is what deviates in it, softly bounded; what the parts exceed is added up. Of a source that sum
counts as it is, held for a while and smoothed: what many values show one after the other comes together.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from service.features.deviations import Deviation
from service.kernels import inlined

Floats = npt.NDArray[np.float64]

# Columns of a source's row: points that were related, and the joined oddness as it is held and smoothed.
POINTS, _HELD, _SLOW = range(3)
NUMBERS = 3

_HOLD, _SLOW_GAIN = 0.8, 0.05
_JOINED_FROM = 2.5
# So that 6.4 is about as rare in sources of many values as in those of one; a few rarely exceed anything.
_JOINED_UNIT, _FEW = 4.25, 6.0
_SOFT = 20.0


@inlined
def _soft(z: float) -> float:
    return _SOFT * z / (_SOFT + z)


@inlined
def join(
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


@inlined
def oddness_of(joined: float, width: int, own: Floats) -> float:
    """Oddness of a point whose values have this joined, as it is, held and smoothed; NaN if it has none."""
    if math.isnan(joined):
        return joined
    own[_HELD] = max(joined, _HOLD * own[_HELD])
    own[_SLOW] += _SLOW_GAIN * (joined - own[_SLOW])
    unit = _JOINED_UNIT * max(1.0, _FEW / width)
    return float((0.5 * joined + 0.25 * own[_HELD] + 0.25 * own[_SLOW]) * unit)
