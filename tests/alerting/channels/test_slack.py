from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.alerting.alert import Alert
from service.alerting.channels.base import ChannelError, FinalError, RetryableError
from service.alerting.channels.slack import SlackChannel, SlackConfig, blocks, escape
from tests.alerting.anomalies import anomaly
from tests.alerting.channels.servers import Answer, HttpServer


def config(**members: Any) -> SlackConfig:
    return SlackConfig.model_validate({"type": "slack", **members})


def bot(server: HttpServer) -> SlackChannel:
    return SlackChannel("ops", config(token="xoxb-token", channel="#ops", base_url=f"{server.url}/api"))


def test_a_message_says_what_a_tired_person_needs() -> None:
    with HttpServer() as server:
        SlackChannel("ops", config(webhook_url=f"{server.url}/services/T/B/x")).send(Alert.of(anomaly()))
        (request,) = server.requests
    assert request.path == "/services/T/B/x"
    text = str(request.json["blocks"])
    assert "CRITICAL pump-7" in text
    assert "pressure 2.13 is 9.4 standard deviations above its usual 1.02 ± 0.12" in text
    assert "2.13, usual 1.02 (0.78 to 1.26)" in text
    assert "critical (score 0.973)" in text
    assert "opened, data-points/0/17" in text
    assert request.json["text"].startswith("🔴 CRITICAL pump-7")


def test_a_bot_posts_to_its_channel_with_its_token() -> None:
    with HttpServer(default=Answer(body='{"ok": true}')) as server:
        bot(server).send(Alert.of(anomaly()))
        (request,) = server.requests
    assert request.path == "/api/chat.postMessage"
    assert request.headers["authorization"] == "Bearer xoxb-token"
    assert request.json["channel"] == "#ops"


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ('{"ok": false, "error": "channel_not_found"}', FinalError, "slack_channel_not_found"),
        ('{"ok": false, "error": "invalid_auth"}', FinalError, "slack_invalid_auth"),
        ('{"ok": false, "error": "ratelimited"}', RetryableError, "slack_ratelimited"),
        ('{"ok": false, "error": "internal_error"}', RetryableError, "slack_internal_error"),
        ('{"ok": false, "error": "Weird 1 &!"}', RetryableError, "slack_error"),
        ("<html>maintenance</html>", RetryableError, "slack_error"),
        ("", RetryableError, "slack_error"),
    ],
)
def test_slacks_own_errors_are_sorted(body: str, kind: type[ChannelError], reason: str) -> None:
    with HttpServer(default=Answer(body=body)) as server, pytest.raises(kind) as raised:
        bot(server).send(Alert.of(anomaly()))
    assert raised.value.reason == reason


def test_a_connection_lost_after_a_webhooks_200_is_no_reason_to_repeat() -> None:
    with HttpServer(Answer(reset=True)) as server:
        SlackChannel("ops", config(webhook_url=f"{server.url}/x")).send(Alert.of(anomaly()))
        assert len(server.requests) == 1


def test_no_mention_or_markup_comes_through_from_outside() -> None:
    nasty = "<!channel> <@U1> <https://evil.example|safe> *bold* `code` @here :boom:"
    alert = Alert.of(anomaly(sourceId=nasty, explanation=nasty, labels={nasty: nasty}, values={nasty: 1.0}))

    def texts(node: Any) -> list[dict[str, Any]]:
        if isinstance(node, list):
            return [found for child in node for found in texts(child)]
        if not isinstance(node, dict):
            return []
        own = [node] if isinstance(node.get("text"), str) else []
        return own + [found for child in node.values() for found in texts(child)]

    found = texts(blocks(alert))
    assert len(found) >= 4
    for text in found:
        assert text["type"] == "plain_text"
        assert "<" not in text["text"]
        assert ">" not in text["text"]
    fallback = escape(alert.title)
    assert "<" not in fallback
    assert "@here" not in fallback
    assert "*bold*" not in fallback


def test_slacks_limits_are_kept() -> None:
    long = "ü<" * 5_000
    many = {f"value-{i}": float(i) for i in range(500)}
    message = blocks(
        Alert.of(anomaly(sourceId=long[:256], explanation=long, labels={long: long}, values=many))
    )
    header, explanation, values, context = message
    assert len(header["text"]["text"].replace("&lt;", "<")) <= 150
    assert len(explanation["text"]["text"]) <= 3_000
    assert len(values["fields"]) <= 10
    assert all(len(field["text"]) <= 2_000 for field in values["fields"])
    assert len(context["elements"][0]["text"]) <= 3_000


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("https://hooks.example/services/x\n")
    url = config(webhook_url_file=str(path)).webhook_url
    assert url is not None
    assert url.get_secret_value() == "https://hooks.example/services/x"


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"token": "t"},
        {"channel": "#ops"},
        {"webhook_url": "https://x.example/y", "token": "t", "channel": "#ops"},
        {"webhook_url": "https://x.example/y", "channel": "#ops"},
        {"webhook_url": "not a url tops3cret"},
        {"webhook_url": "file:///tops3cret"},
        {"webhook_url": "https://x.example/tops3cret", "webhook_url_file": "/nowhere"},
        {"webhook_url_file": "/nowhere"},
        {"webhook_url": "https://x.example/tops3cret", "colour": "red"},
    ],
)
def test_a_wrong_config_is_refused_without_telling_secrets(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        config(**members)
    assert "tops3cret" not in str(raised.value)


def test_no_channel_library_is_loaded_unless_it_is_needed() -> None:
    code = (
        "import sys, service.alerting.service, service.alerting.worker; "
        "print([m for m in ('slack_sdk', 'httpx', 'confluent_kafka') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
