"""Offsets, the outbox and the waits between attempts: all pure."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from service.alerting.offsets import OffsetTracker
from service.alerting.outbox import Outbox, Waiting
from service.alerting.retry import RetryConfig, backoff_s, clamp_retry_after
from tests.alerting.anomalies import START_S, anomaly


@given(opens=st.lists(st.booleans(), min_size=1, max_size=60), seed=st.integers(0, 1_000))
def test_what_is_committed_is_the_lowest_offset_not_done_with(opens: list[bool], seed: int) -> None:
    tracker, open_now, random = OffsetTracker(), set[int](), Random(seed)
    for offset, is_open in enumerate(opens):
        (tracker.opened if is_open else tracker.passed)(offset)
        if is_open:
            open_now.add(offset)
        if open_now and random.random() < 0.5:
            done = random.choice(sorted(open_now))
            open_now.remove(done)
            tracker.done(done)
        assert tracker.to_commit == min(open_now, default=offset + 1)
        assert tracker.ahead == (offset + 1 - min(open_now) if open_now else 0)


def test_what_is_committed_is_no_news() -> None:
    tracker = OffsetTracker()
    assert [tracker.to_commit] == [None]
    tracker.passed(41)
    assert tracker.to_commit == 42
    tracker.committed(42)
    assert [tracker.to_commit] == [None]
    assert not tracker.expects(41)
    assert tracker.expects(45)


def waiting(alert_id: str, incident: str = "", partition: int = 0, due: float = 0.0) -> Waiting:
    return Waiting(anomaly(alert_id, incidentId=incident or alert_id), partition, 0, START_S, START_S, due)


def test_a_waiting_alert_lets_the_others_pass_but_not_its_own_incidents() -> None:
    outbox = Outbox()
    first, second, other = waiting("a", due=10), waiting("b", "a"), waiting("c")
    for item in (first, second, other):
        outbox.add(item)
    assert outbox.ready(0) is other
    outbox.remove(other)
    assert outbox.ready(9.9) is None
    assert outbox.wait_s(4) == 6
    assert outbox.ready(10) is first
    outbox.remove(first)
    assert outbox.ready(0) is second


def test_a_held_destination_gets_nothing() -> None:
    outbox = Outbox()
    outbox.add(waiting("a"))
    outbox.hold(30)
    outbox.hold(20)
    assert outbox.ready(29) is None
    assert outbox.wait_s(5) == 25
    assert outbox.ready(30) is not None


def test_a_lost_partition_takes_its_alerts_along() -> None:
    outbox = Outbox()
    kept, lost = waiting("a", partition=0), waiting("b", partition=1)
    outbox.add(kept)
    outbox.add(lost)
    assert outbox.drop({1}) == [lost]
    assert len(outbox) == 1


def test_waits_grow_with_full_jitter_up_to_the_maximum() -> None:
    config, random = RetryConfig(), Random(1)
    for attempts, ceiling in [(1, 1.0), (2, 2.0), (5, 16.0), (9, 256.0), (10, 300.0), (100_000, 300.0)]:
        waits = [backoff_s(config, attempts, random) for _ in range(500)]
        assert 0 <= min(waits) < ceiling * 0.05
        assert ceiling * 0.95 < max(waits) <= ceiling


def test_no_destination_may_ask_for_more_than_an_hour() -> None:
    assert [clamp_retry_after(s) for s in (-1.0, 5.0, 1e9)] == [0.0, 5.0, 3600.0]
