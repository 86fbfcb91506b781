"""Alerts by mail; the only channel that knows SMTP."""

from __future__ import annotations

import contextlib
import hashlib
import re
import smtplib
import ssl
from collections.abc import Iterable, Iterator
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate
from html import escape
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from service.alerting.alert import Alert
from service.alerting.channels.base import (
    AlertChannel,
    ChannelError,
    ChannelSettings,
    FinalError,
    RetryableError,
    scrub,
)
from service.clock import Clock, SystemClock

_PORTS = {"starttls": 587, "implicit": 465, "none": 25}
_COLOURS = {
    "LOW": "#3b7dd8",
    "MEDIUM": "#c99700",
    "HIGH": "#d9640d",
    "CRITICAL": "#c4161c",
    "RESOLVED": "#2e8540",
}
_REMEMBERED = 1_000
_ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f<>\"(),:;@\\]{1,64}@[A-Za-z0-9.-]{1,255}")


def _check_address(address: str) -> str:
    if not _ADDRESS.fullmatch(address) or not address.isascii():
        raise ValueError(f"not a plain mail address: {address[:100]!r}")
    return address


MailAddress = Annotated[str, AfterValidator(_check_address)]


class EmailConfig(ChannelSettings):
    """An SMTP server and who is written to; certificates are always verified, against `ca_file` if given."""

    secret_fields = ("password",)

    type: Literal["email"]
    host: str = Field(min_length=1, max_length=255)
    port: int | None = Field(default=None, ge=1, le=65_535)
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    ca_file: Path | None = None
    username: str | None = None
    password: SecretStr | None = None
    sender: MailAddress = Field(alias="from")
    to: list[MailAddress] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _login_is_whole_and_safe(self) -> EmailConfig:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.username is not None and self.tls == "none":
            raise ValueError("tls: none would send the password in the clear")
        return self

    def make(self, name: str, clock: Clock) -> EmailChannel:
        return EmailChannel(name, self, clock)


class EmailChannel(AlertChannel):
    """Sends one mail per alert, over a connection of its own."""

    def __init__(self, name: str, config: EmailConfig, clock: Clock | None = None) -> None:
        super().__init__(name)
        self._config = config
        self._clock = clock or SystemClock()
        self._tls = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
        # Who has an alert already, while others of its recipients are tried again.
        self._reached: dict[str, set[str]] = {}

    def send(self, alert: Alert) -> None:
        """Hand the mail over for everyone who does not have it yet.

        Raises:
            RetryableError: also where the server put off only some of the recipients; a repeat goes to
                those alone.
            FinalError: also where it refused some for good and took or refused all the others.
        """
        reached = self._reached.get(alert.alert_id, set())
        waiting = [address for address in self._config.to if address not in reached]
        with self._errors_translated(), self._session() as smtp:
            refused = _hand_over(smtp, self.message(alert), self._config.sender, waiting)
        if not refused:
            self._reached.pop(alert.alert_id, None)
            return
        self._remember(alert.alert_id, reached.union(waiting).difference(refused))
        raise _refusal(refused.values(), f"{len(refused)} of {len(self._config.to)} recipients refused")

    def message(self, alert: Alert) -> EmailMessage:
        """The mail; its Message-ID follows from the alert, so that a repeat is recognised as one."""
        mail = EmailMessage(policy=SMTP_POLICY)
        mail["Subject"] = alert.title
        mail["From"] = self._config.sender
        mail["To"] = ", ".join(self._config.to)
        mail["Date"] = formatdate(self._clock.now())
        mail["Message-ID"] = self._message_id(alert.alert_id)
        mail["References"] = self._message_id(alert.anomaly.group)
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Anomalyd-Alert"] = hashlib.sha256(alert.alert_id.encode()).hexdigest()[:32]
        mail.set_content(alert.text + "\n")
        mail.add_alternative(html(alert), subtype="html")
        return mail

    def _message_id(self, alert_id: str) -> str:
        digest = hashlib.sha256(f"{self.name}/{alert_id}".encode()).hexdigest()[:32]
        return f"<{digest}@{self._config.sender.rpartition('@')[2]}>"

    @contextlib.contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        config = self._config
        port = config.port or _PORTS[config.tls]
        if config.tls == "implicit":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                config.host, port, timeout=config.timeout, context=self._tls
            )
        else:
            smtp = smtplib.SMTP(config.host, port, timeout=config.timeout)
        try:
            if config.tls == "starttls":
                smtp.starttls(context=self._tls)
            if config.username is not None and config.password is not None:
                smtp.login(config.username, config.password.get_secret_value())
            yield smtp
            # The mail is taken; how the server says goodbye changes nothing.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                smtp.quit()
        finally:
            smtp.close()

    @contextlib.contextmanager
    def _errors_translated(self) -> Iterator[None]:
        try:
            yield
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            raise self._answer(error.smtp_code, said if isinstance(said, bytes) else said.encode()) from None
        except smtplib.SMTPNotSupportedError:
            # Final for a server, but also what somebody in between does who wants to read along.
            raise RetryableError("smtp_not_supported", "the server offers no STARTTLS or no login") from None
        except smtplib.SMTPException as error:
            raise RetryableError("connection", type(error).__name__) from None
        except ssl.SSLError as error:
            raise RetryableError("tls", error.reason or "") from None
        except OSError as error:
            reason = "timeout" if isinstance(error, TimeoutError) else "connection"
            raise RetryableError(reason, error.strerror or "") from None

    def _answer(self, code: int, said: bytes) -> ChannelError:
        return _refusal([(code, said)], scrub(said.decode("utf-8", "replace"), self._config.secrets))

    def _remember(self, alert_id: str, reached: set[str]) -> None:
        self._reached.pop(alert_id, None)
        if reached:
            self._reached[alert_id] = reached
        while len(self._reached) > _REMEMBERED:
            del self._reached[next(iter(self._reached))]


def html(alert: Alert) -> str:
    """The message for a mail reader; nothing is loaded from anywhere."""
    colour = _COLOURS[alert.state]
    rows = [(line.name, line.text) for line in alert.values]
    if alert.values_left_out:
        rows.append(("", f"and {alert.values_left_out} more values"))
    cells = "".join(
        f'<tr><td style="padding:2px 16px 2px 0;color:#666">{escape(name)}</td><td>{escape(text)}</td></tr>'
        for name, text in [*rows, *alert.facts]
    )
    return (
        '<!doctype html><html><body style="font-family:sans-serif;font-size:14px">'
        f'<p style="border-left:6px solid {colour};padding-left:10px">'
        f'<b style="color:{colour}">{escape(f"{alert.state} {alert.source}")}</b><br>'
        f"{escape(alert.explanation)}</p>"
        f"<table>{cells}</table></body></html>\n"
    )


_Answer = tuple[int, bytes]


def _hand_over(
    smtp: smtplib.SMTP, mail: EmailMessage, sender: str, recipients: list[str]
) -> dict[str, _Answer]:
    """The recipients that the server refused, which may be all."""
    try:
        return smtp.send_message(mail, from_addr=sender, to_addrs=recipients)
    except smtplib.SMTPRecipientsRefused as error:
        return {address: error.recipients.get(address, (451, b"")) for address in recipients}


def _refusal(answers: Iterable[_Answer], detail: str) -> ChannelError:
    """5xx is final, unless another recipient was only put off."""
    codes = [code for code, _ in answers]
    passing = [code for code in codes if not 500 <= code < 600]
    if passing:
        return RetryableError(f"smtp_{passing[0]}", detail)
    return FinalError(f"smtp_{codes[0]}", detail)
