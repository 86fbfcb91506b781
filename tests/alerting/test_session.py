"""The order of sending, recording and committing, through crashes at each step."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from service.alerting.alert import Alert
from service.alerting.channels.base import AlertChannel, ChannelError, FinalError, RetryableError
from service.alerting.deliveries import Delivery
from service.alerting.journal import Journal
from service.alerting.policy import ChannelPolicy
from service.alerting.retry import RetryConfig
from service.alerting.rules import RuleConfig
from service.alerting.session import ChannelSession, Tools
from service.clock import ManualClock
from service.metrics import Metrics
from tests.alerting.anomalies import START_S, record
from tests.alerting.memory_kafka import Crash, MemoryKafka, MemorySource


class ScriptedChannel(AlertChannel):
    """Does what `script` says for each attempt in turn; takes everything once that is used up."""

    def __init__(self, name: str = "hook", *script: BaseException | None) -> None:
        super().__init__(name)
        self.script = list(script)
        self.attempts: list[str] = []
        self.taken: list[str] = []
        self.before: Callable[[Alert], None] = lambda _: None

    def send(self, alert: Alert) -> None:
        self.before(alert)
        self.attempts.append(alert.alert_id)
        answer = self.script.pop(0) if self.script else None
        if answer is not None:
            raise answer
        self.taken.append(alert.alert_id)


class Bench:
    """A channel, its Kafka, and sessions one after the other."""

    def __init__(self, *script: ChannelError | None, partitions: int = 1) -> None:
        self.clock = ManualClock(START_S)
        self.kafka = MemoryKafka(self.clock, partitions)
        self.channel = ScriptedChannel("hook", *script)
        self.metrics = Metrics()
        self.rules: list[RuleConfig] = []
        self.record_suppressed = True
        self.send_resolved = False
        self.stop = threading.Event()
        self.journal = Journal("hook")

    def session(self, *, same_process: bool = False) -> ChannelSession:
        """The next life: with a memory of its own, unless it is the same process."""
        if not same_process:
            self.journal = Journal("hook")
        tools = Tools(
            channel=self.channel,
            journal=self.journal,
            retry=RetryConfig(),
            record_suppressed=self.record_suppressed,
            metrics=self.metrics,
            clock=self.clock,
            random=Random(7),
        )
        policy = ChannelPolicy("hook", self.rules, send_resolved=self.send_resolved)
        session = ChannelSession(tools, policy, self.kafka.open())
        session.join()
        return session

    def run(self, session: ChannelSession | None = None, turns: int = 6) -> ChannelSession:
        session = session or self.session()
        for _ in range(turns):
            session.turn(self.stop)
        return session

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, {"channel": "hook", **labels}) or 0.0


def incident(number: int, *, at: float = START_S, **members: Any) -> dict[str, Any]:
    """An incident of a source of its own."""
    return record(f"a{number}", at=at, sourceId=f"pump-{number}", **members)


def test_an_anomaly_is_sent_recorded_and_committed() -> None:
    bench = Bench()
    bench.kafka.publish(incident(1))
    bench.run()
    assert bench.channel.taken == ["a1"]
    assert bench.kafka.committed == {0: 1}
    body = json.loads(bench.kafka.log[0][1])
    assert bench.kafka.log[0][0] == "hook/a1"
    assert body["channel"] == "hook"
    assert (body["alertId"], body["anomalyIds"]) == ("a1", ["a1"])
    assert (body["outcome"], body["reason"], body["attempts"]) == ("sent", "send", 1)
    assert body["at"].startswith("2026-01-01T00:00:")


def test_a_crash_after_sending_and_before_recording_sends_again_under_the_same_id() -> None:
    bench = Bench()
    bench.kafka.publish(incident(1))
    session = bench.session()
    bench.kafka.flush_fails = True
    with pytest.raises(OSError, match="no broker"):
        bench.run(session)
    bench.kafka.flush_fails = False
    bench.run()
    assert bench.channel.taken == ["a1", "a1"]
    assert bench.kafka.committed == {0: 1}


def test_a_log_that_is_away_does_not_make_the_same_process_send_twice() -> None:
    bench = Bench()
    bench.kafka.publish(incident(1))
    bench.kafka.flush_fails = True
    with pytest.raises(OSError, match="no broker"):
        bench.run()
    assert bench.kafka.log == []
    bench.kafka.flush_fails = False
    bench.run(bench.session(same_process=True))
    assert bench.channel.taken == ["a1"]
    assert bench.kafka.outcomes() == {"a1": "sent: send"}
    assert bench.kafka.committed == {0: 1}


def test_a_crash_after_recording_and_before_committing_does_not_send_again() -> None:
    bench = Bench()
    bench.kafka.publish(incident(1))

    def crash() -> None:
        raise Crash

    bench.kafka.on_commit = crash
    with pytest.raises(Crash):
        bench.run()
    assert bench.kafka.committed == {}
    bench.kafka.on_commit = None
    bench.run()
    assert bench.channel.taken == ["a1"]
    assert bench.kafka.committed == {0: 1}


def test_a_crash_while_an_alert_waits_sends_it_in_the_next_life() -> None:
    bench = Bench(RetryableError("http_503"))
    bench.kafka.publish(incident(1), incident(2))
    bench.run(turns=2)
    assert bench.channel.taken == ["a2"]
    assert bench.kafka.committed == {0: 0} or bench.kafka.committed == {}
    bench.run()
    assert bench.channel.taken == ["a2", "a1"]
    assert bench.kafka.committed == {0: 2}


@pytest.mark.parametrize("crash_at", range(1, 9))
def test_whatever_commit_it_crashes_at_every_alert_is_sent_once(crash_at: int) -> None:
    bench = Bench(None, RetryableError("http_503"), None, RetryableError("timeout"))
    commits = 0

    def crash() -> None:
        nonlocal commits
        commits += 1
        if commits == crash_at:
            raise Crash

    bench.kafka.on_commit = crash
    for number in range(5):
        bench.kafka.publish(incident(number), incident(number, incident="updated"))
    for _ in range(2):
        try:
            bench.run(turns=12)
        except Crash:
            continue
        break
    bench.run()
    assert sorted(bench.channel.taken) == ["a0", "a1", "a2", "a3", "a4"]
    assert bench.kafka.committed == {0: 10}


def test_a_retry_does_not_hold_up_the_other_alerts_and_is_not_committed_past() -> None:
    bench = Bench(RetryableError("http_503"))
    bench.kafka.publish(*(incident(number) for number in range(4)))
    session = bench.run(turns=2)
    assert bench.channel.taken == ["a1", "a2", "a3"]
    assert bench.kafka.committed.get(0, 0) == 0
    assert bench.value("anomalyd_alerts_oldest_pending_seconds") >= 0
    bench.run(session)
    assert bench.channel.taken == ["a1", "a2", "a3", "a0"]
    assert bench.kafka.committed == {0: 4}
    assert bench.value("anomalyd_alerts_retried_total") == 1
    assert bench.value("anomalyd_alerts_failed_total", reason="http_503") == 1


def test_polling_goes_on_while_a_retry_waits() -> None:
    bench = Bench(RetryableError("http_429", retry_after_s=120))
    bench.kafka.publish(incident(1))
    session = bench.run(turns=2)
    before = bench.kafka.polls
    while not bench.channel.taken:
        session.turn(bench.stop)
    assert bench.kafka.polls - before >= 120 / 0.5
    assert bench.clock.now() >= START_S + 120


def test_retry_after_holds_the_whole_destination() -> None:
    bench = Bench(RetryableError("http_429", retry_after_s=30))
    bench.kafka.publish(incident(1), incident(2))
    session = bench.run(turns=20)
    assert bench.channel.attempts == ["a1"]
    bench.run(session, turns=60)
    assert sorted(bench.channel.taken) == ["a1", "a2"]


def test_an_absurd_retry_after_is_clamped_to_an_hour() -> None:
    bench = Bench(RetryableError("http_429", retry_after_s=1e9))
    bench.kafka.publish(incident(1))
    session = bench.run(turns=2)
    bench.clock.advance(3600)
    bench.run(session)
    assert bench.channel.taken == ["a1"]


def test_a_final_error_makes_the_alert_dead_with_its_reason() -> None:
    bench = Bench(FinalError("http_404", "no such hook"))
    bench.kafka.publish(incident(1), incident(2))
    bench.run()
    assert bench.channel.attempts == ["a1", "a2"]
    assert bench.kafka.outcomes() == {"a1": "dead: http_404", "a2": "sent: send"}
    assert bench.kafka.committed == {0: 2}
    assert bench.value("anomalyd_alerts_dead_total", reason="http_404") == 1


def test_a_fault_inside_a_channel_is_retried_and_stops_nobody() -> None:
    bench = Bench()
    bench.channel.script = [ZeroDivisionError("https://hook.example/secret")]
    bench.kafka.publish(incident(1), incident(2))
    bench.run(turns=8)
    assert bench.channel.taken == ["a2", "a1"]
    assert bench.value("anomalyd_alerts_failed_total", reason="unexpected") == 1


def test_an_alert_is_given_up_at_its_maximum_age() -> None:
    bench = Bench(*[RetryableError("timeout")] * 5_000)
    bench.kafka.publish(incident(1))
    session = bench.session()
    while not bench.kafka.log:
        session.turn(bench.stop)
        bench.clock.advance(60)
    assert bench.kafka.outcomes() == {"a1": "dead: max_age (timeout)"}
    assert 86_400 < bench.clock.now() - START_S < 86_400 + 600
    assert bench.kafka.deliveries[0].attempts > 200


def test_what_is_already_too_old_when_it_is_read_is_not_sent() -> None:
    bench = Bench()
    bench.kafka.publish(incident(1))
    bench.clock.advance(86_401)
    bench.kafka.publish(incident(2))
    bench.run()
    assert bench.kafka.outcomes() == {"a1": "suppressed: too_old", "a2": "sent: send"}


def test_duplicates_stay_suppressed_after_a_restart() -> None:
    bench = Bench()
    bench.kafka.publish(record("a1"))
    bench.run()
    bench.kafka.publish(record("a2", at=START_S + 200), record("a3", at=START_S + 400))
    bench.run()
    assert bench.kafka.outcomes() == {
        "a1": "sent: send",
        "a2": "suppressed: duplicate",
        "a3": "sent: send",
    }
    assert bench.value("anomalyd_alerts_suppressed_total", reason="duplicate") == 1


def test_a_point_of_no_incident_is_counted_and_recorded_and_not_sent() -> None:
    bench = Bench()
    bench.kafka.publish(record("a1", incident=None, incidentId=None))
    bench.run()
    assert bench.channel.taken == []
    assert bench.value("anomalyd_alerts_suppressed_total", reason="no_incident") == 1
    [(_, body)] = bench.kafka.log
    delivery = Delivery.decode(body)
    assert (delivery.outcome, delivery.reason) == ("suppressed", "no_incident")
    assert (delivery.incident, delivery.incident_id, delivery.group) == (None, None, "a1")


def test_what_another_channel_sent_does_not_count() -> None:
    bench = Bench()
    bench.kafka.publish(record("a1"))
    bench.run()
    bench.kafka.log = [(key.replace("hook/", "mail/"), value) for key, value in bench.kafka.log]
    bench.kafka.committed.clear()
    bench.run()
    assert bench.channel.taken == ["a1", "a1"]


def test_an_end_is_not_told_before_the_beginning() -> None:
    bench = Bench(RetryableError("http_503"))
    bench.send_resolved = True
    bench.kafka.publish(record("a1"), record("a2", incidentId="a1", incident="resolved", at=START_S + 5))
    bench.run(turns=10)
    assert bench.channel.taken == ["a1", "a2"]


@pytest.mark.parametrize("bad", [None, b"", b"not json", b"{}", b"[" * 5_000, b'{"id": "\xff"}'])
def test_a_malformed_record_is_counted_and_skipped(bad: bytes | None) -> None:
    bench = Bench()
    bench.kafka.publish(bad, incident(1))
    bench.run()
    assert bench.channel.taken == ["a1"]
    assert bench.kafka.committed == {0: 2}
    assert bench.value("anomalyd_alerts_suppressed_total", reason="malformed") == 1


def test_a_date_that_cannot_be_read_makes_a_record_malformed() -> None:
    bench = Bench()
    bench.kafka.publish(record("a1", detectedAt="yesterday"))
    bench.run()
    assert bench.value("anomalyd_alerts_suppressed_total", reason="malformed") == 1


def test_suppressed_anomalies_need_not_be_recorded() -> None:
    bench = Bench()
    bench.record_suppressed = False
    bench.kafka.publish(record("a1"), record("a2"))
    bench.run()
    assert list(bench.kafka.outcomes()) == ["a1"]
    assert bench.kafka.committed == {0: 2}


def test_a_commit_that_meets_a_rebalance_is_made_up_for() -> None:
    bench = Bench()
    bench.kafka.publish(incident(1))
    bench.kafka.rebalancing = True
    session = bench.run()
    assert bench.kafka.committed == {}
    bench.kafka.rebalancing = False
    bench.run(session, turns=1)
    assert bench.kafka.committed == {0: 1}


def test_a_revoked_partition_takes_its_waiting_alerts_along_and_brings_them_back() -> None:
    bench = Bench(RetryableError("http_503"), partitions=2)
    bench.kafka.publish(incident(1), partition=1)
    session = bench.run(turns=2)
    source = session._source
    assert isinstance(source, MemorySource)
    source.revoke([1])
    bench.run(session, turns=10)
    assert bench.channel.taken == []
    source.assign([1])
    bench.run(session)
    assert bench.channel.taken == ["a1"]
    assert bench.kafka.committed[1] == 1


def test_what_another_worker_sent_meanwhile_is_known_when_the_partition_comes_back() -> None:
    bench = Bench(RetryableError("http_503"))
    bench.kafka.publish(incident(1))
    session = bench.run(turns=2)
    source = session._source
    assert isinstance(source, MemorySource)
    source.revoke([0])
    bench.run(turns=4)
    assert bench.channel.taken == ["a1"]
    bench.kafka.committed.clear()
    source.assign([0])
    bench.run(session)
    assert bench.channel.taken == ["a1"]


def test_a_stop_lets_only_the_alert_in_flight_finish() -> None:
    bench = Bench()
    bench.kafka.publish(incident(1), incident(2))
    bench.channel.before = lambda _: bench.stop.set()
    bench.run(turns=2)
    assert bench.channel.taken == ["a1"]
    assert bench.kafka.outcomes() == {"a1": "sent: send"}
    assert bench.kafka.committed == {0: 1}


def test_too_many_waiting_alerts_leave_the_rest_in_kafka() -> None:
    bench = Bench(*[RetryableError("http_503")] * 100_000)
    bench.kafka.publish(*(incident(number) for number in range(5_000)))
    session = bench.run(turns=3)
    source = session._source
    assert isinstance(source, MemorySource)
    assert source.paused
    assert len(session._outbox) <= 3_000
    bench.channel.script.clear()
    while bench.kafka.committed.get(0) != 5_000:
        session.turn(bench.stop)
    assert len(set(bench.channel.taken)) == len(bench.channel.taken) == 5_000


def test_ten_thousand_duplicates_take_less_than_a_second_of_one_core() -> None:
    bench = Bench()
    bench.kafka.publish(*(record(f"a{number}") for number in range(10_000)))
    session = bench.session()
    started = time.process_time()
    while bench.kafka.committed.get(0) != 10_000:
        session.turn(bench.stop)
    assert time.process_time() - started < 1.0
    assert bench.channel.taken == ["a0"]
    assert len(bench.kafka.log) == 10_000
