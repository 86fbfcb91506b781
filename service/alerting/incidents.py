"""People are told of incidents, not of points: what one channel has told of each open incident."""

from __future__ import annotations

from collections import OrderedDict

from service.alerting.decision import Reason
from service.wire.anomaly import SEVERITIES, Anomaly, Severity

_CAPACITY = 100_000
_RANK = {severity: rank for rank, severity in enumerate(SEVERITIES)}


class Incidents:
    """The highest severity alerted for each incident that is not resolved yet; memory bounded.

    An incident of which nobody was told (its opening matched no rule, or fell into the deduplication
    window of the one before) may still be told of by a later update, so that nothing that goes on stays
    silent. Its end is told only to those who heard of it, and only where they asked for it.
    """

    def __init__(self, *, send_resolved: bool = False, capacity: int = _CAPACITY) -> None:
        self._send_resolved = send_resolved
        self._capacity = capacity
        self._told: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._told)

    def objection(self, anomaly: Anomaly, now: float) -> Reason | None:  # noqa: ARG002  a stage's signature
        if anomaly.of_no_incident:
            return Reason.NO_INCIDENT
        told = self._told.get(anomaly.group)
        if anomaly.incident == "resolved":
            return None if self._send_resolved and told is not None else Reason.INCIDENT_RESOLVED
        if told is not None and told >= _RANK[anomaly.severity]:
            return Reason.INCIDENT_UPDATE
        return None

    def note_told(self, incident_id: str, severity: Severity) -> None:
        self._told[incident_id] = max(_RANK[severity], self._told.get(incident_id, -1))
        self._told.move_to_end(incident_id)
        if len(self._told) > self._capacity:
            self._told.popitem(last=False)

    def forget(self, incident_id: str) -> None:
        """The incident is over, or what was told of it did not arrive."""
        self._told.pop(incident_id, None)
