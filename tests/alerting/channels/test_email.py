from __future__ import annotations

from email.message import EmailMessage
from typing import Any

import pytest
from pydantic import ValidationError

from service.alerting.alert import Alert
from service.alerting.channels.base import FinalError, RetryableError
from service.alerting.channels.email import EmailChannel, EmailConfig
from service.clock import ManualClock
from tests.alerting.anomalies import START_S, anomaly
from tests.alerting.channels.conftest import Authority
from tests.alerting.channels.servers import MailServer, parsed


def config(**members: Any) -> EmailConfig:
    return EmailConfig.model_validate(
        {
            "type": "email",
            "host": "localhost",
            "from": "anomalyd@example.org",
            "to": ["a@example.org", "b@example.org"],
            **members,
        }
    )


def channel(server: MailServer, authority: Authority | None = None, **members: Any) -> EmailChannel:
    ca = {"ca_file": str(authority.ca_file)} if authority else {}
    return EmailChannel("on-call", config(port=server.port, **ca, **members), ManualClock(START_S))


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_mail_goes_over_verified_tls_after_a_login(tls: str, authority: Authority) -> None:
    with MailServer(authority.server, implicit=tls == "implicit", login=("me", "pass")) as server:
        channel(server, authority, tls=tls, username="me", password="pass").send(Alert.of(anomaly()))
        (mail,) = server.mails
        assert server.logins == [b"me"]
    assert mail.rcpt_tos == ["a@example.org", "b@example.org"]


def test_a_mail_says_what_a_tired_person_needs() -> None:
    with MailServer() as server:
        channel(server, tls="none").send(Alert.of(anomaly()))
        mail = parsed(server.mails[0])
    assert isinstance(mail, EmailMessage)
    assert mail["Subject"] == (
        "CRITICAL pump-7: pressure 2.13 is 9.4 standard deviations above its usual 1.02 ± 0.12"
    )
    assert mail["Date"] == "Thu, 01 Jan 2026 00:00:00 -0000"
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "pressure  2.13, usual 1.02 (0.78 to 1.26)" in plain.get_content()
    assert "2.13, usual 1.02 (0.78 to 1.26)" in html.get_content()


def test_an_unknown_certificate_is_not_trusted(authority: Authority) -> None:
    with MailServer(authority.server) as server, pytest.raises(RetryableError) as raised:
        channel(server).send(Alert.of(anomaly()))
    assert raised.value.reason == "tls"


def test_a_server_without_starttls_gets_nothing() -> None:
    with MailServer() as server:
        with pytest.raises(RetryableError) as raised:
            channel(server).send(Alert.of(anomaly()))
        assert server.mails == []
    assert raised.value.reason == "smtp_not_supported"


def test_a_wrong_password_is_final(authority: Authority) -> None:
    with MailServer(authority.server, login=("me", "pass")) as server, pytest.raises(FinalError) as raised:
        channel(server, authority, username="me", password="other").send(Alert.of(anomaly()))
    assert raised.value.reason == "smtp_535"


def test_a_recipient_that_was_put_off_is_tried_again_alone() -> None:
    with MailServer() as server:
        server.refusals = {"b@example.org": "450 greylisted"}
        mailer = channel(server, tls="none")
        with pytest.raises(RetryableError) as raised:
            mailer.send(Alert.of(anomaly()))
        assert raised.value.reason == "smtp_450"
        server.refusals = {}
        mailer.send(Alert.of(anomaly()))
        assert [mail.rcpt_tos for mail in server.mails] == [["a@example.org"], ["b@example.org"]]


def test_recipients_that_are_all_refused_for_good_are_final() -> None:
    with MailServer() as server:
        server.refusals = dict.fromkeys(["a@example.org", "b@example.org"], "550 unknown")
        with pytest.raises(FinalError):
            channel(server, tls="none").send(Alert.of(anomaly()))


def test_of_all_refused_one_put_off_makes_it_retryable() -> None:
    with MailServer() as server:
        server.refusals = {"a@example.org": "550 unknown", "b@example.org": "451 later"}
        with pytest.raises(RetryableError):
            channel(server, tls="none").send(Alert.of(anomaly()))


def test_no_header_can_be_added_from_outside() -> None:
    nasty = "pump\r\nBcc: evil@example.org\r\n\r\nbody <b>"
    mail = EmailChannel("x", config()).message(Alert.of(anomaly(nasty, sourceId=nasty, explanation=nasty)))
    assert mail["Bcc"] is None
    assert set(mail.keys()) == {
        "Subject", "From", "To", "Date", "Message-ID", "References", "Auto-Submitted", "X-Anomalyd-Alert",
        "MIME-Version", "Content-Type",
    }  # fmt: skip
    html = mail.get_body(("html",))
    assert html is not None
    assert "<b>b" not in html.get_content()
    assert "body &lt;b&gt;" in html.get_content()


def test_the_mails_of_an_incident_form_a_thread() -> None:
    mailer = EmailChannel("x", config())
    first = mailer.message(Alert.of(anomaly("a1")))
    later = mailer.message(Alert.of(anomaly("a2", incidentId="a1", incident="resolved")))
    assert later["References"] == first["Message-ID"]
    assert str(later["Subject"]).startswith("RESOLVED pump-7")


@pytest.mark.parametrize(
    "members",
    [
        {"to": []},
        {"to": ["a@example.org\r\nBcc: x@example.org"]},
        {"to": ["a@example.org, b@example.org"]},
        {"from": "no address"},
        {"username": "me"},
        {"password": "tops3cret"},
        {"tls": "none", "username": "me", "password": "tops3cret"},
        {"port": 0},
    ],
)
def test_a_wrong_config_is_refused_without_telling_secrets(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        config(**members)
    assert "tops3cret" not in str(raised.value)
