"""What became of one alert in one channel, as it stands in the compacted deliveries topic."""

from __future__ import annotations

from typing import Literal

import msgspec

from service.wire.anomaly import Anomaly, IncidentChange, Severity, subject_of
from service.wire.timestamps import format_rfc3339

Outcome = Literal["sent", "suppressed", "dead"]


class Delivery(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One record of the topic; the last six members let deduplication and incidents be rebuilt from it.

    msgspec, not pydantic: in a storm ten thousand of these are written a second.
    """

    channel: str
    alert_id: str
    anomaly_ids: tuple[str, ...]
    outcome: Outcome
    reason: str
    attempts: int
    at: str
    source_id: str
    severity: Severity
    incident_id: str | None
    incident: IncidentChange | None = None
    kind: str | None = None
    detected_at: str

    @classmethod
    def of(
        cls, channel: str, anomaly: Anomaly, outcome: Outcome, reason: str, attempts: int, at_s: float
    ) -> Delivery:
        return cls(
            channel=channel,
            alert_id=anomaly.id,
            anomaly_ids=(anomaly.id,),
            outcome=outcome,
            reason=reason,
            attempts=attempts,
            at=format_rfc3339(round(at_s * 1000)),
            source_id=anomaly.source_id,
            severity=anomaly.severity,
            incident_id=anomaly.incident_id,
            incident=anomaly.incident,
            kind=anomaly.kind,
            detected_at=anomaly.detected_at,
        )

    @property
    def group(self) -> str:
        """As the anomaly's."""
        return self.incident_id or self.alert_id

    @property
    def subject(self) -> str:
        """As the anomaly's."""
        return subject_of(self.source_id, self.kind)

    @property
    def key(self) -> str:
        return key_of(self.channel, self.alert_id)

    def encode(self) -> bytes:
        return _encoder.encode(self)

    @classmethod
    def decode(cls, body: bytes) -> Delivery:
        """The record in `body`.

        Raises:
            ValueError: it is not a delivery record.
        """
        return _decoder.decode(body)


def key_of(channel: str, alert_id: str) -> str:
    return f"{channel}/{alert_id}"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Delivery)
