"""Metrics and health over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from service.errors import AnomalydError
from service.http.server import HttpServer, make_app, url_of
from service.metrics import Metrics


@dataclass
class Patient:
    """A service whose health is what a test says."""

    illness: str | None = None
    obstacle: str | None = None

    def unhealthy(self) -> str | None:
        return self.illness

    def unready(self) -> str | None:
        return self.obstacle


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.fixture
def server(metrics: Metrics, patient: Patient) -> Iterator[HttpServer]:
    made = HttpServer(make_app(metrics.registry, patient), "127.0.0.1", 0)
    made.start()
    yield made
    made.stop()


def test_port_0_takes_a_free_one_and_says_which(server: HttpServer) -> None:
    assert server.port > 0
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert httpx.get(f"{server.url}/-/healthy").status_code == 200


def test_metrics_are_prometheus_text_by_default(server: HttpServer, metrics: Metrics) -> None:
    metrics.points.labels("scored").inc(3)
    answer = httpx.get(f"{server.url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = {s.name: s.value for f in parse_prometheus(answer.text) for s in f.samples if s.labels}
    assert samples["anomalyd_points_total"] == 3.0


def test_metrics_are_openmetrics_for_who_asks_for_it(server: HttpServer, metrics: Metrics) -> None:
    metrics.points.labels("scored").inc(3)
    answer = httpx.get(
        f"{server.url}/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    families = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    assert "anomalyd_points" in {family.name for family in families}


def test_each_scrape_sees_the_present(server: HttpServer, metrics: Metrics) -> None:
    metrics.sources.set(1)
    assert "anomalyd_sources 1.0" in httpx.get(f"{server.url}/metrics").text
    metrics.sources.set(2)
    assert "anomalyd_sources 2.0" in httpx.get(f"{server.url}/metrics").text


@pytest.mark.parametrize("probe", ["healthy", "ready"])
def test_a_probe_says_ok(server: HttpServer, probe: str) -> None:
    answer = httpx.get(f"{server.url}/-/{probe}")
    assert (answer.status_code, answer.text) == (200, "ok")


def test_an_unhealthy_service_answers_503_and_why(server: HttpServer, patient: Patient) -> None:
    patient.illness = "the detection loop makes no progress"
    answer = httpx.get(f"{server.url}/-/healthy")
    assert (answer.status_code, answer.text) == (503, patient.illness)
    assert httpx.get(f"{server.url}/-/ready").status_code == 200


def test_a_service_that_is_not_ready_answers_503_and_why_and_stays_healthy(
    server: HttpServer, patient: Patient
) -> None:
    patient.obstacle = "starting"
    answer = httpx.get(f"{server.url}/-/ready")
    assert (answer.status_code, answer.text) == (503, "starting")
    assert httpx.get(f"{server.url}/-/healthy").status_code == 200
    patient.obstacle = None
    assert httpx.get(f"{server.url}/-/ready").status_code == 200


def test_nothing_else_is_served_and_nothing_can_be_changed(server: HttpServer) -> None:
    assert httpx.get(f"{server.url}/").status_code == 404
    assert httpx.get(f"{server.url}/-/healthyx").status_code == 404
    for path in ("/metrics", "/-/healthy", "/-/ready"):
        assert httpx.post(f"{server.url}{path}").status_code == 405


def test_a_taken_port_is_an_error_that_names_it(
    server: HttpServer, metrics: Metrics, patient: Patient
) -> None:
    with pytest.raises(
        AnomalydError, match=f"http: cannot listen on 127.0.0.1:{server.port}: Address already"
    ):
        HttpServer(make_app(metrics.registry, patient), "127.0.0.1", server.port)


def test_an_address_of_another_machine_is_an_error_that_names_it(metrics: Metrics, patient: Patient) -> None:
    with pytest.raises(AnomalydError, match=r"http: cannot listen on 192\.0\.2\.1:0: Cannot assign"):
        HttpServer(make_app(metrics.registry, patient), "192.0.2.1", 0)


def test_a_port_is_taken_from_the_moment_the_server_is_made(metrics: Metrics, patient: Patient) -> None:
    made = HttpServer(make_app(metrics.registry, patient), "127.0.0.1", 0)
    with pytest.raises(AnomalydError, match="Address already"):
        HttpServer(make_app(metrics.registry, patient), "127.0.0.1", made.port)
    with socket.create_connection(("127.0.0.1", made.port), timeout=5) as early:
        made.start()
        early.sendall(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert early.recv(100).startswith(b"HTTP/1.1 200")
    made.stop()


def test_a_stopped_server_frees_its_port(metrics: Metrics, patient: Patient) -> None:
    first = HttpServer(make_app(metrics.registry, patient), "127.0.0.1", 0)
    first.start()
    assert httpx.get(f"{first.url}/-/ready").status_code == 200
    first.stop()
    second = HttpServer(make_app(metrics.registry, patient), "127.0.0.1", first.port)
    second.start()
    assert httpx.get(f"{second.url}/-/ready").status_code == 200
    second.stop()


def test_an_ipv6_address_has_brackets_in_its_url() -> None:
    assert url_of("::1", 9464) == "http://[::1]:9464"
    assert url_of("127.0.0.1", 9464) == "http://127.0.0.1:9464"
