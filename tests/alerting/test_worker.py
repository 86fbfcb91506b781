"""The thread around the sessions: starting anew after a fault, stopping, saying how it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random

from service.alerting.alert import Alert
from service.alerting.channels.base import AlertChannel
from service.alerting.config import AlertingConfig
from service.alerting.ports import Ports
from service.alerting.worker import ChannelWorker
from service.clock import ManualClock
from service.metrics import Metrics
from tests.alerting.anomalies import START_S, record
from tests.alerting.memory_kafka import MemoryKafka
from tests.alerting.test_session import ScriptedChannel, incident


class Bench:
    def __init__(self, channel: AlertChannel, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock(START_S)
        self.kafka = MemoryKafka(self.clock)
        self.metrics = Metrics()
        self.faults = 0
        self.heals_when_opened = False
        self.worker = ChannelWorker(
            channel, AlertingConfig(), self._open, metrics=self.metrics, clock=self.clock, random=Random(3)
        )

    def _open(self) -> Ports:
        if self.faults:
            self.faults -= 1
            raise OSError("no broker")
        if self.heals_when_opened:
            self.kafka.flush_fails = False
        return self.kafka.open()

    def restarts(self) -> float:
        labels = {"channel": "hook"}
        return self.metrics.registry.get_sample_value("anomalyd_alert_worker_restarts_total", labels) or 0.0


def stop_when(bench: Bench, done: Callable[[], bool]) -> None:
    """Let the worker's own next commit notice that the test has seen enough."""

    def notice() -> None:
        if done():
            bench.worker.stop()

    bench.kafka.on_commit = notice


def test_a_fault_is_waited_out_and_loses_nothing() -> None:
    channel = ScriptedChannel("hook")
    bench = Bench(channel)
    bench.faults = 4
    bench.kafka.publish(incident(1))
    stop_when(bench, lambda: bool(channel.taken))
    bench.worker.run()
    assert channel.taken == ["a1"]
    assert bench.restarts() == 4
    assert bench.clock.now() > START_S


def test_a_failing_log_starts_the_channel_anew_without_sending_twice() -> None:
    channel = ScriptedChannel("hook")
    bench = Bench(channel)
    bench.kafka.flush_fails = True
    bench.kafka.publish(record("a1"))

    def heal(_: Alert) -> None:
        # The flush after this alert fails once; the next session finds the log mended.
        bench.heals_when_opened = True

    channel.before = heal
    stop_when(bench, lambda: bool(bench.kafka.log))
    bench.worker.run()
    assert channel.taken == ["a1"]
    assert bench.kafka.outcomes() == {"a1": "sent: send"}
    assert bench.restarts() == 1


def test_a_worker_leaves_at_its_deadline_though_its_channel_never_answers() -> None:
    sending, release = threading.Event(), threading.Event()

    class Stuck(ScriptedChannel):
        def send(self, alert: Alert) -> None:
            sending.set()
            release.wait(30)
            super().send(alert)

    channel = Stuck("hook")
    bench = Bench(channel)
    bench.kafka.publish(incident(1), incident(2))
    health = [bench.worker.healthy]
    bench.worker.start()
    assert sending.wait(10)
    health.append(bench.worker.healthy)
    bench.worker.stop(deadline_s=0.0)
    assert not bench.worker.join()
    bench.clock.advance(1_000)
    health.append(bench.worker.healthy)
    assert health == [False, True, False]
    release.set()
    bench.worker._thread.join(10)
    assert bench.worker.join()
    assert channel.taken == ["a1"]
    assert bench.kafka.committed == {0: 1}
