"""`anomalyd demo` as a visitor runs it, its output piped: what it shows, and what it leaves behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.kafka.running import wait_for

COMMAND = [sys.executable, "-m", "service", "demo", "--seconds", "15"]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo's temporary files go."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def environment(temporary: Path) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALYD_")}
    kept = {name: os.environ[name] for name in ("ANOMALYD_CACHE",) if name in os.environ}
    return {**given, **kept, "TMPDIR": str(temporary)}


def brokers_of(temporary: Path) -> list[psutil.Process]:
    """Every process whose command line names the demo's own folder: its Java and who watches over it."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(temporary) in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


def java_of(temporary: Path) -> list[psutil.Process]:
    return [process for process in brokers_of(temporary) if "kafka.Kafka" in process.info["cmdline"]]


def test_the_demo_finds_its_faults_and_leaves_nothing_behind(temporary: Path) -> None:
    ran = subprocess.run(
        COMMAND,
        capture_output=True,
        text=True,
        timeout=240,
        env=environment(temporary),
        stdin=subprocess.DEVNULL,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    assert "\x1b" not in ran.stdout
    said = " ".join(ran.stdout.split())
    assert re.search(r"(pressure|flow|temperature) [-\d.]+ is [\d.]+ standard deviations", said)
    verdict = re.search(r"Found (\d+) of 10 planted faults, (\d+) false alarm", said)
    assert verdict is not None, ran.stdout
    found, false_alarms = map(int, verdict.groups())
    assert found >= 9, ran.stdout
    assert false_alarms <= 2, ran.stdout
    assert said.endswith("Broker and data are gone.")
    assert brokers_of(temporary) == []
    assert list(temporary.iterdir()) == []


@pytest.fixture
def demo(temporary: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        COMMAND, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(temporary)
    ) as process:
        yield process
        process.kill()


def test_a_killed_demo_takes_its_broker_and_data_along(
    demo: subprocess.Popen[bytes], temporary: Path
) -> None:
    wait_for(lambda: bool(java_of(temporary)), "the demo's broker runs")
    assert demo.poll() is None
    demo.kill()
    demo.wait()
    wait_for(lambda: not brokers_of(temporary), "the broker is gone", 20.0)
    wait_for(lambda: not list(temporary.glob("anomalyd-kafka-*")), "the data is gone", 20.0)
