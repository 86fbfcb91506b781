"""Several workers on one machine: starts them, starts dead ones anew, stops them all; scores nothing itself.

Which worker has which partition is Kafka's business, by the consumer group that they all are in.
"""

from __future__ import annotations

import signal
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from service import logs
from service.app import Only, longest_stop_s, warm
from service.clock import Clock, SystemClock
from service.errors import AnomalydError
from service.http.gathering import Gathering
from service.http.server import HttpServer, make_app
from service.metrics import SupervisorMetrics
from service.settings import Settings
from service.workers.process import WorkerProcess
from service.workers.restarts import Restarts

_TURN_S = 1.0
_STALLED_AFTER_S = 60.0
_MERCY_S = 2.0  # beyond a worker's own longest stop, before it is killed
_LEAVING_S = 3.0  # to see killed workers off and close

_log = logs.logger("supervisor")


class Supervisor:
    """Runs `workers` copies of the service in one consumer group until asked to stop."""

    def __init__(
        self, settings: Settings, workers: int, *, only: Only | None = None, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._only = only
        self._clock = clock or SystemClock()
        self._metrics = SupervisorMetrics()
        self._metrics.workers.set(workers)
        self._workers = [
            _Worker(settings, only, number, self._metrics, self._clock) for number in range(workers)
        ]
        self._gathering = Gathering(lambda: [worker.url for worker in self._workers], self._metrics)
        self._stop = threading.Event()
        self._woken, self._waker = Pipe(duplex=False)
        self._turned_at: float | None = None

    # What the probes ask.

    def unhealthy(self) -> str | None:
        if self._turned_at is not None and self._clock.monotonic() - self._turned_at > _STALLED_AFTER_S:
            return "the supervisor makes no progress"
        return self._gathering.unhealthy()

    def unready(self) -> str | None:
        return self._gathering.unready()

    @property
    def longest_stop_s(self) -> float:
        """How long `run` goes on after `stop`, whatever the workers do."""
        return longest_stop_s(self._settings) + _MERCY_S + _LEAVING_S

    # Life.

    def stop(self) -> None:
        """Ask all workers to finish what they are doing and end; returns at once, from any thread."""
        self._stop.set()
        self._waker.close()

    def run(self) -> None:
        """Supervise until `stop` is called.

        Raises:
            TopicsMissingError, ConfigurationError: a worker cannot start like this, so none can.
            AnomalydError: metrics cannot be served where they should be.
        """
        http = HttpServer(
            make_app(self._gathering.registry, self), self._settings.http.host, self._settings.http.port
        )
        http.start()
        _log.info("serving metrics and health", url=http.url)
        try:
            if self._only != "alerting":
                # Once, so that the workers find them in the cache instead of compiling side by side.
                _log.info("compiling kernels; the first start on a machine takes up to a minute")
                warm(self._settings.detection)
            while not self._stop.is_set():
                self._turn()
        finally:
            self._end()
            http.stop()
            self._gathering.close()
            _log.info("stopped")

    def _turn(self) -> None:
        """1. start whoever is due 2. hear what the workers say, and of their ends."""
        self._turned_at = self._clock.monotonic()
        for worker in self._workers:
            worker.start_if_due()
        self._hear(min([_TURN_S, *(worker.due_s for worker in self._workers if not worker.lives)]))

    def _hear(self, timeout_s: float) -> None:
        connections = [worker.connection for worker in self._workers if worker.connection is not None]
        waker = [] if self._stop.is_set() else [self._woken]
        ready = wait([*connections, *waker], timeout_s)
        for worker in self._workers:
            if worker.connection in ready:
                worker.hear(stopping=self._stop.is_set())

    def _end(self) -> None:
        """1. ask all to stop 2. wait until they have 3. kill who has not."""
        self._stop.set()
        _log.info("stopping")
        for worker in self._workers:
            worker.stop()
        deadline = self._clock.monotonic() + longest_stop_s(self._settings) + _MERCY_S
        while any(worker.lives for worker in self._workers):
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                break
            self._hear(left_s)
        for worker in self._workers:
            worker.kill()


class _Worker:
    """One of the workers through all its lives."""

    def __init__(
        self, settings: Settings, only: Only | None, number: int, metrics: SupervisorMetrics, clock: Clock
    ) -> None:
        self._settings = settings
        self._only = only
        self._number = number
        self._started_again = metrics.worker_restarts.labels(str(number))
        self._restarts = Restarts(clock)
        self._process: WorkerProcess | None = None
        self._lived = False

    @property
    def lives(self) -> bool:
        return self._process is not None

    @property
    def url(self) -> str:
        """Where it serves metrics and health; empty while it does not."""
        process = self._process
        return process.url if process is not None else ""

    @property
    def connection(self) -> Connection | None:
        return self._process.connection if self._process is not None else None

    @property
    def due_s(self) -> float:
        """How long until the next life may begin."""
        return self._restarts.remaining_s

    def start_if_due(self) -> None:
        if self.lives or self.due_s > 0:
            return
        if self._lived:
            self._started_again.inc()
        self._lived = True
        self._restarts.began()
        try:
            self._process = WorkerProcess(self._settings, self._only, self._number)
        except OSError as error:
            wait_s = self._restarts.ended()
            _log.error("worker cannot be started", worker=self._number, error=str(error), in_s=wait_s)
            return
        _log.info("worker started", worker=self._number, pid=self._process.pid)

    def hear(self, *, stopping: bool) -> None:
        """Take what the worker says; when it has ended, plan its next life.

        Raises:
            ConfigurationError, TopicsMissingError: it cannot start like this; not while `stopping`.
        """
        assert self._process is not None
        try:
            code = self._process.hear()
        except AnomalydError:
            if not stopping:
                raise
            return
        if code is None:
            return
        self._process = None
        wait_s = self._restarts.ended()
        if not stopping:
            _log.error("worker ended; it is started anew", worker=self._number, **_how(code), in_s=wait_s)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        if self._process is not None:
            _log.warning(
                "worker did not stop in time; killed, its batch will be read again", worker=self._number
            )
            self._process.kill()
            self._process = None


def _how(code: int) -> dict[str, str | int]:
    """How a process ended, for the log."""
    return {"exit_code": code} if code >= 0 else {"signal": signal.strsignal(-code) or -code}
