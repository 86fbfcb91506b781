"""What is said of each point, and what of that is noted of its record."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from service.history.sources import Arrival
from service.kernels import kernel
from service.wire.results import Verdict

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

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

    verdict: Bytes
    severity: Bytes
    incident: Bytes
    anomalous: Bools


class Noted(NamedTuple):
    """The columns of `Outcomes`."""

    status: Bytes
    severity: Bytes
    incident: Bytes
    anomalous: Bools


class Places(NamedTuple):
    """Of which record each point of a stretch is, and where its source stands in the text, each (m,)."""

    record: Ints
    source_start: Ints
    source_stop: Ints

    @classmethod
    def of(cls, points: int) -> Self:
        """Room for so many."""
        return cls(np.empty(points, np.int64), np.empty(points, np.int64), np.empty(points, np.int64))


@kernel
def note(
    points: npt.NDArray[Any],
    arrival: Bytes,
    said: Said,
    verdict: Bytes,
    row: Ints,
    places: Places,
    noted: Noted,
) -> None:
    """What is said of each point (m,), which of the fresh ones it is, and what is noted of its record."""
    fresh = 0
    for i in range(len(points)):
        point = points[i]
        record = places.record[i] = point.record
        places.source_start[i], places.source_stop[i] = point.source_start, point.source_stop
        verdict[i] = _VERDICT_OF_ARRIVAL[arrival[i]]
        if arrival[i] == _FRESH:
            verdict[i], row[i] = said.verdict[fresh], fresh
            noted.severity[record], noted.incident[record] = said.severity[fresh], said.incident[fresh]
            noted.anomalous[record] = said.anomalous[fresh]
            fresh += 1
        noted.status[record] = _STATUS_OF_VERDICT[verdict[i]]
