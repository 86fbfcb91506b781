"""When an incident opens: a threshold that rises with the source's own recent alarms, and a rest after each.

Kernels on one source's row. Each opening adds to a load that fades over some four budgets' worth of points
and multiplies the threshold; once the source has been seen long enough for its rate to be known, an integral
controller moves the threshold until openings come as often as stated.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.kernels import kernel

Floats = npt.NDArray[np.float64]

# Columns of a source's row: points so far, points of rest left, load, the controller's place.
POINTS, _REST, _LOAD, _PLACE = range(4)
NUMBERS = 4

_REST_POINTS = 110.0
_LOAD_RISE = 0.12
_LOAD_BUDGETS = 4.0
_STEP = 0.1
_SLACK = 1.2  # expected openings per budget: centres a gate of a factor of two on both sides
_KNOWN_BUDGETS = 7.0
_BELOW, _ABOVE = 0.6, 3.0

# Where the threshold starts at a budget of 1 in 1,000, and how much it rises per decade of the budget.
_EVIDENCE_START, _EVIDENCE_SLOPE = 1.25, 0.5
_SURPRISE_START, _SURPRISE_SLOPE = 2.8, 1.0


@kernel
def opens(
    row: Floats, evidence: float, surprise: float, has_evidence: bool, level: float, budget: float
) -> bool:
    """Whether an incident may open at this point, which is counted; `level` is -log10 of the budget.

    Judged by the evidence of the signs of change where there is any, otherwise by the point's surprise.
    """
    start, slope, value = _SURPRISE_START, _SURPRISE_SLOPE, surprise
    if has_evidence:
        start, slope, value = _EVIDENCE_START, _EVIDENCE_SLOPE, evidence
    known = min(1.0, row[POINTS] * budget / _KNOWN_BUDGETS)
    row[_LOAD] -= row[_LOAD] * budget / _LOAD_BUDGETS
    row[_PLACE] = min(max(row[_PLACE] - known * _STEP * _SLACK * budget, -_BELOW), _ABOVE)
    threshold = (start + slope * (level - 3.0) + row[_PLACE]) * (1.0 + _LOAD_RISE * row[_LOAD])
    row[POINTS] += 1.0
    row[_REST] = max(row[_REST] - 1.0, 0.0)
    if value < threshold or row[_REST] > 0.0:
        return False
    row[_REST] = _REST_POINTS
    row[_LOAD] += 1.0
    row[_PLACE] += known * _STEP
    return True
