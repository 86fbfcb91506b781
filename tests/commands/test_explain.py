"""`anomalyd explain` on a file: what `score` says of the point, and why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.commands.command_line import Command, score

START_MS = 1_767_225_600_000


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources, and one value far off after 250 minutes."""
    rng, path = np.random.default_rng(1), tmp_path_factory.mktemp("points") / "points.ndjson"
    lines = []
    for i in range(300):
        for source in ("pump-7", "pump-8"):
            x = 50.0 if (i, source) == (250, "pump-7") else float(rng.normal())
            lines.append(json.dumps({"sourceId": source, "timestamp": START_MS + i * 60_000, "values": x}))
    path.write_text("\n".join(lines) + "\n\nnot a point\n", encoding="utf-8")
    return path


def test_the_point_is_told_as_score_judges_it(anomalyd: Command, points: Path) -> None:
    ran = anomalyd(
        "explain", "--source", "pump-7", "--at", "2026-01-01T04:10:00Z", "--input", points, "--json"
    )
    told = json.loads(ran.out)
    result = json.loads(score(points.read_bytes()).stdout.splitlines()[500])
    assert (told["sourceId"], told["offset"], told["notes"]) == ("pump-7", 500, [])
    assert result["incident"] == told["incident"]["change"] == "opened"
    for name in ("timestamp", "score", "isAnomaly", "severity", "explanation"):
        assert told[name] == result[name]
    scores = {detector["name"]: detector["score"] for detector in told["detectors"]}
    assert {name: x and float(f"{x:.4g}") for name, x in scores.items()} == result["detectors"]
    assert told["incident"]["heldBy"] == []


def test_the_table_says_verdict_sentence_and_gates(anomalyd: Command, points: Path) -> None:
    ran = anomalyd("explain", "--source", "pump-7", "--offset", 502, "--input", points)
    assert ran.code == 0
    for text in ("pump-7 at 2026-01-01T04:11:00Z", "incident was", "detectors", "how rare", "gates", "rest"):
        assert text in ran.out
    assert "109 of 110 points of rest" in " ".join(ran.out.split())


def test_without_a_point_at_the_time_the_one_before_is_told_and_that_is_said(
    anomalyd: Command, points: Path
) -> None:
    ran = anomalyd("explain", "--source", "pump-8", "--at", START_MS + 61_000, "--input", points, "--json")
    told = json.loads(ran.out)
    assert (told["timestamp"], told["verdict"]) == (
        "2026-01-01T00:01:00Z",
        "Not judged: skipped: insufficient history.",
    )
    assert told["notes"] == ["no point at that time exactly: this is the newest one before it"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "either --at or --offset"),
        (["--at", "noon"], 2, "neither epoch milliseconds nor RFC 3339"),
        (["--at", "2025-01-01T00:00:00Z"], 1, "no point at or before"),
        (["--offset", "501"], 1, "is of source"),
        (["--offset", "601"], 1, "no record at offset"),
    ],
)
def test_what_cannot_be_explained_is_said(
    anomalyd: Command, points: Path, arguments: list[str], code: int, said: str
) -> None:
    one = ["--set", "topics.partitions=1"]
    ran = anomalyd("explain", "--source", "pump-7", "--input", points, *one, *arguments)
    assert ran.code == code
    assert said in ran.err
