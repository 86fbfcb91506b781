"""When an incident opens: a threshold that rises with the source's own recent alarms, and a rest after each.

Kernels on one source's row. Each opening adds to a load that fades over some four budgets' worth of points
and multiplies the threshold; once the source has been seen long enough for its rate to be known, an integral
controller moves the threshold until openings come as often as stated.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.kernels import inlined

Floats = npt.NDArray[np.float64]

# Columns of a source's row: points so far, points of rest left (below 0: of one for the evidence alone),
# load, the controller's place.
POINTS, REST, LOAD, _PLACE = range(4)
NUMBERS = 4

REST_POINTS = 110.0
_LOAD_RISE = 0.12
_LOAD_BUDGETS = 4.0
_STEP = 0.1
_SLACK = 1.2  # expected openings per budget: centres a gate of a factor of two on both sides
_KNOWN_BUDGETS = 7.0
_BELOW, _ABOVE = 0.6, 3.0

# Where the threshold starts at a budget of 1 in 1,000, and how much it rises per decade of the budget.
_EVIDENCE_START, _EVIDENCE_SLOPE = 1.25, 0.5
_EVIDENCE_POINTS = 400.0  # after which it decides alone
_SURPRISE_START, _SURPRISE_SLOPE = 2.8, 1.0


@inlined
def pass_time(row: Floats, budget: float) -> float:
    """Let the load fade, the threshold sink and the rest go by, by one point.

    Returns how far the controller trusts the rate of openings so far, 0 to 1.
    """
    known = min(1.0, row[POINTS] * budget / _KNOWN_BUDGETS)
    row[LOAD] -= row[LOAD] * budget / _LOAD_BUDGETS
    row[_PLACE] = min(max(row[_PLACE] - known * _STEP * _SLACK * budget, -_BELOW), _ABOVE)
    row[POINTS] += 1.0
    row[REST] -= np.sign(row[REST])
    return float(known)


@inlined
def threshold_of(row: Floats, has_evidence: bool, level: float) -> float:
    """What the evidence, or without any the surprise, must reach for an incident to open."""
    start, slope = _SURPRISE_START, _SURPRISE_SLOPE
    if has_evidence:
        start, slope = _EVIDENCE_START, _EVIDENCE_SLOPE
    return float((start + slope * (level - 3.0) + row[_PLACE]) * (1.0 + _LOAD_RISE * row[LOAD]))


@inlined
def weighed(row: Floats, evidence: float, surprise: float, has_evidence: bool, level: float) -> float:
    """What is held against `threshold_of`.

    The evidence ranks a point among the source's own: while these are few, the surprise counts beside it.
    """
    if not has_evidence:
        return surprise
    doubt = 1.0 - min(row[POINTS] / _EVIDENCE_POINTS, 1.0)
    in_its_unit = surprise / (_SURPRISE_START + _SURPRISE_SLOPE * (level - 3.0))
    start = _EVIDENCE_START + _EVIDENCE_SLOPE * (level - 3.0)
    return float(evidence + doubt * (start * in_its_unit - evidence))


@inlined
def opens(
    row: Floats, evidence: float, surprise: float, has_evidence: bool, level: float, budget: float
) -> bool:
    """Whether an incident may open at this point, which is counted; `level` is -log10 of the budget.

    Judged by the evidence of the signs of change where there is any, otherwise by the point's surprise. What
    opens nothing only because there are few points still raises the load.
    """
    known = pass_time(row, budget)
    if row[REST] > 0.0:
        return False
    threshold = threshold_of(row, has_evidence, level)
    if weighed(row, evidence, surprise, has_evidence, level) < threshold:
        if evidence >= threshold and row[REST] == 0.0:  # only the doubt spoke against it
            row[REST] = -REST_POINTS
            row[LOAD] += 1.0
        return False
    row[REST] = REST_POINTS
    row[LOAD] += 1.0
    row[_PLACE] += known * _STEP
    return True
