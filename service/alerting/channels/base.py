"""What every channel is: something that sends one alert, or says whether trying again can help."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from service.alerting.alert import Alert
from service.clock import Clock
from service.durations import Duration

_RETRY_STATUSES = frozenset({408, 425, 429})
_DETAIL_LIMIT = 300
_SCRUBBED_LENGTH = 4  # what is shorter stands in any text by chance


class ChannelError(Exception):
    """An alert did not go out.

    `reason` is a metric's label (few different ones); `detail` is for the log, without secrets.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail[:_DETAIL_LIMIT]
        super().__init__(f"{reason}: {self.detail}" if detail else reason)


class RetryableError(ChannelError):
    """Trying again later can help; `retry_after_s` is what the destination asked for, if it did."""

    def __init__(self, reason: str, detail: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after_s = retry_after_s


class FinalError(ChannelError):
    """The destination will never take this alert as it is."""


class AlertChannel(ABC):
    """One destination. Used by one thread at a time."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def send(self, alert: Alert) -> None:
        """Return once the destination has taken the alert.

        Raises:
            RetryableError: it may be taken later.
            FinalError: it never will be.
        """

    def close(self) -> None:  # noqa: B027  most channels hold nothing open
        """Let go of connections; the channel is not used afterwards."""


class ChannelSettings(BaseModel, ABC):
    """What every channel's config has; `make` is where its library is imported, not before.

    A field named in `secret_fields` may be given as `<field>_file` instead: the path of a file whose
    content, without the line's end, is the secret.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    secret_fields: ClassVar[tuple[str, ...]] = ()

    send_resolved: bool = False
    timeout: Duration = Field(default=10.0, gt=0, le=60)

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        read = dict(data)
        for field in cls.secret_fields:
            path = read.pop(f"{field}_file", None)
            if path is None:
                continue
            if read.get(field) is not None:
                raise ValueError(f"{field} and {field}_file are both given")
            read[field] = _read_secret(field, str(path))
        return read

    @property
    def secrets(self) -> list[str]:
        """The plain secrets, for scrubbing them out of what others say."""
        values = (getattr(self, field) for field in self.secret_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]

    @abstractmethod
    def make(self, name: str, clock: Clock) -> AlertChannel:
        """The channel of this configuration; its library is imported here, not before."""


def _read_secret(field: str, path: str) -> str:
    try:
        content = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{field}_file: cannot read {path}: {_why(error)}") from None
    if not content:
        raise ValueError(f"{field}_file: {path} is empty")
    return content


def _why(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "not UTF-8 text"


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without the secrets, for what a server or a library said about a request.

    Their longer parts go as well: of a webhook's URL one segment is the token, of a header what follows
    `Bearer`.
    """
    parts = {part for secret in secrets for part in (secret, *re.split(r"[\s/?&=:]+", secret))}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _SCRUBBED_LENGTH:
            text = text.replace(part, "***")
    return text


def check_status(status: int, headers: Mapping[str, str], detail: str, now_s: float) -> None:
    """Raise what an HTTP status means for an alert; 2xx means that it was taken.

    Redirects are final: nobody configured the place that they point to.

    Raises:
        RetryableError: 408, 425, 429 and 5xx.
        FinalError: any other status outside 2xx.
    """
    if 200 <= status < 300:
        return
    reason = f"http_{status}"
    if status in _RETRY_STATUSES or status >= 500:
        lower = {name.lower(): value for name, value in headers.items()}
        raise RetryableError(reason, detail, parse_retry_after(lower.get("retry-after"), now_s))
    raise FinalError(reason, detail)


def parse_retry_after(value: str | None, now_s: float) -> float | None:
    """The seconds that a Retry-After header asks for, from seconds or a date; `None` for none or nonsense."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None
