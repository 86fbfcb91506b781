from __future__ import annotations

import hashlib
import hmac
import json
from ipaddress import ip_address
from typing import Any

import pytest
from pydantic import ValidationError

from service.alerting.alert import Alert
from service.alerting.channels import webhook
from service.alerting.channels.addresses import is_public
from service.alerting.channels.base import FinalError, RetryableError
from service.alerting.channels.webhook import WebhookChannel, WebhookConfig
from tests.alerting.anomalies import anomaly, record
from tests.alerting.channels.conftest import Authority
from tests.alerting.channels.servers import Answer, HttpServer


def config(**members: Any) -> WebhookConfig:
    return WebhookConfig.model_validate({"type": "webhook", **members})


def names(*addresses: str) -> webhook.Resolver:
    """A resolver that answers so for every name."""
    return lambda _host, _port: [ip_address(address) for address in addresses]


def test_the_record_is_posted_as_it_was_published() -> None:
    with HttpServer() as server:
        channel = WebhookChannel("hook", config(url=f"{server.url}/in?x=1", allow_private=True))
        channel.send(Alert.of(anomaly()))
        channel.close()
        (request,) = server.requests
    assert request.path == "/in?x=1"
    assert request.json == {**record(), "alertId": "data-points/0/17"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "data-points/0/17"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert "x-anomalyd-signature" not in request.headers


def test_the_body_is_signed() -> None:
    with HttpServer() as server:
        channel = WebhookChannel("hook", config(url=server.url, secret="s3cret", allow_private=True))
        channel.send(Alert.of(anomaly()))
        channel.close()
        (request,) = server.requests
    expected = hmac.new(b"s3cret", request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-anomalyd-signature"] == f"sha256={expected}"


def test_own_headers_are_sent() -> None:
    with HttpServer() as server:
        headers = {"Authorization": "Bearer abc"}
        channel = WebhookChannel("hook", config(url=server.url, headers=headers, allow_private=True))
        channel.send(Alert.of(anomaly()))
        channel.close()
        assert server.requests[0].headers["authorization"] == "Bearer abc"


def test_an_id_that_is_no_header_is_quoted() -> None:
    with HttpServer() as server:
        channel = WebhookChannel("hook", config(url=server.url, allow_private=True))
        channel.send(Alert.of(anomaly("ü\r\nX-Evil: 1")))
        channel.close()
        (request,) = server.requests
    assert request.headers["idempotency-key"] == "%C3%BC%0D%0AX-Evil:%201"
    assert "x-evil" not in request.headers


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
def test_a_target_inside_our_own_network_is_refused(host: str) -> None:
    with HttpServer() as server:
        url = f"http://{host}:{server.port}/"
        try:
            channel = WebhookChannel("hook", config(url=url))
        except ValidationError:
            return
        with pytest.raises((FinalError, RetryableError)) as raised:
            channel.send(Alert.of(anomaly()))
        channel.close()
        assert raised.value.reason in ("private_address", "dns")
        assert server.requests == []


def test_a_name_that_leads_inside_is_final() -> None:
    resolver = names("8.8.8.8", "10.0.0.1")
    channel = WebhookChannel("hook", config(url="https://hook.example/"), resolver=resolver)
    with pytest.raises(FinalError) as raised:
        channel.send(Alert.of(anomaly()))
    channel.close()
    assert raised.value.reason == "private_address"


def test_the_checked_address_is_used_and_the_certificate_is_the_names(
    authority: Authority,
) -> None:
    # The first address does not answer (nobody listens there), the second one does.
    resolver = names("127.9.9.9", "127.0.0.1")
    with HttpServer().secure(authority.server) as server:
        members = {"allow_private": True, "ca_file": str(authority.ca_file)}
        channel = WebhookChannel(
            "hook", config(url=f"https://hook.example:{server.port}/", **members), resolver=resolver
        )
        channel.send(Alert.of(anomaly()))
        channel.close()
        assert server.requests[0].headers["host"] == f"hook.example:{server.port}"
        other = WebhookChannel(
            "hook", config(url=f"https://other.example:{server.port}/", **members), resolver=resolver
        )
        with pytest.raises(RetryableError):
            other.send(Alert.of(anomaly()))
        other.close()
        assert len(server.requests) == 1


def test_an_unknown_certificate_is_refused(authority: Authority) -> None:
    with HttpServer().secure(authority.server) as server:
        channel = WebhookChannel("hook", config(url=f"https://localhost:{server.port}/", allow_private=True))
        with pytest.raises(RetryableError) as raised:
            channel.send(Alert.of(anomaly()))
        channel.close()
    assert "CERTIFICATE_VERIFY_FAILED" in raised.value.detail


def test_a_connection_lost_after_the_200_is_no_reason_to_repeat() -> None:
    with HttpServer(Answer(reset=True)) as server:
        channel = WebhookChannel("hook", config(url=server.url, allow_private=True))
        channel.send(Alert.of(anomaly()))
        channel.close()
        assert len(server.requests) == 1


def test_an_unknown_name_is_retryable() -> None:
    channel = WebhookChannel("hook", config(url="http://no-such-host.invalid/"))
    with pytest.raises(RetryableError) as raised:
        channel.send(Alert.of(anomaly()))
    channel.close()
    assert raised.value.reason == "dns"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "224.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "255.255.255.255",
    ],
)  # fmt: skip
def test_these_addresses_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_these_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "members",
    [
        {"url": "ftp://x.example/tops3cret"},
        {"url": "https:///tops3cret"},
        {"url": "https://user:tops3cret@x.example/"},
        {"url": "http://x.example:99999/tops3cret"},
        {"url": "http://169.254.169.254/tops3cret"},
        {"url": "https://x.example/tops3cret", "headers": {"Host": "y"}},
        {"url": "https://x.example/tops3cret", "headers": {"X-A": "tops3cret\r\nX-B: 1"}},
        {"url": "https://x.example/tops3cret", "headers": {"X A": "1"}},
        {"url": "https://x.example/tops3cret", "secret": ""},
        {"url": "https://x.example/tops3cret", "timeout": "2m"},
    ],
)
def test_a_wrong_config_is_refused_without_telling_secrets(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        config(**members)
    assert "tops3cret" not in str(raised.value)


def test_numbers_that_json_has_no_word_for_become_null() -> None:
    body = json.loads(webhook.encode(Alert.of(anomaly(values={"a": float("nan"), "b": float("inf")}))))
    assert body["values"] == {"a": None, "b": None}
