"""`anomalyd bench` and its processes on the real broker, with counts far too small to mean anything."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import psutil
import pytest

from service.bench.backlog import delete_topics
from service.settings import load
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import wait_for

SMALL = [
    "--cases", "40x2", "--rounds", "1", "--points", "40000", "--rates", "200", "--seconds", "1.5",
    "--set", "stream.max_batch_records=500",
]  # fmt: skip


def command(broker: RunningBroker, *arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "service", "bench", "-b", broker.bootstrap_servers, *SMALL, *arguments,
    ]  # fmt: skip


def bench_topics(broker: RunningBroker) -> set[str]:
    from confluent_kafka.admin import AdminClient

    names = AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_topics(timeout=10.0).topics
    return {name for name in names if name.startswith("bench-")}


def test_a_run_gives_every_figure_and_leaves_no_topics(broker: RunningBroker) -> None:
    ran = subprocess.run(command(broker, "--json"), capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["settings"]["points"] == 40_000
    (case,) = found["cases"]
    assert (case["sources"], case["values"]) == (40, 2)
    for figure in (
        "points_per_second", "cpu_s_per_million", "passthrough_cpu_s_per_million",
        "passthrough_points_per_second", "share_of_passthrough", "state_bytes_per_source", "peak_rss_bytes",
        "point_bytes", "result_bytes",
    ):  # fmt: skip
        assert case[figure] > 0, figure
    assert set(case["stages"]) >= {"decode", "score", "encode", "commit"}
    assert [set(one) for one in case["rounds"]] == [{"service", "passthrough"}]
    assert case["scored_share"] == 1.0
    (latency,) = case["latency"]
    assert latency["rate"] == 200
    assert latency["samples"] > 0
    assert 0 <= latency["p50_ms"] <= latency["p99_ms"] <= latency["p999_ms"]
    assert "CPU-s" in ran.stderr
    wait_for(lambda: not bench_topics(broker), "the benchmark's topics are gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_behind(broker: RunningBroker, number: signal.Signals) -> None:
    with subprocess.Popen(command(broker), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        family: list[psutil.Process] = []

        def started() -> bool:
            family[:] = psutil.Process(process.pid).children(recursive=True)
            return bool(family)

        wait_for(started, "a child runs")
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    wait_for(lambda: not bench_topics(broker), "the benchmark's topics are gone")


def test_a_killed_run_takes_its_children_along(broker: RunningBroker) -> None:
    with subprocess.Popen(command(broker), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: bool(psutil.Process(process.pid).children()), "a child runs")
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    settings = load(environment={}, overrides=[f"kafka.bootstrap_servers={broker.bootstrap_servers}"])
    delete_topics(settings.kafka, "bench-")


def test_a_cluster_that_does_not_answer_is_told() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "service", "bench", "-b", "127.0.0.1:1", *SMALL],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 1
    assert "no broker answers at 127.0.0.1:1" in " ".join(ran.stderr.split())
