"""What every channel that talks to a server promises: what is retried, what is final, and no secret told."""

from __future__ import annotations

import logging
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.alerting.alert import Alert
from service.alerting.channels.base import AlertChannel, ChannelError, FinalError, RetryableError
from service.alerting.channels.email import EmailConfig
from service.alerting.channels.registry import make_channel
from service.alerting.channels.slack import SlackConfig
from service.alerting.channels.webhook import WebhookConfig
from service.alerting.sending import attempt
from service.clock import ManualClock
from tests.alerting.anomalies import START_S, anomaly
from tests.alerting.channels.conftest import Authority
from tests.alerting.channels.servers import Answer, HttpServer, MailServer, parsed, silent_port

SECRET = "tops3cr3t-tok3n"


class Case(ABC):
    """One kind of channel with a scripted server in front of it."""

    retryable: tuple[str, ...]
    final: tuple[str, ...]

    @abstractmethod
    def open(self, authority: Authority) -> AbstractContextManager[object]: ...

    @abstractmethod
    def config(self, port: int | None = None) -> Any: ...

    @abstractmethod
    def will_answer(self, answer: str) -> None:
        """Let the server answer so, once."""

    @abstractmethod
    def received(self) -> list[str]:
        """What carries the alert's identity, of each message that was taken."""


class HttpCase(Case):
    retryable = ("408", "425", "429", "500", "502", "503", "504", "reset")
    final = ("301", "302", "307", "400", "401", "403", "404", "410", "413")

    def open(self, authority: Authority) -> HttpServer:  # noqa: ARG002  HTTP here is plain
        self.server = HttpServer(default=Answer(body='{"ok": true}'))
        return self.server

    def will_answer(self, answer: str) -> None:
        if answer == "reset":
            self.server.script.append(Answer(status=0))
            return
        # A server that says back what it was asked must not get the secret into a log.
        headers = {"Location": f"{self.server.url}/elsewhere"} if answer.startswith("3") else {}
        self.server.script.append(Answer(int(answer), headers, f"no: /{SECRET} {SECRET}"))


class WebhookCase(HttpCase):
    def config(self, port: int | None = None) -> WebhookConfig:
        return WebhookConfig.model_validate(
            {
                "type": "webhook",
                "url": f"http://127.0.0.1:{port or self.server.port}/hooks/{SECRET}",
                "secret": f"{SECRET}-hmac",
                "headers": {"Authorization": f"Bearer {SECRET}-bearer"},
                "allow_private": True,
            }
        )

    def received(self) -> list[str]:
        return [request.headers["idempotency-key"] for request in self.server.requests]


class SlackWebhookCase(HttpCase):
    def config(self, port: int | None = None) -> SlackConfig:
        url = f"http://127.0.0.1:{port or self.server.port}/services/{SECRET}"
        return SlackConfig.model_validate({"type": "slack", "webhook_url": url})

    def received(self) -> list[str]:
        # Slack takes no key; the alert's id stands in the message.
        facts = [request.json["blocks"][-1]["elements"][0]["text"] for request in self.server.requests]
        return [text.partition("alert: ")[2] for text in facts]


class SlackBotCase(SlackWebhookCase):
    def config(self, port: int | None = None) -> SlackConfig:
        url = f"http://127.0.0.1:{port or self.server.port}/api/"
        return SlackConfig.model_validate(
            {"type": "slack", "token": SECRET, "channel": "#ops", "base_url": url}
        )


class EmailCase(Case):
    retryable = ("421 busy", "450 later", "451 later", "452 full")
    final = ("550 no", "552 too large", "554 no")

    def open(self, authority: Authority) -> MailServer:
        self.authority = authority
        self.server = MailServer(authority.server, login=("anomalyd", SECRET))
        return self.server

    def config(self, port: int | None = None) -> EmailConfig:
        return EmailConfig.model_validate(
            {
                "type": "email",
                "host": "127.0.0.1",
                "port": port or self.server.port,
                "ca_file": str(self.authority.ca_file),
                "username": "anomalyd",
                "password": SECRET,
                "from": "anomalyd@example.org",
                "to": ["on-call@example.org"],
            }
        )

    def will_answer(self, answer: str) -> None:
        self.server.answer = f"{answer} {SECRET}"

    def received(self) -> list[str]:
        return [str(parsed(mail)["Message-ID"]) for mail in self.server.mails]


CASES: dict[str, type[Case]] = {
    "webhook": WebhookCase,
    "slack-webhook": SlackWebhookCase,
    "slack-bot": SlackBotCase,
    "email": EmailCase,
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Case]:
    case = CASES[request.param]()
    with case.open(authority):
        yield case


def each_answer(kind: str) -> list[Any]:
    return [
        pytest.param(name, answer, id=f"{name}-{answer}")
        for name, cls in CASES.items()
        for answer in (cls.retryable if kind == "retryable" else cls.final)
    ]


def channel_of(case: Case, port: int | None = None) -> AlertChannel:
    return make_channel("ops", case.config(port), ManualClock(START_S))


def error_of(case: Case, port: int | None = None) -> ChannelError:
    channel = channel_of(case, port)
    try:
        with pytest.raises(ChannelError) as raised:
            channel.send(Alert.of(anomaly()))
    finally:
        channel.close()
    return raised.value


def test_an_alert_is_taken(case: Case) -> None:
    channel = channel_of(case)
    channel.send(Alert.of(anomaly()))
    channel.close()
    assert len(case.received()) == 1


def test_a_repeat_carries_the_same_identity_and_another_alert_another(case: Case) -> None:
    channel = channel_of(case)
    for alert_id in ("data-points/0/17", "data-points/0/17", "data-points/0/18"):
        channel.send(Alert.of(anomaly(alert_id)))
    channel.close()
    first, again, other = case.received()
    assert first == again != other


@pytest.mark.parametrize(("name", "answer"), each_answer("retryable"))
def test_what_may_pass_is_retryable(name: str, answer: str, authority: Authority) -> None:
    case = CASES[name]()
    with case.open(authority):
        case.will_answer(answer)
        assert isinstance(error_of(case), RetryableError)


@pytest.mark.parametrize(("name", "answer"), each_answer("final"))
def test_what_will_not_pass_is_final(name: str, answer: str, authority: Authority) -> None:
    case = CASES[name]()
    with case.open(authority):
        case.will_answer(answer)
        assert isinstance(error_of(case), FinalError)


def test_a_redirect_is_not_followed(authority: Authority) -> None:
    for name in ("webhook", "slack-webhook", "slack-bot"):
        case = CASES[name]()
        with case.open(authority):
            case.will_answer("302")
            error_of(case)
            assert len(case.received()) == 1, name


def test_nobody_listening_is_retryable(case: Case) -> None:
    with silent_port() as port:
        assert isinstance(error_of(case, port), RetryableError)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1e3", None),
    ],
)
@pytest.mark.parametrize("name", ["webhook", "slack-webhook", "slack-bot"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_understood(
    name: str, status: int, header: str, seconds: float | None, authority: Authority
) -> None:
    case = CASES[name]()
    assert isinstance(case, HttpCase)
    with case.open(authority):
        case.server.script.append(Answer(status, {"Retry-After": header}))
        error = error_of(case)
    assert isinstance(error, RetryableError)
    assert error.retry_after_s == seconds


def test_no_secret_stands_in_any_repr(case: Case) -> None:
    config = case.config()
    channel = channel_of(case)
    channel.close()
    assert SECRET not in repr(config) + str(config) + repr(channel) + config.model_dump_json()


def test_no_secret_is_told_when_sending_fails(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    answers = [*case.retryable, *case.final]
    with caplog.at_level(logging.DEBUG), capture_logs() as lines, ExitStack() as stack:
        for answer in answers:
            case.will_answer(answer)
            channel = channel_of(case)
            stack.callback(channel.close)
            error = attempt(channel, Alert.of(anomaly()))
            assert error is not None
            told = "".join(traceback.format_exception(error)) + repr(error) + error.detail
            assert SECRET not in told
        with silent_port() as port:
            assert SECRET not in "".join(traceback.format_exception(error_of(case, port)))
    # aiosmtpd, the server, logs on the same side of the test.
    logged = [line.getMessage() for line in caplog.records if line.name != "mail.log"]
    assert SECRET not in str(logged) + str(lines)


def test_the_reason_is_fit_for_a_label(case: Case) -> None:
    case.will_answer(case.final[0])
    assert error_of(case).reason.isidentifier()


def test_what_came_from_outside_cannot_break_a_message(case: Case) -> None:
    nasty = 'x\r\nBcc: evil@example.org\r\n\r\n<!channel> <script>\x1b[31m\u202e*b* & "q" \x00 😀' * 40
    hostile = anomaly(
        sourceId=nasty, explanation=nasty, labels={nasty: nasty}, values={nasty: 1e308, "ü": None}
    )
    channel = channel_of(case)
    channel.send(Alert.of(hostile))
    channel.close()
    assert len(case.received()) == 1
