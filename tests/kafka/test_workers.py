"""`anomalyd run --workers N`: several processes in one group, seen from outside as one service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import httpx
import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from tests.kafka.conftest import RunningBroker
from tests.kafka.running import (
    RunningService,
    Setup,
    input_offsets,
    make_topics,
    noisy_points,
    produce,
    published,
    running,
    wait_for,
)

pytestmark = pytest.mark.kafka

PARTITIONS = 4


def _setup(broker: RunningBroker, prefix: str, *overrides: str) -> Setup:
    setup = Setup.of(broker.bootstrap_servers, prefix, *overrides, partitions=PARTITIONS)
    make_topics(setup.settings)
    return setup


def _points(count: int, sources: int = 16) -> list[tuple[str, bytes]]:
    names = [f"pump-{i}" for i in range(sources)]
    return [
        (
            name,
            json.dumps(
                {"sourceId": name, "timestamp": 1_767_225_600_000 + i * 1000, "values": i % 7}
            ).encode(),
        )
        for i in range(count // sources)
        for name in names
    ]


def _holdings(service: RunningService) -> dict[int, set[int]]:
    """The partitions of each worker, as the log tells."""
    held: dict[int, set[int]] = {}
    for entry in list(service.log):
        if entry["event"] == "worker started":
            held[entry["worker"]] = set()
        elif entry["event"] == "partitions assigned":
            held[entry["worker"]] |= set(entry["partitions"])
        elif entry["event"] in ("partitions revoked", "partitions lost"):
            held[entry["worker"]] -= set(entry["partitions"])
    return held


def _wait_until_shared(service: RunningService, workers: int = 2) -> None:
    """Until every worker has its share of the partitions and all say that they are ready."""

    def shared() -> bool:
        assert not service.exited, service.log
        held = [len(partitions) for partitions in _holdings(service).values()]
        return held == [PARTITIONS // workers] * workers and service.is_ready()

    wait_for(shared, "the workers share the partitions")


def _pids(service: RunningService, worker: int) -> list[int]:
    """Of all its lives, the last one's last."""
    return [entry["pid"] for entry in service.events("worker started") if entry["worker"] == worker]


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # nobody may be there to see it off
    except psutil.NoSuchProcess:
        return True


def _processes(service: RunningService) -> list[int]:
    return [child.pid for child in psutil.Process(service.process.pid).children(recursive=True)]


def _results(setup: Setup) -> dict[int, list[tuple[bytes, bytes]]]:
    """(key, value) of each result, by partition and in order."""
    found: dict[int, list[tuple[bytes, bytes]]] = {}
    for message in published(setup.settings, "detection_results"):
        key, partition = message.key(), message.partition()
        assert isinstance(key, bytes)
        assert partition is not None
        found.setdefault(partition, []).append((key, message.value() or b""))
    return found


def _assert_one_result_each(setup: Setup, records: int) -> None:
    offsets = input_offsets(published(setup.settings, "detection_results"))
    assert len(offsets) == len(set(offsets)) == records
    for number in range(PARTITIONS):
        mine = [offset for partition, offset in offsets if partition == number]
        assert mine == list(range(len(mine)))
    assert published(setup.settings, "dead_letters") == []


def test_two_workers_share_the_partitions_and_are_seen_as_one_service(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = _setup(broker, topic_prefix)
    with running(setup, "--workers", "2") as service:
        _wait_until_shared(service)
        points = _points(4_000)
        produce(setup.settings, points)
        service.wait_until_done(len(points))
        assert service.metric("anomalyd_workers") == service.metric("anomalyd_workers_up") == 2
        assert service.metric("anomalyd_worker_restarts_total") == 0
        done = [service.metric("anomalyd_points_total", worker=str(worker)) for worker in range(2)]
        assert sum(done) == len(points)
        assert min(done) > 0
        answer = httpx.get(f"{service.url}/metrics", headers={"accept": "application/openmetrics-text"})
        families = [f.name for f in parse_openmetrics(answer.text)]  # type: ignore[no-untyped-call]
        assert len(families) == len(set(families))
        assert httpx.get(f"{service.url}/-/healthy").text == "ok"
        assert {entry["worker"] for entry in service.events("compiling kernels") if "worker" in entry} == {
            0,
            1,
        }
        assert service.terminate() == 0
    _assert_one_result_each(setup, len(points))


def test_two_workers_give_the_bytes_of_one(broker: RunningBroker, topic_prefix: str) -> None:
    points = noisy_points(sources=8)
    alone, together = _setup(broker, f"{topic_prefix}1-"), _setup(broker, f"{topic_prefix}2-")
    produce(alone.settings, points)
    with running(alone) as service:
        service.wait_until_done(len(points))
        assert service.terminate() == 0
    with running(together, "--workers", "2") as service:
        _wait_until_shared(service)
        produce(together.settings, points)
        service.wait_until_done(len(points))
        assert service.terminate() == 0
    results = _results(together)
    assert results == _results(alone)
    assert any(b'"isAnomaly":true' in value for records in results.values() for _, value in records)


def test_a_killed_worker_is_back_by_itself_and_every_record_has_one_result(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = _setup(broker, topic_prefix, "stream.max_batch_records=200")
    points = _points(12_000)
    with running(setup, "--workers", "2") as service:
        _wait_until_shared(service)
        produce(setup.settings, points)
        wait_for(lambda: service.records_done() > len(points) * 0.1, "a part of the records has results")
        (first,) = _pids(service, 1)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(_pids(service, 1)) == 2, "the worker is started anew")
        wait_for(
            lambda: len(published(setup.settings, "detection_results")) >= len(points),
            "every record has a result",
        )
        wait_for(service.is_ready, "all workers are ready")
        assert service.metric("anomalyd_workers_up") == 2
        assert service.metric("anomalyd_worker_restarts_total", worker="1") == 1
        assert service.metric("anomalyd_worker_restarts_total", worker="0") == 0
        (ended,) = service.events("worker ended")
        assert (ended["worker"], ended["signal"]) == (1, "Killed")
        assert service.terminate() == 0
    _assert_one_result_each(setup, len(points))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "sent to every process"])
def test_a_stop_ends_all_workers_cleanly_and_leaves_no_process(
    broker: RunningBroker, topic_prefix: str, number: signal.Signals
) -> None:
    setup = _setup(broker, topic_prefix, "stream.max_batch_records=200")
    produce(setup.settings, _points(12_000))
    with running(setup, "--workers", "2") as service:
        wait_for(lambda: service.records_done() > 0, "a batch is done")
        _wait_until_shared(service)
        children = _processes(service)
        assert len(children) == 2
        assert all(os.getsid(pid) == pid for pid in children)  # a terminal's Ctrl-C is not for them
        told = [service.process.pid]
        if number == signal.SIGTERM:  # as systemd does
            told += children
        for pid in told:
            os.kill(pid, number)
        assert service.process.wait(30.0) == 0
        assert all(_gone(pid) for pid in children)
        service._reader.join(5.0)
        assert {entry.get("worker") for entry in service.events("stopped")} == {0, 1, None}
        assert service.events("killed") == service.events("failed") == []


def test_a_second_signal_ends_all_at_once(broker: RunningBroker, topic_prefix: str) -> None:
    setup = _setup(broker, topic_prefix)
    with running(setup, "--workers", "2") as service:
        _wait_until_shared(service)
        children = _processes(service)
        for pid in children:
            os.kill(pid, signal.SIGSTOP)  # so that a clean stop cannot end first
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: bool(service.events("stopping")), "the supervisor stops")
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(30.0) == 128 + signal.SIGINT
        for pid in children:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: all(_gone(pid) for pid in children), "the workers leave")


def test_workers_whose_supervisor_is_killed_finish_and_leave(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = _setup(broker, topic_prefix, "stream.max_batch_records=200")
    points = _points(12_000)
    with running(setup, "--workers", "2") as service:
        _wait_until_shared(service)
        produce(setup.settings, points)
        wait_for(lambda: service.records_done() > 0, "a batch is done")
        children = _processes(service)
        service.process.kill()
        wait_for(lambda: all(_gone(pid) for pid in children), "the workers leave", 30.0)
        service._reader.join(5.0)
        assert {entry.get("worker") for entry in service.events("stopped")} == {0, 1}
    with running(setup, "--workers", "2") as service:
        wait_for(
            lambda: len(published(setup.settings, "detection_results")) >= len(points),
            "every record has a result",
        )
        assert service.terminate() == 0
    _assert_one_result_each(setup, len(points))


def test_missing_topics_are_said_once_and_end_everything(broker: RunningBroker, topic_prefix: str) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix)
    run = subprocess.run(
        [sys.executable, "-m", "service", "run", "--workers", "3", "--only", "alerting", *setup.flags],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert run.stderr.count("anomalyd topics create") == 1


def test_what_only_a_worker_finds_wrong_in_the_configuration_is_said_once_and_ends_with_2(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix, "kafka.properties={no.such.property: 1}")
    run = subprocess.run(
        [sys.executable, "-m", "service", "run", "--workers", "2", "--only", "alerting", *setup.flags],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 2
    assert run.stderr.count("no.such.property") == 1
