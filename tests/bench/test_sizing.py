from __future__ import annotations

from dataclasses import replace

import pytest

from service.bench.sizing import (
    MEASURED,
    Demand,
    fitted,
    partitions_for,
    predicted,
    size,
    state_bytes_per_source,
)
from service.features.config import FeatureConfig
from service.pipeline import DetectionConfig, DetectionPipeline, Record
from service.settings import Settings
from tests.bench.figures import a_case
from tests.streams import a_point

CONFIG = DetectionConfig()


def test_state_is_what_the_tables_of_a_pipeline_hold() -> None:
    pipeline = DetectionPipeline(CONFIG)
    one, several = pipeline.bytes_per_source(1), pipeline.bytes_per_source(4)
    # A thousand sources fill tables that grow by doubling from 16 rows to 1,024.
    pipeline.process_batch([Record(a_point(f"s{i}", 1, 1.0), i, 0) for i in range(1024)])
    held = pipeline.state_bytes - pipeline.sources.nbytes
    assert held == pytest.approx(1024 * one, rel=0.001)  # beside the first rows of what no source has
    pipeline = DetectionPipeline(CONFIG)
    wide = {f"v{i}": 1.0 for i in range(4)}
    pipeline.process_batch([Record(a_point(f"s{i}", 1, wide), i, 0) for i in range(1024)])
    held = pipeline.state_bytes - pipeline.sources.nbytes
    assert held == pytest.approx(1024 * several, rel=0.006)
    assert one <= 8_000


def test_state_grows_with_values_and_window() -> None:
    one = state_bytes_per_source(CONFIG, 1)
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


@pytest.mark.parametrize(("sources", "partitions"), [(1, 4), (262_144, 4), (262_145, 8), (1_000_000, 16)])
def test_a_partition_has_no_more_sources_than_are_worth_copying(sources: int, partitions: int) -> None:
    assert partitions_for(sources) == partitions
    assert size(Demand(sources, 1.0, 1), CONFIG).partitions == partitions


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
