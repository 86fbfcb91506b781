"""One channel's rules, incidents and deduplication in their order, for the library and the worker alike."""

from __future__ import annotations

from collections.abc import Sequence

from service.alerting.decision import Reason, Stage, decide
from service.alerting.deduplication import Deduplication
from service.alerting.deliveries import Delivery
from service.alerting.incidents import Incidents
from service.alerting.rules import RuleConfig, Rules
from service.wire.anomaly import Anomaly
from service.wire.timestamps import parse_rfc3339


class ChannelPolicy:
    """Decides for one channel, and remembers what it is told was admitted, sent or given up."""

    def __init__(
        self,
        channel: str,
        rules: Sequence[RuleConfig],
        *,
        window_s: float = 300.0,
        send_resolved: bool = False,
    ) -> None:
        self._incidents = Incidents(send_resolved=send_resolved)
        self._deduplication = Deduplication(window_s)
        self._stages: tuple[Stage, ...] = (
            Rules(rules, channel).objection,
            self._incidents.objection,
            self._deduplication.objection,
        )

    def decide(self, anomaly: Anomaly, now: float) -> Reason:
        """What to do with `anomaly` at `now` (its own detectedAt); changes nothing."""
        return decide(self._stages, anomaly, now)

    def admit(self, anomaly: Anomaly, now: float) -> None:
        """`anomaly` is on its way: what follows is judged as if people knew of it."""
        if anomaly.incident == "resolved":
            self._incidents.forget(anomaly.group)
            return
        self._incidents.note_told(anomaly.group, anomaly.severity)
        self._deduplication.note(anomaly.subject, anomaly.severity, now)

    def withdraw(self, anomaly: Anomaly, now: float) -> None:
        """What was admitted was not sent, and will be decided again, here or elsewhere."""
        self._incidents.forget(anomaly.group)
        self._deduplication.forget(anomaly.subject, anomaly.severity, now)

    def note_suppressed(self, anomaly: Anomaly) -> None:
        if anomaly.incident == "resolved":
            self._incidents.forget(anomaly.group)

    def note_dead(self, incident_id: str) -> None:
        """An alert was given up: a later update of its incident may try again, once per window."""
        self._incidents.forget(incident_id)

    def restore(self, delivery: Delivery) -> None:
        """Learn what an earlier run sent or gave up.

        Raises:
            ValueError: its detectedAt is not a date-time.
        """
        if delivery.incident == "resolved":
            self._incidents.forget(delivery.group)
        elif delivery.outcome != "suppressed":
            at = parse_rfc3339(delivery.detected_at) / 1000
            self._deduplication.note(delivery.subject, delivery.severity, at)
            if delivery.outcome == "sent":
                self._incidents.note_told(delivery.group, delivery.severity)
