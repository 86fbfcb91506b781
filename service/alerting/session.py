"""One life of a channel's worker, from joining its group to leaving it: consume, decide, send, record.

The order that nothing may change: the channel has said ok, then the delivery is recorded and flushed, then
the offset is committed. A crash anywhere repeats at most the one alert between the first two.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from service.alerting.channels.base import AlertChannel, ChannelError, RetryableError
from service.alerting.decision import Reason, detected_at_s
from service.alerting.deliveries import Delivery, Outcome
from service.alerting.journal import Journal
from service.alerting.offsets import OffsetTracker
from service.alerting.outbox import Outbox, Waiting
from service.alerting.policy import ChannelPolicy
from service.alerting.ports import Ports, Record
from service.alerting.retry import RetryConfig, backoff_s, clamp_retry_after
from service.alerting.sending import attempt
from service.clock import Clock
from service.logs import logger
from service.metrics import Metrics
from service.wire.anomaly import Anomaly

_BATCH_RECORDS = 2_000
_IDLE_S = 0.5  # the longest that a poll waits: how late a stop may be noticed
_SENDING_S = 1.0  # how long alerts are sent before the group is polled again
_MAX_WAITING = 1_000  # alerts on their way; with more, the rest stays in Kafka
_MAX_AHEAD = 500_000  # records read past the oldest alert on its way: read again after a crash


@dataclass(frozen=True, slots=True)
class Tools:
    """What a session uses beside its ports; the same for every life of the worker."""

    channel: AlertChannel
    journal: Journal
    retry: RetryConfig
    record_suppressed: bool
    metrics: Metrics
    clock: Clock
    random: Random


class ChannelSession:
    """Starts with an empty memory and learns from the deliveries topic what was sent before."""

    def __init__(self, tools: Tools, policy: ChannelPolicy, ports: Ports) -> None:
        self._tools = tools
        self._name = tools.channel.name
        self._policy = policy
        self._source = ports.source
        self._ports = ports
        self._outbox = Outbox()
        self._offsets: dict[int, OffsetTracker] = {}
        self._restoring = False
        self._paused = False
        self._log = logger("alerting.worker").bind(channel=self._name)

    def join(self) -> None:
        self._tools.journal.open(self._ports.log, self._policy)
        self._source.subscribe(self)

    def turn(self, stop: threading.Event) -> None:
        """One round, of a second or so (and of one attempt, if that takes longer).

        1. read back a part of the deliveries, where a partition is new here
        2. poll, which also keeps us in the group
        3. decide on each record; what is suppressed is done with
        4. send what is due
        5. flush the records, then commit
        """
        if self._restoring:
            self._restoring = self._tools.journal.read_back(self._policy, timeout_s=_IDLE_S)
        self._pause_or_resume()
        for record in self._source.poll(_BATCH_RECORDS, self._poll_timeout_s()):
            self._take(record)
        self._send_due(stop)
        self.commit()
        self._show_oldest()

    def commit(self) -> None:
        """Flush what is recorded, then commit as far as nothing is open."""
        self._tools.journal.flush()
        offsets = {
            partition: offset
            for partition, tracker in self._offsets.items()
            if (offset := tracker.to_commit) is not None
        }
        if offsets and self._source.commit(offsets):
            for partition, offset in offsets.items():
                self._offsets[partition].committed(offset)

    def close(self) -> None:
        self._ports.close()

    # The group's partitions come and go inside poll and close.

    def assigned(self, partitions: Collection[int]) -> None:
        """Take the partitions, but read nothing of them before knowing what others sent from them."""
        if not partitions:
            return
        for partition in partitions:
            self._offsets[partition] = OffsetTracker()
        self._ports.log.mark_end()
        self._restoring = True
        self._paused = True
        self._source.pause()

    def revoked(self, partitions: Collection[int]) -> None:
        """Drop what is on its way: whoever has the partitions next decides it again."""
        for partition in partitions:
            self._offsets.pop(partition, None)
        for waiting in self._outbox.drop(partitions):
            self._policy.withdraw(waiting.anomaly, waiting.decided_at)

    # 2. poll

    def _pause_or_resume(self) -> None:
        """Back-pressure: with too much on its way, Kafka is the queue."""
        ahead = sum(tracker.ahead for tracker in self._offsets.values())
        pause = self._restoring or len(self._outbox) >= _MAX_WAITING or ahead >= _MAX_AHEAD
        if pause != self._paused:
            self._paused = pause
            if pause:
                self._source.pause()
            else:
                self._source.resume()

    def _poll_timeout_s(self) -> float:
        if self._restoring:
            return 0.0
        wait_s = self._outbox.wait_s(self._tools.clock.monotonic())
        return _IDLE_S if wait_s is None else min(_IDLE_S, wait_s)

    # 3. decide

    def _take(self, record: Record) -> None:
        tracker = self._offsets.get(record.partition)
        if tracker is None or not tracker.expects(record.offset):
            return
        try:
            anomaly = Anomaly.parse(record.value or b"")
            now = detected_at_s(anomaly)
        except ValueError as error:
            self._skip_malformed(record, error)
            tracker.passed(record.offset)
            return
        if self._tools.journal.knows(anomaly.id):
            tracker.passed(record.offset)
            return
        reason = self._decide(anomaly, now, record)
        if reason is Reason.SEND:
            self._policy.admit(anomaly, now)
            self._outbox.add(Waiting(anomaly, record.partition, record.offset, now, record.timestamp_s))
            tracker.opened(record.offset)
        else:
            self._suppress(anomaly, reason)
            tracker.passed(record.offset)

    def _decide(self, anomaly: Anomaly, now: float, record: Record) -> Reason:
        reason = self._policy.decide(anomaly, now)
        if reason is Reason.SEND and self._age_s(record.timestamp_s) > self._tools.retry.max_age:
            return Reason.TOO_OLD
        return reason

    def _suppress(self, anomaly: Anomaly, reason: Reason) -> None:
        self._policy.note_suppressed(anomaly)
        self._tools.metrics.alerts_suppressed.labels(self._name, reason).inc()
        tell = self._log.warning if reason is Reason.TOO_OLD else self._log.debug
        tell("anomaly not alerted", reason=reason.value, alert_id=anomaly.id)
        if self._tools.record_suppressed:
            self._tools.journal.write(self._delivery(anomaly, "suppressed", reason, 0))

    def _skip_malformed(self, record: Record, error: ValueError) -> None:
        self._tools.metrics.alerts_suppressed.labels(self._name, Reason.MALFORMED).inc()
        self._log.error(
            "anomaly record skipped",
            reason=Reason.MALFORMED.value,
            partition=record.partition,
            offset=record.offset,
            error=str(error)[:500],
        )

    # 4. send

    def _send_due(self, stop: threading.Event) -> None:
        clock = self._tools.clock
        until = clock.monotonic() + _SENDING_S
        while not stop.is_set() and clock.monotonic() < until:
            waiting = self._outbox.ready(clock.monotonic())
            if waiting is None:
                return
            self._try(waiting)

    def _try(self, waiting: Waiting) -> None:
        tools = self._tools
        waiting.attempts += 1
        if waiting.attempts > 1:
            tools.metrics.alerts_retried.labels(self._name).inc()
        error = attempt(tools.channel, waiting.alert)
        if error is None:
            tools.metrics.alerts_sent.labels(self._name).inc()
            self._log.info("alert sent", alert_id=waiting.alert.alert_id, attempts=waiting.attempts)
            self._finish(waiting, "sent", Reason.SEND)
            return
        tools.metrics.alerts_failed.labels(self._name, error.reason).inc()
        if not isinstance(error, RetryableError):
            self._give_up(waiting, error.reason, error)
        elif self._age_s(waiting.published_at) > tools.retry.max_age:
            self._give_up(waiting, "max_age", error)
        else:
            self._put_off(waiting, error)

    def _put_off(self, waiting: Waiting, error: RetryableError) -> None:
        tools = self._tools
        now = tools.clock.monotonic()
        wait_s = backoff_s(tools.retry, waiting.attempts, tools.random)
        if error.retry_after_s is not None:
            held_s = clamp_retry_after(error.retry_after_s)
            self._outbox.hold(now + held_s)
            wait_s = max(wait_s, held_s)
        waiting.due = now + wait_s
        self._log.warning(
            "alert put off",
            reason=error.reason,
            detail=error.detail,
            alert_id=waiting.alert.alert_id,
            attempts=waiting.attempts,
            retry_in_s=round(wait_s, 1),
        )

    def _give_up(self, waiting: Waiting, reason: str, error: ChannelError) -> None:
        self._tools.metrics.alerts_dead.labels(self._name, reason).inc()
        self._log.error(
            "ALERT NOT DELIVERED, given up",
            reason=reason,
            last_error=error.reason,
            detail=error.detail,
            alert_id=waiting.alert.alert_id,
            title=waiting.alert.title,
            attempts=waiting.attempts,
        )
        self._policy.note_dead(waiting.anomaly.group)
        self._finish(waiting, "dead", reason if reason == error.reason else f"{reason} ({error.reason})")

    def _finish(self, waiting: Waiting, outcome: Outcome, reason: str) -> None:
        """Record before anything else happens: until then, a crash would send the alert again."""
        self._tools.journal.write(self._delivery(waiting.anomaly, outcome, reason, waiting.attempts))
        self._tools.journal.flush()
        self._outbox.remove(waiting)
        self._offsets[waiting.partition].done(waiting.offset)

    def _delivery(self, anomaly: Anomaly, outcome: Outcome, reason: str, attempts: int) -> Delivery:
        return Delivery.of(self._name, anomaly, outcome, reason, attempts, self._tools.clock.now())

    def _age_s(self, published_at: float) -> float:
        return self._tools.clock.now() - published_at

    def _show_oldest(self) -> None:
        oldest = self._outbox.oldest_published_at
        age_s = 0.0 if oldest is None else max(0.0, self._age_s(oldest))
        self._tools.metrics.alerts_oldest_pending_seconds.labels(self._name).set(age_s)
