"""Alerts as JSON, posted to a URL; the only channel that knows httpx.

httpx's transport is used without its client: the client logs every URL (which carries tokens), follows the
environment's proxies (which would make the check of addresses meaningless), and offers redirects.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import ssl
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from service.alerting.alert import Alert
from service.alerting.channels.addresses import Address, is_public, resolve
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
    import httpx

SIGNATURE_HEADER = "X-Anomalyd-Signature"
_OWN_HEADERS = {
    "content-type",
    "content-length",
    "host",
    "idempotency-key",
    "transfer-encoding",
    "connection",
}
Resolver = Callable[[str, int], Sequence[Address]]
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]{0,4000}")


class WebhookConfig(ChannelSettings):
    """Where to post; with `secret`, each body is signed: `sha256=` and the HMAC in hexadecimal."""

    secret_fields = ("url", "secret")

    type: Literal["webhook"]
    url: SecretStr
    secret: SecretStr | None = Field(default=None, min_length=1)
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    allow_private: bool = False
    ca_file: Path | None = None

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value.get_secret_value()):
                raise ValueError(f"{name[:100]!r}: not a header")
            if name.lower() in _OWN_HEADERS or name.lower() == SIGNATURE_HEADER.lower():
                raise ValueError(f"{name}: set by anomalyd itself")
        return headers

    @model_validator(mode="after")
    def _url_is_usable(self) -> WebhookConfig:
        try:
            parts = urlsplit(self.url.get_secret_value())
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("url: not an http(s) URL") from None
        if parts.scheme not in ("https", "http") or not host:
            raise ValueError("url: not an http(s) URL")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url: credentials belong into `headers`, not into the URL")
        if not self.allow_private and _is_literally_private(host):
            raise ValueError("url: a loopback or private address; set allow_private: true to permit it")
        return self

    def make(self, name: str, clock: Clock) -> WebhookChannel:
        return WebhookChannel(name, self, clock)


class WebhookChannel(AlertChannel):
    """Posts the anomaly record as it was published, with the alert's id."""

    def __init__(
        self, name: str, config: WebhookConfig, clock: Clock | None = None, resolver: Resolver = resolve
    ) -> None:
        import httpx

        super().__init__(name)
        self._config = config
        self._resolve = resolver
        self._clock = clock or SystemClock()
        self._url = httpx.URL(config.url.get_secret_value())
        self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        path = self._url.raw_path.decode("ascii")
        headers = [value.get_secret_value() for value in config.headers.values()]
        self._secrets = [*config.secrets, *headers, *([path] if len(path) > 1 else [])]
        cafile = str(config.ca_file) if config.ca_file else None
        self._transport = httpx.HTTPTransport(
            verify=ssl.create_default_context(cafile=cafile), trust_env=False, retries=0
        )

    def close(self) -> None:
        self._transport.close()

    def send(self, alert: Alert) -> None:
        """Post to the first address that takes a connection; the addresses were checked, so they are used.

        Asking the resolver again when connecting would let a name change its mind in between.
        """
        body = encode(alert)
        headers = self._headers(alert, body)
        addresses = self._addresses()
        for last, address in zip(_lasts(len(addresses)), addresses, strict=True):
            try:
                self._post(address, headers, body)
            except _NotConnectedError as error:
                if last:
                    raise RetryableError("connection", error.detail) from None
            else:
                return

    def _addresses(self) -> Sequence[Address]:
        try:
            addresses = self._resolve(self._url.host, self._port)
        except OSError as error:
            raise RetryableError("dns", error.strerror or "") from None
        if not self._config.allow_private and not all(map(is_public, addresses)):
            raise FinalError("private_address", "the URL leads to a loopback or private address")
        return addresses

    def _post(self, address: Address, headers: dict[str, str], body: bytes) -> None:
        import httpx

        timeout = self._config.timeout
        request = httpx.Request(
            "POST",
            self._url.copy_with(host=str(address)),
            headers=headers,
            content=body,
            extensions={
                "sni_hostname": self._url.raw_host.decode("ascii"),
                "timeout": {"connect": timeout, "read": timeout, "write": timeout, "pool": timeout},
            },
        )
        try:
            response = self._transport.handle_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _NotConnectedError(scrub(str(error), self._secrets)) from None
        except httpx.TimeoutException:
            raise RetryableError("timeout") from None
        except httpx.TransportError as error:
            raise RetryableError("connection", scrub(str(error), self._secrets)) from None
        self._judge(response)

    def _judge(self, response: httpx.Response) -> None:
        """A status of 2xx is the answer, whatever becomes of the body after it."""
        try:
            said = "" if response.is_success else scrub(_beginning(response), self._secrets)
        finally:
            response.close()
        check_status(response.status_code, response.headers, said, self._clock.now())

    def _headers(self, alert: Alert, body: bytes) -> dict[str, str]:
        headers = {name: value.get_secret_value() for name, value in self._config.headers.items()}
        headers |= {
            "Host": self._url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "anomalyd",
            "Idempotency-Key": quote(alert.alert_id, safe="/-._~:+"),
        }
        if self._config.secret is not None:
            headers[SIGNATURE_HEADER] = signature(self._config.secret.get_secret_value(), body)
        return headers


class _NotConnectedError(Exception):
    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


def encode(alert: Alert) -> bytes:
    """The members of the record that were published, and `alertId`; of several anomalies the first's."""
    # By way of pydantic's own JSON, which writes null for what JSON has no word for.
    record = json.loads(alert.anomaly.model_dump_json(by_alias=True, exclude_unset=True))
    return json.dumps({**record, "alertId": alert.alert_id}).encode("ascii")


def signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _beginning(response: httpx.Response) -> str:
    import httpx

    try:
        return next(response.iter_bytes(), b"")[:1000].decode("utf-8", "replace")
    except httpx.HTTPError:
        return ""


def _lasts(count: int) -> list[bool]:
    return [i == count - 1 for i in range(count)]


def _is_literally_private(host: str) -> bool:
    try:
        return not is_public(ip_address(host))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
