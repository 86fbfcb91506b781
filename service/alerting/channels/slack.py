"""Alerts in Slack, by an incoming webhook or as a bot; the only file that knows slack_sdk.

slack_sdk is imported where a channel is made, so that nobody pays for it who has no Slack. Of the library
are used its clients and their idea of an error; its own retries, logging (it writes URLs) and redirects
(urllib would carry the token along) are switched off.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from pydantic import Field, SecretStr, field_validator, model_validator

from service.alerting.alert import Alert
from service.alerting.channels.base import (
    AlertChannel,
    ChannelSettings,
    FinalError,
    RetryableError,
    check_status,
    scrub,
)
from service.clock import Clock, SystemClock

if TYPE_CHECKING:
    from slack_sdk.web.slack_response import SlackResponse
    from slack_sdk.webhook import WebhookResponse

# What Slack answers with HTTP 200 though trying again helps.
_PASSING_ERRORS = frozenset(
    {
        "external_channel_migrating", "fatal_error", "internal_error", "rate_limited", "ratelimited",
        "request_timeout", "service_unavailable", "team_added_to_org",
    }
)  # fmt: skip
_ANSWER_LIMIT = 64 * 1024
_Post = Callable[[str, list[dict[str, Any]]], None]


class SlackConfig(ChannelSettings):
    """Either `webhook_url`, or a bot's `token` with the `channel` that it writes to."""

    secret_fields = ("webhook_url", "token")

    type: Literal["slack"]
    webhook_url: SecretStr | None = None
    token: SecretStr | None = None
    channel: str | None = Field(default=None, min_length=1, max_length=100)
    base_url: str = "https://slack.com/api/"

    @field_validator("webhook_url")
    @classmethod
    def _is_a_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _check_url(value.get_secret_value())
        return value

    @field_validator("base_url")
    @classmethod
    def _is_a_base_url(cls, value: str) -> str:
        _check_url(value)
        return value

    @model_validator(mode="after")
    def _one_way_in(self) -> SlackConfig:
        if (self.webhook_url is None) == (self.token is None):
            raise ValueError("give either webhook_url or token (or their _file)")
        if (self.token is None) != (self.channel is None):
            raise ValueError("token and channel belong together; a webhook has its channel already")
        return self

    def make(self, name: str, clock: Clock) -> SlackChannel:
        return SlackChannel(name, self, clock)


class SlackChannel(AlertChannel):
    """Posts one message per alert."""

    def __init__(self, name: str, config: SlackConfig, clock: Clock | None = None) -> None:
        super().__init__(name)
        self._clock = clock or SystemClock()
        self._secrets = config.secrets
        if config.webhook_url is not None:
            self._secrets.append(urlsplit(config.webhook_url.get_secret_value()).path)
            self._post = self._webhook_post(config, config.webhook_url)
        else:
            self._post = self._bot_post(config)

    def send(self, alert: Alert) -> None:
        try:
            self._post(escape(f"{alert.symbol} {alert.title}"), blocks(alert))
        except (OSError, HTTPException) as error:
            reason = "timeout" if isinstance(error, TimeoutError) else "connection"
            raise RetryableError(reason, scrub(str(error), self._secrets)) from None

    def _webhook_post(self, config: SlackConfig, url: SecretStr) -> _Post:
        from slack_sdk.webhook import WebhookClient, WebhookResponse

        class Client(WebhookClient):
            def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:  # noqa: ARG002
                with opener.open(req, timeout=config.timeout) as answer:
                    # A webhook's answer is its status: one cut off after a 200 is no reason to repeat.
                    return WebhookResponse(
                        url="", status_code=answer.status, body="", headers=dict(answer.headers.items())
                    )

        opener = _opener()
        client = Client(url.get_secret_value(), retry_handlers=[], logger=_silent_logger())

        def post(text: str, blocks: list[dict[str, Any]]) -> None:
            answer = client.send(text=text, blocks=blocks)
            self._check(answer.status_code, answer.headers, answer.body)

        return post

    def _bot_post(self, config: SlackConfig) -> _Post:
        from slack_sdk.errors import SlackApiError, SlackClientError
        from slack_sdk.web import WebClient

        class Client(WebClient):
            def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:  # noqa: ARG002
                with opener.open(req, timeout=config.timeout) as answer:
                    body = answer.read(_ANSWER_LIMIT).decode("utf-8", "replace")
                    return {"status": answer.status, "headers": answer.headers, "body": body}

        opener = _opener()
        token = config.token.get_secret_value() if config.token else None
        client = Client(token, base_url=config.base_url, retry_handlers=[], logger=_silent_logger())

        def post(text: str, blocks: list[dict[str, Any]]) -> None:
            refusal: SlackResponse | None = None
            try:
                client.chat_postMessage(
                    channel=config.channel or "", text=text, blocks=blocks, unfurl_links=False, parse="none"
                )
            except SlackApiError as error:
                # Judged outside: an error raised here would carry this one, and what it says, along.
                refusal = error.response
            except SlackClientError as error:
                raise RetryableError("slack_client", scrub(str(error), self._secrets)) from None
            if refusal is not None:
                self._judge(refusal)

        return post

    def _judge(self, answer: SlackResponse) -> None:
        """Translate an answer that is not `ok: true`; slack_sdk makes an error text of what is no JSON."""
        said = str(answer.get("error", ""))
        self._check(answer.status_code, answer.headers, said)
        known = re.fullmatch("[a-z_]{1,50}", said)
        if known and said not in _PASSING_ERRORS:
            raise FinalError(f"slack_{said}")
        # Not in Slack's own words: rather something in between, or down for maintenance.
        raise RetryableError(f"slack_{said}" if known else "slack_error", scrub(said, self._secrets))

    def _check(self, status: int, headers: Mapping[str, str], said: str) -> None:
        check_status(status, headers, scrub(said, self._secrets), self._clock.now())


def blocks(alert: Alert) -> list[dict[str, Any]]:
    """The message as Slack blocks; what came from outside stands in plain text, where no markup works."""
    values = [_plain(f"{line.name}\n{line.text}", 300) for line in alert.values]
    message: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(f"{alert.symbol} {alert.state} {alert.source}", 150)},
        {"type": "section", "text": _plain(alert.explanation, 2900)},
    ]
    if values:
        message.append({"type": "section", "fields": values})
    facts = "\n".join(f"{name}: {text}" for name, text in alert.facts)
    message.append({"type": "context", "elements": [_plain(facts, 1900)]})
    return message


def escape(text: str) -> str:
    """`text` for a place where Slack reads markup: mentions, links and formatting become what they look like.

    The three characters that Slack documents are replaced by entities. Those of formatting have none, so a
    word joiner (invisible) beside each keeps it from pairing.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([*_~`:@#])", "\\1\u2060", text)


def _plain(text: str, limit: int) -> dict[str, Any]:
    # Entities are decoded in plain text, too, so what looks like one must be escaped; cut first, so that
    # none is cut in half.
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    safe = cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"type": "plain_text", "text": safe, "emoji": False}


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: the answer itself is then raised as an HTTP error."""


def _opener() -> OpenerDirector:
    """Verified TLS, the environment's proxies, no redirects."""
    return build_opener(_NoRedirects(), HTTPSHandler(context=ssl.create_default_context()))


def _silent_logger() -> logging.Logger:
    """A logger of its own, outside the tree: slack_sdk writes whole URLs and tokens to the one it has."""
    return logging.Logger("slack_sdk (silent)", level=logging.CRITICAL + 1)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("not an http(s) URL")
