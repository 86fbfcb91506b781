"""The detection loop: poll, decode, score, publish and commit in one transaction, partition by partition.

No transaction is ever open across `consume()`; the rebalance callbacks run only inside it, so they never
meet one.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from service.clock import Clock
from service.logs import Logger
from service.metrics import Metrics
from service.pipeline import DetectionPipeline, Outcome, Record
from service.stream import dead_letters
from service.stream.config import StreamConfig
from service.stream.dead_letters import Headers
from service.stream.transaction import OutputMessage, TransactionAborted, Transactions
from service.wire.data_point import InvalidRecord
from service.wire.decode import InputLimits, decode

_LAG_EVERY_S = 2.0
_PROBE_EVERY_S = 1.0
_STALLED_AFTER_S = 60.0
_PASSED_THROUGH = frozenset({"traceparent", "tracestate"})

Publish = Literal["all", "anomalies", "none"]


class Stopped(Exception):  # noqa: N818 - not a failure: asked to stop, and done waiting
    """The service was asked to stop and the cluster did not answer in the time left."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where output goes: the topics, and whether each has as many partitions as the input.

    Where it has, a message keeps its input's partition, which costs less than hashing the key and
    keeps a source's order whoever produced it.
    """

    data_points: str
    results: str
    anomalies: str
    dead_letters: str
    same_partitions: frozenset[str]

    def partition(self, topic: str, input_partition: int) -> int:
        return input_partition if topic in self.same_partitions else -1


@dataclass(slots=True)
class _Partition:
    """One assigned partition: its pipeline and the next offset to take."""

    pipeline: DetectionPipeline
    next_offset: int = -1
    committed: int = -1


@dataclass(slots=True)
class _Output:
    """What a batch publishes and what it counts."""

    messages: list[OutputMessage] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    invalid: list[InvalidRecord] = field(default_factory=list)
    offsets: list[TopicPartition] = field(default_factory=list)
    oldest_ms: int = 2**62
    moved_on: bool = False


class ClusterState:
    """Whether the cluster answers; says each change once, hears of it from client callbacks."""

    def __init__(self, metrics: Metrics, log: Logger) -> None:
        self._metrics, self._log = metrics, log
        self.up = True
        self.losses = 0
        metrics.broker_up.set(1)

    def on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the library's own name for it
            self.lost(error.str())
        else:
            self._log.debug("client error", error=error.str())

    def lost(self, why: str) -> None:
        self.losses += 1
        if self.up:
            self.up = False
            self._metrics.broker_up.set(0)
            self._log.warning("Kafka does not answer; trying until it does", error=why)

    def back(self) -> None:
        if not self.up:
            self.up = True
            self._metrics.broker_up.set(1)
            self._log.info("Kafka answers again")


class StreamRuntime:
    """One consumer, one transactional producer, one pipeline per assigned partition."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        transactions: Transactions,
        make_pipeline: Callable[[int], DetectionPipeline],
        route: Route,
        config: StreamConfig,
        limits: InputLimits,
        publish: Publish,
        cluster: ClusterState,
        metrics: Metrics,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._consumer = consumer
        self._transactions = transactions
        self._make_pipeline = make_pipeline
        self._route = route
        self._config = config
        self._limits = limits
        self._publish = publish
        self._cluster = cluster
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._partitions: dict[int, _Partition] = {}
        self._assigned = False
        self._losses_seen = 0
        self._last_turn = clock.monotonic()
        self._next_lag = self._next_probe = 0.0
        self._scored = self._opened = self._evicted = 0

    # What health checks ask, from another thread.

    @property
    def healthy(self) -> bool:
        """The loop turns; a dead broker alone does not make it unhealthy."""
        return self._clock.monotonic() - self._last_turn < _STALLED_AFTER_S

    @property
    def ready(self) -> bool:
        """Partitions are assigned and the cluster answers."""
        return self._assigned and self._cluster.up

    def still_turning(self) -> None:
        """A long wait inside a turn reports that it goes on."""
        self._last_turn = self._clock.monotonic()

    # The loop.

    def run(self, stop: threading.Event) -> None:
        """Turn until `stop` is set; the batch in flight is committed before this returns.

        Raises:
            KafkaException: fatal; to be started anew by a supervisor.
            Stopped: `stop` was set and the cluster did not answer in time.
        """
        self._transactions.renew()
        self._consumer.subscribe(
            [self._route.data_points],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        try:
            while not stop.is_set():
                self.turn()
        finally:
            self._assigned = False
            self._consumer.close()

    def turn(self) -> None:
        """One turn: 1. poll 2. decode and score 3. publish and commit 4. count."""
        self.still_turning()
        messages = self._consumer.consume(self._config.max_batch_records, self._config.max_wait)
        if messages:
            self._cluster.back()
            output = self._process(messages)
            if output.offsets:
                self._commit(output)
        self._observe()

    def _process(self, messages: Sequence[Message]) -> _Output:
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            if (error := message.error()) is not None:
                self._judge(error)
                continue
            number = message.partition()
            assert number is not None
            by_partition.setdefault(number, []).append(message)
        output = _Output()
        for number, records in by_partition.items():
            partition = self._partitions.get(number)
            if partition is not None:  # otherwise it was revoked while the records were on their way
                self._score(partition, number, records, output)
        return output

    def _judge(self, error: KafkaError) -> None:
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._log.warning("input topic is not there (any more)", error=error.str())
        elif error.fatal() or not error.retriable():
            raise KafkaException(error)

    def _score(
        self, partition: _Partition, number: int, messages: Sequence[Message], output: _Output
    ) -> None:
        """Decode and score one partition's messages; outputs stand in input order."""
        seconds = self._metrics.stage_seconds
        taken: list[Message] = []
        read: list[Record | InvalidRecord] = []
        with seconds.labels("decode").time():
            for message in messages:
                offset = message.offset()
                assert offset is not None
                if offset < partition.next_offset:
                    continue
                if partition.committed < 0:
                    partition.committed = offset
                partition.next_offset = offset + 1
                time_ms = message.timestamp()[1]
                output.oldest_ms = min(output.oldest_ms, time_ms)
                content = decode(message.value(), message.key(), _headers(message), time_ms, self._limits)
                taken.append(message)
                if isinstance(content, InvalidRecord):
                    read.append(content)
                else:
                    read.append(Record(content, offset, time_ms))
        with seconds.labels("score").time():
            records = [record for record in read if isinstance(record, Record)]
            outcomes = iter(partition.pipeline.process_batch(records))
        with seconds.labels("encode").time():
            for message, item in zip(taken, read, strict=True):
                if isinstance(item, InvalidRecord):
                    output.invalid.append(item)
                    output.messages.append(self._dead_letter(message, number, item))
                else:
                    outcome = next(outcomes)
                    output.outcomes.append(outcome)
                    self._publish_outcome(message, number, outcome, output.messages, partition.pipeline)
        output.offsets.append(TopicPartition(self._route.data_points, number, partition.next_offset))

    def _publish_outcome(
        self,
        message: Message,
        number: int,
        outcome: Outcome,
        messages: list[OutputMessage],
        pipeline: DetectionPipeline,
    ) -> None:
        if self._publish == "none" and outcome.anomaly is None:
            return
        route = self._route
        key = outcome.source_id.encode()
        headers = self._provenance(message, number)
        headers.append(("x-model", pipeline.model_version.encode()))
        headers += [header for header in _headers(message) or () if header[0] in _PASSED_THROUGH]
        if self._publish == "all" or (self._publish == "anomalies" and outcome.is_anomaly):
            partition = route.partition(route.results, number)
            messages.append(OutputMessage(route.results, partition, key, outcome.result, headers))
        if outcome.anomaly is not None:
            partition = route.partition(route.anomalies, number)
            messages.append(OutputMessage(route.anomalies, partition, key, outcome.anomaly, headers))

    def _provenance(self, message: Message, number: int) -> Headers:
        return [
            ("x-in-topic", self._route.data_points.encode()),
            ("x-in-partition", b"%d" % number),
            ("x-in-offset", b"%d" % (message.offset() or 0)),
        ]

    def _dead_letter(self, message: Message, number: int, invalid: InvalidRecord) -> OutputMessage:
        headers = dead_letters.headers(invalid, _headers(message), self._provenance(message, number))
        topic = self._route.dead_letters
        return OutputMessage(
            topic, self._route.partition(topic, number), message.key(), message.value(), headers
        )

    def _commit(self, output: _Output) -> None:
        """Publish the batch, as often as it takes, unless it is no longer ours to publish."""
        with self._metrics.stage_seconds.labels("commit").time():
            while not self._try_commit(output):
                if not self._still_at_start(output):
                    self._start_over(output)
                    return
        for offset in output.offsets:
            if (partition := self._partitions.get(offset.partition)) is not None:
                partition.committed = offset.offset
        self._metrics.transactions.labels("committed").inc()
        self._metrics.latency_seconds.observe(max(self._clock.now() - output.oldest_ms / 1000.0, 0.0))
        self._count(output)

    def _try_commit(self, output: _Output) -> bool:
        """False if the transaction was undone."""
        if self._cluster.losses > self._losses_seen:
            self._losses_seen = self._cluster.losses
            self._transactions.renew()
        try:
            self._transactions.run(self._consumer, output.messages, output.offsets)
        except TransactionAborted as aborted:
            self._metrics.transactions.labels("aborted").inc()
            self._log.warning("transaction aborted", error=str(aborted))
            if aborted.moved_on:
                output.moved_on = True
            else:
                self._transactions.renew()
            return False
        return True

    def _still_at_start(self, output: _Output) -> bool:
        """Whether the group's offsets stand where this batch begins: the same bytes may go out again."""
        if output.moved_on:
            return False
        before = {o.partition: self._partitions[o.partition].committed for o in output.offsets}
        committed = self._consumer.committed(
            [TopicPartition(self._route.data_points, number) for number in before], timeout=30.0
        )
        return all(tp.offset == before[tp.partition] or tp.offset < 0 for tp in committed)

    def _start_over(self, output: _Output) -> None:
        """Forget what the undone batch taught and go back to the committed offsets."""
        self._log.warning("reading again from the committed offsets")
        numbers = [offset.partition for offset in output.offsets if offset.partition in self._partitions]
        owned = [TopicPartition(self._route.data_points, number) for number in numbers]
        for committed in self._consumer.committed(owned, timeout=30.0):
            if committed.offset < 0:
                committed.offset = OFFSET_BEGINNING
            self._partitions[committed.partition] = _Partition(self._make_pipeline(committed.partition))
            self._consumer.seek(committed)

    # Counting.

    def _count(self, output: _Output) -> None:
        metrics = self._metrics
        metrics.batch_size.observe(len(output.outcomes) + len(output.invalid))
        for status, n in Counter(o.status for o in output.outcomes).items():
            metrics.points.labels(status).inc(n)
            self._scored += n if status == "scored" else 0
        for reason, n in Counter(i.reason for i in output.invalid).items():
            metrics.dead_letters.labels(str(reason)).inc(n)
        told = [o for o in output.outcomes if o.anomaly is not None]
        for severity, n in Counter(o.severity for o in told).items():
            metrics.anomalies.labels(severity).inc(n)
        for change, n in Counter(o.incident for o in told if o.incident).items():
            metrics.incidents.labels(change).inc(n)
            self._opened += n if change == "opened" else 0
        if self._scored:
            metrics.alarm_rate.set(self._opened / self._scored)

    def _observe(self) -> None:
        """Every few seconds: lag, sizes; while the cluster is away, whether it is back."""
        now = self._clock.monotonic()
        if not self._cluster.up and now >= self._next_probe:
            self._next_probe = now + _PROBE_EVERY_S
            self._probe()
        if now < self._next_lag:
            return
        self._next_lag = now + _LAG_EVERY_S
        metrics = self._metrics
        pipelines = [p.pipeline for p in self._partitions.values()]
        metrics.sources.set(sum(len(p.sources) for p in pipelines))
        metrics.state_bytes.set(sum(p.state_bytes for p in pipelines))
        evicted = sum(p.sources.evicted for p in pipelines)
        metrics.sources_evicted.inc(max(evicted - self._evicted, 0))
        self._evicted = evicted
        for number, partition in self._partitions.items():
            tp = TopicPartition(self._route.data_points, number)
            _, high = self._consumer.get_watermark_offsets(tp, cached=True)
            if high >= 0 and partition.next_offset >= 0:
                metrics.consumer_lag.labels(str(number)).set(max(high - partition.next_offset, 0))

    def _probe(self) -> None:
        try:
            self._consumer.list_topics(self._route.data_points, timeout=0.5)
        except KafkaException:
            return
        self._cluster.back()

    # Rebalances; called by the client from inside `consume()` and `close()`.

    def _on_assign(self, _: Consumer, assigned: list[TopicPartition]) -> None:
        for tp in assigned:
            self._partitions[tp.partition] = _Partition(self._make_pipeline(tp.partition))
        self._assigned = True
        self._cluster.back()
        self._log.info("partitions assigned", partitions=sorted(tp.partition for tp in assigned))

    def _on_revoke(self, _: Consumer, revoked: list[TopicPartition]) -> None:
        self._drop(revoked)
        self._log.info("partitions revoked", partitions=sorted(tp.partition for tp in revoked))

    def _on_lost(self, _: Consumer, lost: list[TopicPartition]) -> None:
        self._drop(lost)
        self._log.warning("partitions lost", partitions=sorted(tp.partition for tp in lost))

    def _drop(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            gone = self._partitions.pop(tp.partition, None)
            if gone is not None:
                self._evicted -= gone.pipeline.sources.evicted
                self._metrics.consumer_lag.labels(str(tp.partition)).set(0)


def _headers(message: Message) -> Headers | None:
    """The record's headers as the client gives them when reading: a list of names and bytes."""
    return cast(Headers | None, message.headers())


def route_of(names: Mapping[str, str], partitions: Mapping[str, int]) -> Route:
    """The route for topic names and partition counts by role."""
    same = {names[role] for role in names if partitions[role] == partitions["data_points"]}
    return Route(
        names["data_points"],
        names["detection_results"],
        names["anomalies"],
        names["dead_letters"],
        frozenset(same),
    )
