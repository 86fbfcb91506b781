"""One thread per channel, each in its own consumer group: a channel that fails stops no other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random

from service.alerting.channels.base import AlertChannel
from service.alerting.config import AlertingConfig
from service.alerting.journal import Journal
from service.alerting.policy import ChannelPolicy
from service.alerting.ports import Ports
from service.alerting.retry import RetryConfig, backoff_s
from service.alerting.session import ChannelSession, Tools
from service.clock import Clock
from service.logs import logger
from service.metrics import Metrics

_RESTART = RetryConfig(initial=1.0, maximum=30.0)
_STUCK_S = 180.0

_log = logger("alerting.worker")


class ChannelWorker:
    """Runs sessions of one channel until it is stopped; after a fault it starts anew from the last commit."""

    def __init__(
        self,
        channel: AlertChannel,
        config: AlertingConfig,
        open_ports: Callable[[], Ports],
        *,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        send_resolved: bool = False,
    ) -> None:
        self.name = channel.name
        self._channel = channel
        self._config = config
        self._open_ports = open_ports
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._send_resolved = send_resolved
        self._tools = Tools(
            channel=channel,
            journal=Journal(channel.name),
            retry=config.retry,
            record_suppressed=config.record_suppressed,
            metrics=metrics,
            clock=clock,
            random=random,
        )
        self._stop = threading.Event()
        self._leave_by = 0.0
        self._progress_at = clock.monotonic()
        # A daemon, so that a destination that never answers cannot keep the process from ending.
        self._thread = threading.Thread(target=self.run, name=f"alerts-{channel.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, deadline_s: float = 10.0) -> None:
        """Ask the worker to leave; it finishes at most the alert that is being sent. Returns at once."""
        self._leave_by = self._clock.monotonic() + deadline_s
        self._stop.set()

    def join(self) -> bool:
        """Wait until the worker has left, or until the deadline of `stop`; true if it has left."""
        timeout_s = max(0.0, self._leave_by - self._clock.monotonic()) if self._stop.is_set() else None
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def healthy(self) -> bool:
        """The worker runs and makes progress; a Kafka that is away alone does not make it unhealthy."""
        stuck = self._clock.monotonic() - self._progress_at > _STUCK_S
        return self._thread.is_alive() and not stuck

    def run(self) -> None:
        """The thread's whole life."""
        failures = 0
        while not self._stop.is_set():
            started = self._clock.monotonic()
            try:
                self._live()
            except Exception as error:  # noqa: BLE001  the thread's outermost line
                if self._clock.monotonic() - started > 60:
                    failures = 0
                failures += 1
                wait_s = backoff_s(_RESTART, failures, self._random)
                self._metrics.alert_worker_restarts.labels(self.name).inc()
                _log.error(
                    "channel starts anew",
                    channel=self.name,
                    error=f"{type(error).__name__}: {error}",
                    in_s=round(wait_s, 1),
                )
                self._progress_at = self._clock.monotonic()
                self._clock.wait(self._stop, wait_s)
        self._channel.close()

    def _live(self) -> None:
        """One session: to a stop, or to the first fault."""
        policy = ChannelPolicy(
            self.name,
            self._config.rules,
            window_s=self._config.deduplication.window,
            send_resolved=self._send_resolved,
        )
        session = ChannelSession(self._tools, policy, self._open_ports())
        try:
            session.join()
            while not self._stop.is_set():
                session.turn(self._stop)
                self._progress_at = self._clock.monotonic()
        finally:
            session.close()
