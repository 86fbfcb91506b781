from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.detectors.model import load
from service.pipeline import DetectionConfig, DetectionPipeline
from tests.commands.command_line import Command, score

POINTS, SOURCES = 400, 2


def write_csv(path: Path, points: int = POINTS, seed: int = 1) -> Path:
    rng = np.random.default_rng(seed)
    rows = [
        f"{1_767_225_600_000 + i * 1000},pump-{source},{rng.normal(10):.4f},{rng.normal(5):.4f}"
        for i in range(points)
        for source in range(SOURCES)
    ]
    path.write_text("\n".join(["timestamp,sourceId,pressure,flow", *rows]) + "\n", encoding="utf-8")
    return path


def points_of_a_new_source(points: int = 40) -> list[dict[str, Any]]:
    rng = np.random.default_rng(9)
    return [
        {"sourceId": "new", "timestamp": 1_800_000_000_000 + i * 1000, "values": {"x": float(rng.normal())}}
        for i in range(points)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    file = write_csv(folder / "a.csv")
    command = [sys.executable, "-m", "service", "train", str(file), "--output", str(folder / "model")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.endswith(f"from {POINTS * SOURCES} points of 1 files\n")
    assert ran.stderr == ""  # no progress bar where nobody looks
    return folder / "model"


def test_the_manifest_says_what_the_model_was_made_of(model: Path) -> None:
    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["points"] == POINTS * SOURCES
    assert manifest["refused"] == 0
    assert manifest["files"] == ["a.csv"]
    assert "isolation_forest" in manifest["detectors"]
    assert manifest["model_version"] == DetectionConfig().model_version()


def test_with_a_model_every_detector_scores_from_the_first_judged_point_on(model: Path) -> None:
    config = DetectionConfig()
    trained = DetectionPipeline(config, model=load(model, config.ensemble, config.features))
    untrained = DetectionPipeline(config)
    first: dict[str, dict[str, Any]] = {}
    for point in points_of_a_new_source():
        for name, pipeline in (("trained", trained), ("untrained", untrained)):
            result = pipeline.process(point)
            if result["status"] == "scored":
                first.setdefault(name, result)
    assert first["trained"]["timestamp"] <= first["untrained"]["timestamp"]
    assert None not in first["trained"]["detectors"].values()
    assert first["untrained"]["detectors"]["isolation_forest"] is None


def test_score_starts_from_the_model_and_says_so_in_the_model_version(model: Path) -> None:
    lines = b"\n".join(json.dumps(point).encode() for point in points_of_a_new_source())
    ran = score(lines, "--set", f"model.path={model}")
    scored = [r for r in map(json.loads, ran.stdout.splitlines()) if r["status"] == "scored"]
    assert scored
    assert all(None not in result["detectors"].values() for result in scored)
    config = DetectionConfig()
    read = load(model, config.ensemble, config.features)
    version = DetectionPipeline(config, model=read).model_version
    assert version == f"{config.model_version()}-{read.digest[:12]}"


def test_the_same_history_gives_the_same_model(anomalyd: Command, model: Path, tmp_path: Path) -> None:
    anomalyd("train", write_csv(tmp_path / "a.csv"), "--output", tmp_path / "again")
    assert (tmp_path / "again" / "arrays.npz").read_bytes() == (model / "arrays.npz").read_bytes()


def test_a_damaged_model_is_a_clear_error(anomalyd: Command, model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "model"
    damaged.mkdir()
    (damaged / "manifest.json").write_bytes((model / "manifest.json").read_bytes())
    (damaged / "arrays.npz").write_bytes((model / "arrays.npz").read_bytes()[:-1])
    ran = anomalyd("score", "--set", f"model.path={damaged}")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"error: model {damaged}: arrays.npz is damaged, its SHA-256 is not the manifest's"


def test_a_model_of_another_configuration_is_a_clear_error(anomalyd: Command, model: Path) -> None:
    other = "detection.ensemble={detectors: [{type: zscore}]}"
    ran = anomalyd("score", "--set", f"model.path={model}", "--set", other)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(
        f"error: model {model}: trained with other settings of detection.ensemble.detectors"
    )


def test_a_model_that_is_not_there_is_a_clear_error(anomalyd: Command, tmp_path: Path) -> None:
    ran = anomalyd("score", "--set", f"model.path={tmp_path}/gone")
    assert (ran.code, ran.out) == (1, "")
    assert f"{tmp_path}/gone/manifest.json: No such file or directory" in ran.err


def test_too_little_history_is_refused_and_nothing_is_written(anomalyd: Command, tmp_path: Path) -> None:
    ran = anomalyd("train", write_csv(tmp_path / "a.csv", 100), "--output", tmp_path / "model")
    assert ran.code == 1
    assert ran.err == ("error: 140 of 200 points had enough history to learn from; 256 are needed")
    assert not (tmp_path / "model").exists()


def test_lines_that_are_no_points_are_counted(anomalyd: Command, tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text('{"sourceId": "a", "values": "x"}\n' * 3, encoding="utf-8")
    ran = anomalyd("train", file, "--output", tmp_path / "model")
    assert ran.code == 1
    assert ran.err.endswith("256 are needed (3 rows were no data points)")


def test_points_without_a_timestamp_are_learned_from(anomalyd: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    file = tmp_path / "a.ndjson"
    lines = [json.dumps({"sourceId": "a", "values": {"x": float(rng.normal())}}) for _ in range(300)]
    file.write_text("\n".join(lines), encoding="utf-8")
    ran = anomalyd("train", file, "--output", tmp_path / "model")
    assert ran.code == 0
    assert "from 300 points of 1 files" in ran.out
