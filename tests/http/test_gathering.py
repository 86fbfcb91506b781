"""Metrics and health of several processes as those of one, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from service.http.gathering import Gathering, merged
from service.http.server import HttpServer, make_app
from service.metrics import Metrics, SupervisorMetrics
from tests.http.test_server import Patient

PATIENCE_S = 0.5
Gatherer = Callable[..., Gathering]


def _registry(counted: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("records", "Records.", ["kind"], registry=registry).labels("good").inc(counted)
    Gauge("size_bytes", "Size.", registry=registry).set(counted)
    Histogram("wait_seconds", "Wait.", buckets=(1, 10), registry=registry).observe(counted)
    return registry


def test_each_family_is_there_once_with_every_workers_samples_in_it() -> None:
    families = {
        family.name: family for family in merged({"0": _registry(2).collect(), "1": _registry(3).collect()})
    }
    assert list(families) == ["records", "size_bytes", "wait_seconds"]
    assert (families["records"].documentation, families["records"].type) == ("Records.", "counter")
    assert [(s.name, s.labels, s.value) for s in families["size_bytes"].samples] == [
        ("size_bytes", {"worker": "0"}, 2.0),
        ("size_bytes", {"worker": "1"}, 3.0),
    ]
    assert {tuple(sorted(s.labels)) for s in families["records"].samples} == {("kind", "worker")}
    buckets = [s.value for s in families["wait_seconds"].samples if s.labels == {"le": "1.0", "worker": "1"}]
    assert buckets == [0.0]


def test_a_family_that_one_worker_alone_has_is_there_too() -> None:
    late = CollectorRegistry()
    Gauge("late", "Late.", registry=late).set(1)
    assert [f.name for f in merged({"0": _registry(1).collect(), "1": late.collect()})][-1] == "late"


def test_nobody_there_gives_nothing() -> None:
    assert list(merged({})) == []


@contextmanager
def _worker(scored: int = 0, patient: Patient | None = None) -> Iterator[str]:
    metrics = Metrics()
    metrics.points.labels("scored").inc(scored)
    server = HttpServer(make_app(metrics.registry, patient or Patient()), "127.0.0.1", 0)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a process that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def gone() -> str:
    """The URL of a process that was there a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def gather() -> Iterator[Gatherer]:
    made: list[Gathering] = []

    def of(*urls: str) -> Gathering:
        made.append(Gathering(lambda: urls, SupervisorMetrics(), patience_s=PATIENCE_S))
        return made[-1]

    yield of
    for gathering in made:
        gathering.close()


@contextmanager
def _served(gathering: Gathering) -> Iterator[str]:
    server = HttpServer(make_app(gathering.registry, gathering), "127.0.0.1", 0)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


def test_the_metrics_of_all_are_served_together_in_the_prometheus_format(gather: Gatherer) -> None:
    with _worker(2) as first, _worker(3) as second, _served(gather(first, second)) as url:
        text = httpx.get(f"{url}/metrics").text
    assert text.count("# HELP anomalyd_points_total ") == text.count("# TYPE anomalyd_points_total ") == 1
    assert 'anomalyd_points_total{status="scored",worker="0"} 2.0' in text
    assert 'anomalyd_points_total{status="scored",worker="1"} 3.0' in text
    assert "anomalyd_workers_up 2.0" in text
    names = [family.name for family in parse_prometheus(text)]
    assert len(names) == len(set(names))


def test_and_in_the_openmetrics_format(gather: Gatherer) -> None:
    with _worker(2) as first, _worker(3) as second, _served(gather(first, second)) as url:
        answer = httpx.get(
            f"{url}/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
        )
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in parse_openmetrics(answer.text)}  # type: ignore[no-untyped-call]
    points = families["anomalyd_points"].samples
    assert {(s.labels["worker"], s.value) for s in points if s.name.endswith("_total")} == {
        ("0", 2.0),
        ("1", 3.0),
    }
    assert families.keys() >= {"anomalyd_workers", "anomalyd_workers_up"}


def test_who_does_not_answer_is_left_out_and_not_up(gather: Gatherer, silent: str, gone: str) -> None:
    with _worker(2) as well, _served(gather("", silent, gone, well)) as url:
        text = httpx.get(f"{url}/metrics").text
    assert "anomalyd_workers_up 1.0" in text
    assert {
        s.labels["worker"] for f in parse_prometheus(text) for s in f.samples if "worker" in s.labels
    } == {"3"}


def test_all_well_is_healthy_and_ready(gather: Gatherer) -> None:
    with _worker() as first, _worker() as second:
        gathering = gather(first, second)
        assert gathering.unhealthy() is gathering.unready() is None


def test_an_unhealthy_worker_is_named_with_its_reason(gather: Gatherer) -> None:
    with _worker() as first, _worker(patient=Patient(illness="it makes no progress")) as second:
        assert gather(first, second).unhealthy() == "worker 1: it makes no progress"


def test_a_worker_that_hangs_is_unhealthy_and_one_that_starts_or_has_just_died_is_not(
    gather: Gatherer, silent: str, gone: str
) -> None:
    assert gather("", gone).unhealthy() is None
    assert gather("", gone, silent).unhealthy() == "worker 2: does not answer"


def test_every_worker_that_is_not_ready_is_named_with_its_reason(
    gather: Gatherer, silent: str, gone: str
) -> None:
    with _worker() as well, _worker(patient=Patient(obstacle="no partitions")) as waits:
        assert gather(well, waits, "", gone, silent).unready() == (
            "worker 1: no partitions; worker 2: starting; worker 3: does not answer; "
            "worker 4: does not answer"
        )
