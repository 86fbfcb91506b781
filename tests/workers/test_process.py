"""One worker as a process; Kafka is not there, which a worker waits for while it serves its health."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest

from service.errors import AnomalydError, ConfigurationError, TopicsMissingError
from service.settings import Settings, load
from service.workers.process import Refused, WorkerProcess, settings_of_worker

PATIENCE_S = 60.0
SECRET = "hunter2-hunter2"


def _settings(*overrides: str) -> Settings:
    return load(
        environment={"ANOMALYD_KAFKA__SASL_PASSWORD": SECRET},
        overrides=["kafka.bootstrap_servers=127.0.0.1:1", "worker.id=test", "http.port=9464", *overrides],
    )


@contextmanager
def _started(settings: Settings) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(settings, None, 3)
    try:
        yield worker
    finally:
        if not worker.connection.closed:
            worker.kill()


def _heard(worker: WorkerProcess) -> int | None:
    assert worker.connection.poll(PATIENCE_S)
    return worker.hear()


def test_a_worker_has_an_identity_and_an_address_of_its_own_and_all_else_as_it_was() -> None:
    settings = _settings()
    ours = settings_of_worker(settings, 3)
    assert ours.worker.id == "test-3"
    assert (ours.http.host, ours.http.port) == ("127.0.0.1", 0)
    assert ours.model_copy(update={"worker": settings.worker, "http": settings.http}) == settings


def test_a_worker_tells_where_it_serves_and_its_command_line_tells_no_secret() -> None:
    with _started(_settings()) as worker:
        assert SECRET not in " ".join(psutil.Process(worker.pid).cmdline())
        assert _heard(worker) is None
        assert httpx.get(f"{worker.url}/-/healthy", trust_env=False).status_code == 200


def test_a_worker_that_is_killed_is_heard_of() -> None:
    with _started(_settings()) as worker:
        _heard(worker)
        psutil.Process(worker.pid).kill()
        assert _heard(worker) == -signal.SIGKILL
        assert worker.url == ""


def test_a_worker_that_is_asked_to_stop_ends_with_0() -> None:
    with _started(_settings()) as worker:
        _heard(worker)
        worker.stop()
        assert _heard(worker) == 0


def test_a_worker_that_does_not_serve_yet_is_stopped_at_once() -> None:
    with _started(_settings()) as worker:
        worker.stop()
        assert _heard(worker) == -signal.SIGTERM


def test_a_worker_that_cannot_start_like_this_says_why() -> None:
    with _started(_settings("kafka.properties={no.such.property: 1}")) as worker:
        _heard(worker)
        with pytest.raises(ConfigurationError, match=r"no\.such\.property"):
            _heard(worker)
        assert _heard(worker) == 2


@pytest.mark.parametrize(
    "error", [ConfigurationError(["a: is wrong", "b: too"]), TopicsMissingError("create them")]
)
def test_a_refusal_is_the_same_error_on_the_other_side(
    error: ConfigurationError | TopicsMissingError,
) -> None:
    there: AnomalydError = Refused.because(error).error()
    assert (type(there), str(there)) == (type(error), str(error))
