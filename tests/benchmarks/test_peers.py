"""The parts of the peers' benchmark that need no Kafka; how fast anybody is, no test says."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from rich.console import Console

from service.stream.kafka_jars import read_lock
from tests.benchmarks.peers import loop, naive, running_mean
from tests.benchmarks.peers.__main__ import main
from tests.benchmarks.peers.jobs import Interpreters, Job, jobs
from tests.benchmarks.peers.measuring import Measured, Peer, PeerFailedError, Progress, started
from tests.benchmarks.peers.points import points
from tests.benchmarks.peers.report import Report
from tests.benchmarks.peers.streams_java import COMPILER_LOCK, compiled

RUN = Measured(800, points_per_s=100_000.0, cpu_s_per_million=5.0, memory_mb=80.0, result_bytes=250)


def every_job() -> list[Job]:
    def no_java() -> None:
        raise AssertionError("no peer is started here")

    return jobs(1_000_000, 1_000, Interpreters.of(None), no_java)  # type: ignore[arg-type]


@pytest.fixture
def report() -> Report:
    """Three of the peers ran, one was skipped."""
    report = Report(every_job(), {"sources": 1_000}, missing={"quix": "no package quixstreams"})
    for cpu in (4.0, 5.0, 9.0):
        report.add("passthrough", replace(RUN, cpu_s_per_million=cpu))
    report.add("anomalyd", replace(RUN, cpu_s_per_million=8.0))
    report.add("naive", replace(RUN, cpu_s_per_million=10_000.0))
    return report


def test_points_come_from_the_sources_in_turn() -> None:
    made = list(points(250, sources=100))

    assert made[7][0] == made[107][0] != made[8][0]
    for source_id, body in made:
        assert 80 <= len(body) <= 110
        point = loop.decode_point(body)
        assert (point.source_id, list(point.values)) == (source_id, ["value"])


def test_fewer_points_are_the_first_of_more() -> None:
    assert list(points(150, sources=100)) == list(islice(points(1_000, sources=100), 150))


def test_the_running_mean_is_that_of_the_points_before() -> None:
    score = running_mean.RunningMean()
    results = [
        json.loads(score(loop.Point(source_id="pump-7", timestamp=0, values={"value": value})))
        for value in (1.0, 3.0, 8.0)
    ]

    assert [result["mean"] for result in results] == [0.0, 1.0, 2.0]
    assert [result["variance"] for result in results] == [0.0, 0.0, 2.0]
    assert results[2]["score"] == pytest.approx(6.0 / 2.0**0.5)


def test_the_naive_service_scores_once_its_forest_is_fitted() -> None:
    score = naive.Naive()
    bodies = [body for _, body in points(naive.ROWS_TO_FIT + 1, sources=10)]
    results = [json.loads(score(loop.decode_point(body))) for body in bodies]

    assert results[-2]["score"] is None
    assert 0.0 < results[-1]["score"] < 1.0


def test_the_json_has_medians_and_what_they_are_beside_the_others(report: Report) -> None:
    found = json.loads(json.dumps(report.to_json()))

    assert found["sources"] == 1_000
    assert found["missing"] == {"quix": "no package quixstreams"}
    anomalyd, passthrough, slow = found["jobs"]
    assert (passthrough["name"], passthrough["cpu_s_per_million"]) == ("passthrough", 5.0)
    assert len(passthrough["runs"]) == 3
    assert (anomalyd["of_passthrough"], anomalyd["times_anomalyd"]) == (0.625, 1.0)
    assert slow["times_anomalyd"] == 1_250.0


def test_the_table_has_a_row_for_each_peer_that_ran(report: Report) -> None:
    console = Console(file=io.StringIO(), width=140, record=True)
    console.print(report.table())
    text = console.export_text()

    assert "5.00 (4.00 to 9.00)" in text
    assert "1,250" in text
    assert "quix" not in text


def test_without_anomalyd_nothing_is_compared_with_it() -> None:
    report = Report(every_job(), {})
    report.add("passthrough", RUN)

    assert report.to_json()["jobs"][0]["times_anomalyd"] is None
    assert report.table().row_count == 1


def test_progress_is_told_by_the_partition_that_is_furthest_behind() -> None:
    assert Progress.of([50, 10, 0], [100, 100, 0]) == Progress(60, 0.1)


def test_a_peer_that_ends_early_says_what_its_log_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('out of luck')"]

    with (
        started(command, tmp_path / "log") as peer,
        pytest.raises(PeerFailedError, match=r"exit code 1:\nout of luck"),
    ):
        peer.measure(lambda: Progress(0, 0.0), 0.5)


def test_a_peer_is_measured_between_its_share_and_its_end(tmp_path: Path) -> None:
    seen = iter([Progress(0, 0.0), Progress(60, 0.3), Progress(90, 0.8), Progress(100, 1.0)])

    with started([sys.executable, "-c", "import signal; signal.pause()"], tmp_path / "log") as peer:
        assert isinstance(peer, Peer)
        assert peer.measure(lambda: next(seen), 0.2).points == 40


def test_a_missing_package_is_told_before_anything_starts() -> None:
    needed = {job.name: job.needs for job in every_job() if job.needs}

    assert needed == {"quix": "quixstreams", "river_hst": "river"}
    assert Interpreters.of(None).lacks("no_package_is_called_so")
    assert not Interpreters.of(None).lacks("json")


def test_an_unknown_peer_is_refused_by_name() -> None:
    with pytest.raises(SystemExit, match="no such peer: flink; there are anomalyd, passthrough"):
        main(["--only", "anomalyd,flink"])


def test_the_compiler_is_pinned() -> None:
    (jar,) = read_lock(COMPILER_LOCK)["compiler"]

    assert len(bytes.fromhex(jar.sha256)) == 32


@pytest.mark.kafka
def test_the_peer_in_java_compiles_on_the_brokers_own_java(tmp_path: Path) -> None:
    java = compiled(tmp_path / "classes")

    assert (tmp_path / "classes/MeanAndVariance.class").exists()
    done = subprocess.run(java.command("MeanAndVariance"), capture_output=True, text=True, check=False)
    assert "ArrayIndexOutOfBoundsException" in done.stderr  # it loads, and misses its arguments


@pytest.mark.parametrize("name", ["loop", "quix", "river_hst"])
def test_peers_of_another_environment_do_not_import_the_service(name: str) -> None:
    tree = ast.parse((Path(loop.__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]

    assert not [module for module in modules if module.split(".")[0] == "service"]
