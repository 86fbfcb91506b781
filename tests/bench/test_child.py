"""A child that fails, a child that must end: with a module of our own that needs no Kafka to start."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from service.bench.child import BenchError, Child, Given, own_peak_bytes

NOWHERE = Given(None, ("kafka.bootstrap_servers=127.0.0.1:1", "log.level=error", "http.port=0"))
SERVICE = {"sources": 1, "values": 1, "points": 0, "backlog": 0, "before_ms": 0}


def test_a_failed_child_is_told_with_its_last_words() -> None:
    told = r"(?s)passthrough ended with code 1 before 'measured'.*unknown"
    task = {"config": None, "overrides": ["nothing=1"]}
    with Child("passthrough", task) as child, pytest.raises(BenchError, match=told):
        child.wait_for("measured", 60.0)


def test_a_child_that_does_not_answer_is_given_up_and_gone_afterwards() -> None:
    task = {**NOWHERE.told(), **SERVICE}
    with Child("service_child", task) as child, pytest.raises(BenchError, match="not 'ready' within 0 s"):
        child.wait_for("ready", 0.2)
    assert not psutil.pid_exists(child.pid)


def test_a_child_ends_when_asked() -> None:
    with Child("service_child", {**NOWHERE.told(), **SERVICE}) as child:
        child.finish()


def test_a_child_without_a_parent_ends() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "service.bench.reader"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == 1


def test_the_own_peak_is_known() -> None:
    assert own_peak_bytes() > 10_000_000
