from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from service import logs
from service.metrics import Metrics
from service.stream.cluster import ClusterState

Said = list[dict[str, object]]
AWAY = KafkaError(KafkaError._ALL_BROKERS_DOWN, "3/3 brokers are down")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def cluster(metrics: Metrics) -> ClusterState:
    return ClusterState(metrics, logs.logger("stream"))


@pytest.fixture
def said() -> Iterator[Said]:
    with capture_logs() as entries:
        yield entries  # type: ignore[misc]  # structlog's own entries are mappings of its own kind


def broker_up(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("anomalyd_broker_up")


def test_a_cluster_is_up_until_heard_otherwise(cluster: ClusterState, metrics: Metrics) -> None:
    assert (cluster.up, cluster.losses, broker_up(metrics)) == (True, 0, 1.0)


def test_a_cluster_that_is_away_is_said_once_and_counted_each_time(
    cluster: ClusterState, metrics: Metrics, said: Said
) -> None:
    for _ in range(3):
        cluster.on_error(AWAY)
    assert (cluster.up, cluster.losses, broker_up(metrics)) == (False, 3, 0.0)
    assert [(entry["log_level"], entry["error"]) for entry in said] == [("warning", AWAY.str())]


def test_a_cluster_that_is_back_is_said_once(cluster: ClusterState, metrics: Metrics, said: Said) -> None:
    cluster.back()
    cluster.lost("no answer")
    cluster.back()
    cluster.back()
    assert (cluster.up, broker_up(metrics)) == (True, 1.0)
    assert [entry["event"] for entry in said] == [
        "Kafka does not answer; trying until it does",
        "Kafka answers again",
    ]


def test_each_outage_is_said(cluster: ClusterState, said: Said) -> None:
    for _ in range(2):
        cluster.lost("no answer")
        cluster.back()
    assert len(said) == 4


def test_one_broker_that_goes_away_is_not_the_cluster(cluster: ClusterState, said: Said) -> None:
    cluster.on_error(KafkaError(KafkaError._TRANSPORT, "connection refused"))
    assert (cluster.up, cluster.losses) == (True, 0)
    assert [entry["log_level"] for entry in said] == ["debug"]
