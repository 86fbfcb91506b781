from __future__ import annotations

import io
from typing import Any

import pytest

from service.alerting.channels.base import ChannelError, FinalError, RetryableError
from service.alerting.channels.terminal import TerminalChannel, TerminalConfig
from service.alerting.config import AlertingConfig
from service.alerting.service import AlertOutcome, AlertService, send_test
from service.errors import ConfigurationError
from tests.alerting.anomalies import START_S, anomaly, record
from tests.alerting.channels.servers import Answer, HttpServer
from tests.alerting.test_session import ScriptedChannel

SENT = AlertOutcome("sent", "send")
TWICE = AlertOutcome("suppressed", "duplicate")


def test_every_matched_channel_is_told() -> None:
    ops, calls = ScriptedChannel("ops"), ScriptedChannel("calls")
    service = AlertService([ops, calls], [{"severity": "all", "channels": ["ops"]}])
    outcome = service.trigger_alert(anomaly("a1"))
    assert outcome == {"ops": SENT, "calls": AlertOutcome("suppressed", "no_rule")}
    assert (ops.taken, calls.taken) == (["a1"], [])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RetryableError("timeout"), "timeout"),
        (FinalError("http_404"), "http_404"),
        (KeyError("x"), "unexpected"),
    ],
)
def test_one_failing_channel_does_not_stop_the_others(error: Exception, reason: str) -> None:
    bad, good = ScriptedChannel("bad", error), ScriptedChannel("good")
    outcome = AlertService([bad, good]).trigger_alert(anomaly("a1"))
    assert outcome == {"bad": AlertOutcome("failed", reason), "good": SENT}


def test_what_failed_may_be_triggered_again_and_what_was_sent_is_not_repeated() -> None:
    bad, good = ScriptedChannel("bad", RetryableError("timeout")), ScriptedChannel("good")
    service = AlertService([bad, good])
    service.trigger_alert(anomaly("a1"))
    assert service.trigger_alert(anomaly("a2")) == {"bad": SENT, "good": TWICE}


def test_the_window_is_the_anomalys_own_time() -> None:
    channel = ScriptedChannel("ops")
    service = AlertService([channel], deduplication_window_s=300)
    for number, at in enumerate([0.0, 299.0, 300.0]):
        service.trigger_alert(anomaly(f"a{number}", at=START_S + at))
    assert channel.taken == ["a0", "a2"]


def test_the_short_record_of_the_design_document_is_enough() -> None:
    short: dict[str, Any] = {
        "id": "5ad3", "sourceId": "pump-7", "score": 0.97, "severity": "critical",
        "explanation": "Value is 9.4 standard deviations from normal",
        "detectedAt": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    stream = io.StringIO()
    screen = TerminalChannel("screen", TerminalConfig(type="terminal"), stream)
    assert AlertService([screen]).trigger_alert(short) == {"screen": SENT}
    assert "CRITICAL pump-7: Value is 9.4 standard deviations from normal" in stream.getvalue()


def test_what_is_no_anomaly_is_refused() -> None:
    with pytest.raises(ValueError, match="severity"):
        AlertService([]).trigger_alert(record(severity="dreadful"))


def test_a_rule_with_an_unknown_channel_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"rules\.0\.channels\.1"):
        AlertService([ScriptedChannel("ops")], [{"channels": ["ops", "oops"]}])


def alerting(url: str) -> AlertingConfig:
    hook = {"type": "webhook", "url": url, "allow_private": True}
    return AlertingConfig.model_validate({"channels": {"hook": hook}, "rules": []})


def test_a_test_alert_goes_through_the_channel() -> None:
    with HttpServer() as server:
        send_test(alerting(server.url), "hook")
        assert (
            server.requests[0].json["explanation"] == "This is a test alert from anomalyd. Nothing is wrong."
        )


def test_a_test_alert_says_what_went_wrong() -> None:
    with HttpServer(Answer(404, body="no such hook")) as server:
        with pytest.raises(ChannelError, match="http_404: no such hook"):
            send_test(alerting(server.url), "hook")
        with pytest.raises(
            ConfigurationError, match=r"alerting\.channels\.hok: no such channel; there are: hook"
        ):
            send_test(alerting(server.url), "hok")
