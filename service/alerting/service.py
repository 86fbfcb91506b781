"""Alerts as a library: decide for every channel, send to those that want the anomaly, say what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.alerting.alert import Alert
from service.alerting.channels.base import AlertChannel
from service.alerting.channels.registry import make_channel
from service.alerting.config import AlertingConfig
from service.alerting.decision import Reason, detected_at_s
from service.alerting.policy import ChannelPolicy
from service.alerting.rules import RuleConfig
from service.alerting.sending import attempt
from service.clock import Clock, SystemClock
from service.errors import ConfigurationError
from service.logs import logger
from service.wire.anomaly import Anomaly, Expected
from service.wire.timestamps import format_rfc3339

_log = logger("alerting.service")


@dataclass(frozen=True, slots=True)
class AlertOutcome:
    """What became of one anomaly in one channel; `failed` may be tried again by triggering it again."""

    outcome: Literal["sent", "suppressed", "failed"]
    reason: str


class AlertService:
    """Sends at once, in the caller's thread, with its memory in this object.

    The service's own alerts go through `ChannelWorker`, which decides by the very same policy but retries,
    survives crashes and gives each channel a thread.
    """

    def __init__(
        self,
        channels: Sequence[AlertChannel],
        rules: Sequence[RuleConfig | Mapping[str, Any]] = (),
        *,
        deduplication_window_s: float = 300.0,
        send_resolved: bool = False,
    ) -> None:
        self.channels = list(channels)
        self.rules = [RuleConfig.model_validate(rule) for rule in rules]
        _refuse_unknown_channels(self.rules, {channel.name for channel in channels})
        self._policies = {
            channel.name: ChannelPolicy(
                channel.name, self.rules, window_s=deduplication_window_s, send_resolved=send_resolved
            )
            for channel in channels
        }

    def trigger_alert(self, anomaly: Anomaly | Mapping[str, Any]) -> dict[str, AlertOutcome]:
        """Tell every channel whose rules match; by channel's name, what became of it.

        `anomaly` is a published record or its JSON object; of the latter, `id`, `sourceId`, `score`,
        `severity`, `explanation` and `detectedAt` are enough.

        Raises:
            ValueError: it is not an anomaly record.
        """
        record = anomaly if isinstance(anomaly, Anomaly) else Anomaly.model_validate(_completed(anomaly))
        now = detected_at_s(record)
        return {channel.name: self._trigger(channel, record, now) for channel in self.channels}

    def _trigger(self, channel: AlertChannel, anomaly: Anomaly, now: float) -> AlertOutcome:
        policy = self._policies[channel.name]
        reason = policy.decide(anomaly, now)
        if reason is not Reason.SEND:
            policy.note_suppressed(anomaly)
            _log.debug("anomaly not alerted", channel=channel.name, reason=reason.value, alert_id=anomaly.id)
            return AlertOutcome("suppressed", reason)
        error = attempt(channel, Alert.of(anomaly))
        if error is not None:
            _log.error(
                "alert failed",
                channel=channel.name,
                reason=error.reason,
                detail=error.detail,
                alert_id=anomaly.id,
            )
            return AlertOutcome("failed", error.reason)
        policy.admit(anomaly, now)
        _log.info("alert sent", channel=channel.name, alert_id=anomaly.id)
        return AlertOutcome("sent", reason)


def send_test(config: AlertingConfig, channel_name: str, clock: Clock | None = None) -> None:
    """Send one harmless alert through the channel of that name, past all rules.

    Raises:
        ConfigurationError: there is no such channel.
        ChannelError: the destination did not take it; the text says why, without secrets.
    """
    if channel_name not in config.channels:
        known = ", ".join(sorted(config.channels)) or "none"
        raise ConfigurationError([f"alerting.channels.{channel_name}: no such channel; there are: {known}"])
    clock = clock or SystemClock()
    channel = make_channel(channel_name, config.channels[channel_name], clock)
    try:
        channel.send(Alert.of(_test_anomaly(clock)))
    finally:
        channel.close()


def _completed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The members that an anomaly has even where nobody published it."""
    made_up: dict[str, Any] = {
        "incidentId": record.get("id"),
        "timestamp": record.get("detectedAt"),
        "values": {},
        "modelVersion": "",
    }
    return {**made_up, **record}


def _refuse_unknown_channels(rules: Sequence[RuleConfig], known: set[str]) -> None:
    names = ", ".join(sorted(known)) or "none"
    problems = [
        f"rules.{i}.channels.{j}: no channel is named {name!r}; there are: {names}"
        for i, rule in enumerate(rules)
        for j, name in enumerate(rule.channels)
        if name not in known
    ]
    if problems:
        raise ConfigurationError(problems)


def _test_anomaly(clock: Clock) -> Anomaly:
    now_ms = round(clock.now() * 1000)
    now = format_rfc3339(now_ms)
    return Anomaly(
        id=f"test-{now_ms}",
        incident_id=f"test-{now_ms}",
        source_id="anomalyd-test",
        timestamp=now,
        detected_at=now,
        score=0.0,
        severity="low",
        values={"example": 2.13},
        expected={"example": Expected(lower=0.78, typical=1.02, upper=1.26)},
        explanation="This is a test alert from anomalyd. Nothing is wrong.",
        model_version="test",
    )
