"""Whether one channel tells people of one anomaly: a chain of small stages, each of which may object.

Nothing here reads a clock or sends: `now` is an argument, and callers pass the anomaly's own detectedAt,
so that a replay decides as the first run did. A new stage (silences) is one more function in the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from service.wire.anomaly import Anomaly
from service.wire.timestamps import parse_rfc3339


class Reason(StrEnum):
    """Why an anomaly is sent or not: the metric's label, the log line and the delivery's reason."""

    SEND = "send"
    NO_RULE = "no_rule"
    NO_INCIDENT = "no_incident"
    DUPLICATE = "duplicate"
    INCIDENT_UPDATE = "incident_update"
    INCIDENT_RESOLVED = "incident_resolved"
    TOO_OLD = "too_old"
    MALFORMED = "malformed"


Stage = Callable[[Anomaly, float], Reason | None]


def decide(stages: Iterable[Stage], anomaly: Anomaly, now: float) -> Reason:
    """The first objection, or `Reason.SEND` where no stage has one."""
    for stage in stages:
        objection = stage(anomaly, now)
        if objection is not None:
            return objection
    return Reason.SEND


def detected_at_s(anomaly: Anomaly) -> float:
    """The anomaly's own time in epoch seconds: the `now` of every decision about it.

    Raises:
        ValueError: detectedAt is not an RFC 3339 date-time.
    """
    return parse_rfc3339(anomaly.detected_at) / 1000
