from __future__ import annotations

import numpy as np
import pytest

from service.bench.signal import Floats
from service.bench.statistics import (
    Figures,
    Sample,
    ServiceCounts,
    Throughput,
    case_figures,
    latency_figures,
    medians,
)
from tests.bench.figures import a_round


def test_throughput_is_what_happened_between_two_samples() -> None:
    done = Throughput.between(Sample(1_000, 2.0, 1.0), Sample(21_000, 4.0, 1.5))
    assert done.figures() == {
        "points": 20_000,
        "seconds": 2.0,
        "points_per_second": 10_000.0,
        "cpu_s_per_million": 25.0,
    }


def test_nothing_happened_is_an_error_and_no_zero() -> None:
    with pytest.raises(ValueError, match="nothing happened"):
        Throughput.between(Sample(5, 1.0, 1.0), Sample(5, 2.0, 1.0))


def test_a_case_is_the_median_of_its_rounds() -> None:
    rounds = [
        a_round(cpu=12.0, peak_rss_bytes=3),
        a_round(cpu=10.0, peak_rss_bytes=9),
        a_round(cpu=99.0, passthrough_cpu=6.0, peak_rss_bytes=2),
    ]
    case = case_figures(rounds)
    assert case["cpu_s_per_million"] == 12.0
    assert case["passthrough_cpu_s_per_million"] == 5.0
    assert case["share_of_passthrough"] == pytest.approx(5.0 / 12.0)
    assert case["peak_rss_bytes"] == 9
    assert case["stages"] == {"decode": 1.0, "score": 6.0, "commit": 2.0}


def test_the_services_own_counts_are_told_per_million_points_in_between() -> None:
    def metrics(scored: float, skipped: float, seconds: float) -> ServiceCounts:
        return ServiceCounts.of(
            [
                ("anomalyd_points_total", {"status": "scored"}, scored),
                ("anomalyd_points_total", {"status": "skipped"}, skipped),
                ("anomalyd_stage_duration_seconds_sum", {"stage": "score"}, seconds),
                ("anomalyd_stage_duration_seconds_count", {"stage": "score"}, 7.0),
            ]
        )

    before, after = metrics(10.0, 10.0, 1.0), metrics(85.0, 35.0, 1.5)
    assert after.stages_since(before) == pytest.approx({"score": 5_000.0})
    assert after.scored_share_since(before) == pytest.approx(0.75)


def test_a_stage_that_one_round_lacks_has_no_median() -> None:
    assert medians([{"a": 1.0, "b": 2.0}, {"a": 3.0}]) == {"a": 2.0}


def latency(sent: Floats, delay: Floats, rate: int = 1_000, every: int = 1) -> Figures:
    return latency_figures(
        sent, sent + delay, rate=rate, start_ms=2_000.0, end_ms=8_000.0, sent_per_second=rate, every=every
    )


def test_quantiles_are_of_the_points_sent_after_the_warm_up() -> None:
    sent = np.arange(0.0, 8_000.0)
    found = latency(sent, np.where(sent < 2_000, 5_000.0, np.where(sent % 100 == 0, 90.0, 10.0)))
    assert (found["p50_ms"], found["p999_ms"]) == (10.0, 90.0)
    assert found["samples"] == 6_000


def test_a_kept_rate_is_valid() -> None:
    sent = np.arange(0.0, 8_000.0)
    found = latency(sent, np.full(8_000, 20.0))
    assert found["valid"]
    assert found["achieved_rate"] == pytest.approx(1_000)


def test_looking_at_every_tenth_gives_the_same_rate() -> None:
    found = latency(np.arange(0.0, 8_000.0, 10.0), np.full(800, 20.0), every=10)
    assert found["achieved_rate"] == pytest.approx(1_000)


def test_a_growing_queue_is_not_valid() -> None:
    sent = np.arange(0.0, 8_000.0)
    found = latency(sent, sent)  # half the rate
    assert not found["valid"]
    assert found["achieved_rate"] == pytest.approx(500)


def test_without_results_there_are_no_quantiles() -> None:
    found = latency(np.array([]), np.array([]))
    assert found["p99_ms"] is None
    assert not found["valid"]
