from __future__ import annotations

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from service.metrics import Metrics, SupervisorMetrics, total

ALL = {
    name: metric
    for name, metric in {**vars(Metrics()), **vars(SupervisorMetrics())}.items()
    if isinstance(metric, MetricWrapperBase)
}


def name_of(metric: MetricWrapperBase) -> str:
    return next(iter(metric.describe())).name


@pytest.mark.parametrize("metric", ALL.values(), ids=ALL)
def test_a_metric_has_the_prefix_a_sentence_and_no_label_that_grows_with_sources(
    metric: MetricWrapperBase,
) -> None:
    (described,) = metric.describe()
    assert described.name.startswith("anomalyd_")
    assert described.documentation.endswith(".")
    assert set(metric._labelnames) <= {
        "status",
        "reason",
        "severity",
        "change",
        "stage",
        "partition",
        "outcome",
    } | {
        "channel",
        "version",
        "worker",
    }


@pytest.mark.parametrize("metric", ALL.values(), ids=ALL)
def test_gauges_and_histograms_say_their_unit(metric: MetricWrapperBase) -> None:
    if isinstance(metric, Histogram):
        assert name_of(metric).endswith(("_seconds", "_points"))
    elif isinstance(metric, Gauge):
        assert name_of(metric).endswith(
            ("_seconds", "_bytes", "_ratio", "_records", "_info", "_up", "_sources", "_workers")
        )
    else:
        assert isinstance(metric, Counter)


def test_two_services_in_one_process_share_no_counter() -> None:
    first, second = Metrics(), Metrics()
    first.points.labels("scored").inc()
    assert (total(first.points), total(second.points)) == (1.0, 0.0)


def test_the_total_sums_over_all_labels_and_nothing_else() -> None:
    metrics = Metrics()
    metrics.alerts_failed.labels("a", "timeout").inc(2)
    metrics.alerts_failed.labels("b", "timeout").inc(3)
    metrics.alerts_sent.labels("a").inc(7)
    assert total(metrics.alerts_failed) == 5.0
    assert total(metrics.alerts_dead) == 0.0
