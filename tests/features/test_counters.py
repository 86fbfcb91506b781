"""Which values are counters, and what features see of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.features import counters
from service.pipeline import DetectionConfig, DetectionPipeline

Floats = npt.NDArray[np.float64]
START_MS = 1_767_225_600_000


def seen(values: Sequence[float], seconds: Sequence[float] | None = None) -> tuple[list[float], list[int]]:
    """What features see of one value, and where its unit changes; by default there is a point a second."""
    at = np.arange(len(values)) if seconds is None else np.array(seconds)
    numbers, growth = np.zeros(counters.NUMBERS), np.zeros(counters.GROWTHS, np.uint16)
    shown, changes = [], []
    for i, (x, second) in enumerate(zip(values, at.tolist(), strict=True)):
        value, changed = counters.judged_by(float(x), START_MS + 1000.0 * second + 1.0, numbers, growth)
        shown.append(value)
        if changed:
            changes.append(i)
    return shown, changes


def counting(points: int, rate: float = 50.0, seed: int = 1) -> Floats:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.poisson(rate, points)).astype(np.float64)


def test_what_grows_for_long_is_seen_as_its_increase_per_second() -> None:
    values = counting(300)
    seconds = np.cumsum(np.random.default_rng(2).choice([1.0, 2.0, 10.0], 300))
    shown, changes = seen(values.tolist(), seconds.tolist())
    assert changes == [128]
    assert shown[:128] == values[:128].tolist()
    np.testing.assert_allclose(shown[128:], np.diff(values)[127:] / np.diff(seconds)[127:])


def test_a_reset_is_no_spike() -> None:
    values = np.concatenate([counting(200), counting(100, seed=2)])
    shown, changes = seen(values.tolist())
    assert changes == [128]
    assert shown[200] == shown[199]
    assert max(shown[129:]) < 100.0


def test_a_fall_that_is_no_reset_shows_that_it_was_no_counter() -> None:
    values = [*map(float, range(200)), 150.0, 151.0]
    shown, changes = seen(values)
    assert changes == [128, 200]
    assert shown[200:] == [150.0, 151.0]


@pytest.mark.parametrize(
    "kind", ["noise", "random walk", "flat", "rests and seldom rises", "below zero", "saw"]
)
def test_other_values_are_seen_as_they_are(kind: str) -> None:
    rng = np.random.default_rng(3)
    values = {
        "noise": rng.normal(100.0, 1.0, 5000),
        "random walk": np.cumsum(rng.normal(0.0, 1.0, 5000)) + 1000.0,
        "flat": np.full(5000, 7.0),
        "rests and seldom rises": np.cumsum(rng.random(5000) < 0.1).astype(np.float64),
        "below zero": counting(5000) - 1e6,
        "saw": np.arange(5000.0) % 100.0,
    }[kind]
    shown, changes = seen(values.tolist())
    assert changes == []
    assert shown == values.tolist()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=400))
def test_what_is_seen_of_any_finite_values_is_finite_or_an_overflow_of_their_difference(
    values: list[float],
) -> None:
    shown, _ = seen(values)
    with np.errstate(over="ignore"):
        largest = np.abs(np.diff(values)).max(initial=0.0)
    assert np.isfinite(shown).all() or not np.isfinite(largest)


def scored(values: Floats, **features: Any) -> list[dict[str, Any]]:
    pipeline = DetectionPipeline(DetectionConfig.model_validate({"features": features}))
    points = (
        {"sourceId": "api-1", "timestamp": START_MS + i * 10_000, "values": {"requests": float(x)}}
        for i, x in enumerate(values)
    )
    return [pipeline.process(point) for point in points]


def test_a_counter_that_stalls_is_an_anomaly_of_its_rate_and_a_restart_is_none() -> None:
    steps = np.random.default_rng(4).poisson(500, 900).astype(np.float64)
    steps[700] = 5000.0
    values = np.cumsum(steps)
    values[400:] -= values[399]  # the program was started anew
    results = scored(values)
    odd = [i for i, result in enumerate(results) if result.get("isAnomaly") and i > 300]
    assert 700 in odd
    assert not any(395 <= i <= 430 for i in odd)
    assert "the rate of requests" in results[700]["explanation"]
    assert results[700]["features"]["requests"]["value"] == values[700]
    assert results[700]["features"]["requests"]["mean"] == pytest.approx(50.0, rel=0.1)


def test_its_history_begins_anew_where_it_is_recognised() -> None:
    results = scored(counting(200), cohorts=False)
    skipped = [i for i, result in enumerate(results) if result["status"] == "skipped"]
    assert skipped == [*range(30), *range(128, 158)]


def test_with_counters_off_nothing_is_a_rate() -> None:
    results = scored(counting(200), counters=False)
    assert [i for i, result in enumerate(results) if result["status"] == "skipped"] == list(range(30))
    assert json.dumps(results[-1]["features"]["requests"]["mean"]) != "50.0"
