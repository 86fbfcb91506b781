"""What the quality benchmark judges is what `anomalyd score` writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from service.pipeline import DetectionPipeline
from service.scored import ScoredPoints
from service.wire.reader import RecordBatch, read
from tests.benchmarks.quality.data import FileSeries, default_folder
from tests.benchmarks.quality.running import Configuration, Task, results, run_all, scored
from tests.commands.command_line import score


@pytest.fixture
def series(tmp_path: Path) -> FileSeries:
    rng = np.random.default_rng(3)
    values = rng.normal(size=900).round(3)
    values[700:705] += 40.0
    file = tmp_path / "pump.csv"
    rows = [f"{1_600_000_000_000 + i * 60_000},{x}" for i, x in enumerate(values.tolist())]
    rows[300] = rows[300].partition(",")[0] + ","
    file.write_text("\n".join(["timestamp,value", *rows, ""]), encoding="utf-8")
    return FileSeries("pump.csv", file)


def test_the_bytes_are_those_of_the_command(series: FileSeries) -> None:
    records = series.records()
    ran = score(b"\n".join(records), "--set", "detection.false_alarms=0.01")
    configuration = Configuration(overrides=("detection.false_alarms=0.01",))
    assert ran.stdout.splitlines() == list(results(records, configuration.settings()))


def test_the_bytes_are_those_of_the_command_on_a_real_file() -> None:
    path = default_folder() / "nab" / "data" / "realAWSCloudwatch" / "ec2_cpu_utilization_24ae8d.csv"
    if not path.exists():
        pytest.skip(f"no {path}")
    records = FileSeries(path.name, path).records()
    assert score(b"\n".join(records)).stdout.splitlines() == list(
        results(records, Configuration().settings())
    )


def test_what_comes_later_changes_no_earlier_result(series: FileSeries) -> None:
    records, settings = series.records(), Configuration().settings()
    whole = list(results(records, settings))
    for points in (1, 701, 899):
        assert list(results(records[:points], settings)) == whole[:points]


def test_columns_are_what_the_results_say_and_what_the_pipeline_decided(series: FileSeries) -> None:
    records = series.records()
    settings = Configuration().settings()
    found = scored(records, settings)
    published = [json.loads(result) for result in results(records, settings)]
    assert found.score.tolist() == pytest.approx([one.get("score", np.nan) for one in published], nan_ok=True)
    assert found.anomalous.tolist() == [one.get("isAnomaly", False) for one in published]
    assert found.opened.tolist() == [one.get("incident") == "opened" for one in published]
    assert found.opened[700]
    assert np.isnan(found.score[300])
    n = len(records)
    batch = RecordBatch(records, [None] * n, {}, np.arange(n), np.full(n, 4_000_000_000_000))
    steps = DetectionPipeline(settings.detection).score(read(batch, settings.input))
    decided = np.concatenate([step.decided.score for step in steps if isinstance(step, ScoredPoints)])
    np.testing.assert_allclose(found.score, decided, rtol=1e-5)


def test_an_opening_point_counts_with_its_score_and_others_with_0(series: FileSeries) -> None:
    found = scored(series.records(), Configuration().settings())
    opening = found.opening_score
    assert opening[700] == found.score[700]
    assert set(np.flatnonzero(opening)) == set(np.flatnonzero(found.opened))


def test_several_processes_give_what_one_gives_in_the_same_order(series: FileSeries) -> None:
    tasks = [Task(series, (Configuration(), Configuration().with_budget(budget))) for budget in (0.01, 0.001)]
    alone, together = run_all(tasks, 1, "test"), run_all(tasks, 2, "test")
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a.score, b.score)
            np.testing.assert_array_equal(a.anomalous, b.anomalous)
    assert alone[0][1].anomalous.sum() > alone[1][1].anomalous.sum()
