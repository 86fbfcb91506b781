"""What is said of each point, and what of that is noted of its record."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.history.sources import Arrival
from service.kernels import kernel
from service.wire.results import Verdict

STATUSES = ("scored", "skipped", "late", "duplicate", "forgotten", "applied", "rejected")
"""What a result can say of its record."""

_FRESH = int(Arrival.FRESH)
_VERDICT_OF_ARRIVAL = np.zeros(len(Arrival), np.uint8)
for _arrival, _verdict in (
    (Arrival.FRESH, Verdict.SCORED),
    (Arrival.LATE, Verdict.LATE),
    (Arrival.DUPLICATE, Verdict.DUPLICATE),
    (Arrival.TOO_WIDE, Verdict.TOO_MANY_NAMES),
):
    _VERDICT_OF_ARRIVAL[_arrival] = _verdict
_STATUS_OF_VERDICT = np.full(len(Verdict), STATUSES.index("skipped"), np.uint8)
for _verdict in (Verdict.SCORED, Verdict.LATE, Verdict.DUPLICATE):
    _STATUS_OF_VERDICT[_verdict] = STATUSES.index(_verdict.name.lower())


class Said(NamedTuple):
    """What is said of the fresh points of a stretch, each (n,)."""

    verdict: npt.NDArray[np.uint8]
    severity: npt.NDArray[np.uint8]
    incident: npt.NDArray[np.uint8]
    anomalous: npt.NDArray[np.bool_]


class Noted(NamedTuple):
    """The columns of `Outcomes`."""

    status: npt.NDArray[np.uint8]
    severity: npt.NDArray[np.uint8]
    incident: npt.NDArray[np.uint8]
    anomalous: npt.NDArray[np.bool_]


@kernel
def note(
    points: npt.NDArray[Any],
    arrival: npt.NDArray[np.uint8],
    said: Said,
    verdict: npt.NDArray[np.uint8],
    row: npt.NDArray[np.int64],
    noted: Noted,
) -> None:
    """What is said of each point (m,), which of the fresh ones it is, and what is noted of its record."""
    fresh = 0
    for i in range(len(points)):
        record = points[i].record
        verdict[i] = _VERDICT_OF_ARRIVAL[arrival[i]]
        if arrival[i] == _FRESH:
            verdict[i], row[i] = said.verdict[fresh], fresh
            noted.severity[record], noted.incident[record] = said.severity[fresh], said.incident[fresh]
            noted.anomalous[record] = said.anomalous[fresh]
            fresh += 1
        noted.status[record] = _STATUS_OF_VERDICT[verdict[i]]
