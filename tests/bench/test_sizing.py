from __future__ import annotations

from dataclasses import replace

import pytest

from service.bench.sizing import MEASURED, Demand, fitted, predicted, size, state_bytes_per_source
from service.features.engine import FeatureConfig
from service.pipeline import DetectionConfig, DetectionPipeline
from service.settings import Settings
from tests.bench.figures import a_case

CONFIG = DetectionConfig()


def test_state_is_what_the_tables_of_a_pipeline_hold() -> None:
    pipeline = DetectionPipeline(CONFIG)
    rows = 16  # of a new table
    assert pipeline.bytes_per_source(1) * rows == pipeline.state_bytes - pipeline.sources.nbytes


def test_state_grows_with_values_and_window() -> None:
    one, two, three = (state_bytes_per_source(CONFIG, values) for values in (1, 2, 3))
    assert three - two == two - one > 0
    short = DetectionConfig(features=FeatureConfig(window_points=64))
    assert state_bytes_per_source(short, 1) < one


def test_a_small_load_needs_one_worker() -> None:
    needed = size(Demand(10, 1.0, 1), CONFIG)
    assert (needed.workers, needed.partitions) == (1, 4)
    assert 0 < needed.cores < 0.1


def test_workers_keep_their_headroom() -> None:
    measured = replace(MEASURED, cpu_us_per_point=8.0, cpu_us_per_value=2.0)
    needed = size(Demand(1_000, 100_000.0, 1), CONFIG, measured)  # one core's work
    assert needed.workers == 2
    assert needed.cores == pytest.approx(1.0 / 0.6)
    assert needed.partitions >= 2 * needed.workers


def test_memory_is_shared_among_workers_and_each_has_its_own_process() -> None:
    needed = size(Demand(1_000_000, 100_000.0, 4), CONFIG)
    assert needed.rss_bytes == pytest.approx(needed.workers * needed.worker_rss_bytes)
    assert needed.rss_bytes > needed.state_bytes + needed.workers * MEASURED.process_bytes
    assert needed.snapshot_bytes == needed.state_bytes


def test_more_of_anything_never_needs_less() -> None:
    small = size(Demand(1_000, 1_000.0, 1), CONFIG).figures()
    large = size(Demand(2_000, 9_000.0, 3), CONFIG).figures()
    assert all(large[name] >= small[name] for name in small)


def test_a_prediction_has_what_the_benchmark_measures() -> None:
    assert set(predicted(Settings(), 1_000, 1)) <= set(a_case())


def test_constants_are_fitted_from_cases_with_different_values() -> None:
    cases = [a_case(values=1, cpu=9.0), a_case(values=4, cpu=15.0)]
    assert fitted(cases) == pytest.approx({"cpu_us_per_point": 7.0, "cpu_us_per_value": 2.0})
    assert fitted(cases[:1]) is None
    cases[1]["scored_share"] = 0.5
    assert fitted(cases) is None
