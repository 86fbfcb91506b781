"""At most one alert per source, kind and severity in a window; pure given what was noted, memory bounded."""

from __future__ import annotations

from collections import OrderedDict

from pydantic import BaseModel, ConfigDict, Field

from service.alerting.decision import Reason
from service.durations import Duration
from service.wire.anomaly import Anomaly

_CAPACITY = 200_000


class DeduplicationConfig(BaseModel):
    """How long one source stays quiet at one severity after an alert; 0 switches it off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: Duration = Field(default=300.0, ge=0, le=30 * 86_400)


class Deduplication:
    """When each subject and severity was last alerted for, as far back as the window reaches.

    A forgotten entry (more than `capacity` within one window) costs a repeated alert, never a lost one.
    """

    def __init__(self, window_s: float, capacity: int = _CAPACITY) -> None:
        self._window_s = window_s
        self._capacity = capacity
        self._alerted_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._alerted_at)

    def objection(self, anomaly: Anomaly, now: float) -> Reason | None:
        """`DUPLICATE` within the window; the end of an incident is never a duplicate of its beginning.

        An alert of a later time than `now` says nothing about this one: after a crash an alert that was
        still waiting is decided again, when younger ones have already been sent.
        """
        if anomaly.incident == "resolved":
            return None
        last = self._alerted_at.get((anomaly.subject, anomaly.severity))
        if last is not None and 0 <= now - last < self._window_s:
            return Reason.DUPLICATE
        return None

    def note(self, subject: str, severity: str, at: float) -> None:
        """An alert went out at `at`; the same one twice, or in another order, changes nothing."""
        key = (subject, severity)
        last = self._alerted_at.get(key)
        if last is not None and last >= at:
            return
        self._alerted_at[key] = at
        self._alerted_at.move_to_end(key)
        self._prune(at)

    def forget(self, subject: str, severity: str, at: float) -> None:
        """The alert noted at `at` did not go out after all."""
        if self._alerted_at.get((subject, severity)) == at:
            del self._alerted_at[subject, severity]

    def _prune(self, now: float) -> None:
        while self._alerted_at:
            key, at = next(iter(self._alerted_at.items()))
            if now - at < self._window_s and len(self._alerted_at) <= self._capacity:
                return
            del self._alerted_at[key]
