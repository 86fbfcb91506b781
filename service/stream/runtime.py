"""The detection loop: poll, decode, score, publish and commit in one transaction, partition by partition.

No transaction is ever open across `consume()`; the rebalance callbacks run only inside it, so they never
meet one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import numpy as np
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from service.clock import Clock
from service.errors import AnomalydError
from service.logs import Logger
from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.stream.cluster import ClusterState
from service.stream.config import StreamConfig
from service.stream.crash_points import here
from service.stream.output import Output, Publish, Publisher, Route
from service.stream.tally import Tally
from service.stream.transaction import Headers, TransactionAborted, Transactions
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read

_IDLE_S = 0.1  # how long one turn waits for a first record
_OBSERVE_EVERY_S = 2.0
_PROBE_EVERY_S = 1.0
_STALLED_AFTER_S = 60.0
_ASK_S = 30.0  # for a question to the cluster

# A topic that is (for now) not there; and a poll that came too late because the cluster was away for
# minutes during a commit, after which the client joins its group anew by itself.
_PASSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._MAX_POLL_EXCEEDED})  # noqa: SLF001


class Stopped(Exception):  # noqa: N818 - not a failure: asked to stop, and done waiting
    """The service was asked to stop and the cluster did not answer in the time left."""


@dataclass(slots=True)
class _Partition:
    """One assigned partition: its pipeline, the next offset to take, and where the group stands."""

    pipeline: DetectionPipeline
    next_offset: int = -1
    committed: int = -1


class StreamRuntime:
    """One consumer, one transactional producer, one pipeline per assigned partition."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        transactions: Transactions,
        make_pipeline: Callable[[int], DetectionPipeline],
        route: Route,
        publish: Publish,
        config: StreamConfig,
        limits: InputLimits,
        cluster: ClusterState,
        metrics: Metrics,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._consumer = consumer
        self._transactions = transactions
        self._make_pipeline = make_pipeline
        self._topic = route.data_points
        self._publisher = Publisher(route, publish)
        self._config = config
        self._limits = limits
        self._cluster = cluster
        self._metrics = metrics
        self._tally = Tally(metrics)
        self._clock = clock
        self._log = log
        self._partitions: dict[int, _Partition] = {}
        self._assigned = False
        self._losses_seen = 0
        self._moved: set[int] = set()  # partitions that left during this poll
        self._batch_s = 0.0  # how long the last batch took, from decoding to commit
        self._last_turn = clock.monotonic()
        self._next_observation = self._next_probe = 0.0

    # What health checks ask, from another thread.

    @property
    def healthy(self) -> bool:
        """The loop turns; a dead broker alone does not make it unhealthy."""
        return self._clock.monotonic() - self._last_turn < _STALLED_AFTER_S

    @property
    def ready(self) -> bool:
        """The group has given out partitions (perhaps none to us) and the cluster answers."""
        return self._assigned and self._cluster.up

    def still_turning(self) -> None:
        """A long wait inside a turn reports that it goes on."""
        self._last_turn = self._clock.monotonic()

    # The loop.

    def run(self, stop: threading.Event) -> None:
        """Turn until `stop` is set; the batch in flight is committed before this returns.

        Raises:
            AnomalydError: an error of Kafka's that no trying again mends; to be started anew.
            Stopped: `stop` was set and the cluster did not answer in time.
        """
        try:
            self._transactions.renew()
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not stop.is_set():
                self.turn()
        except KafkaException as error:
            raise AnomalydError(f"Kafka: {error.args[0].str()} ({error.args[0].name()})") from error
        finally:
            self._assigned = False
            self._consumer.close()

    def turn(self) -> None:
        """One turn: 1. poll 2. decode and score 3. publish and commit 4. observe."""
        self.still_turning()
        if messages := self._poll():
            began = self._clock.monotonic()
            output = self._process(messages)
            if output.offsets:
                self._cluster.back()
                self._commit(output)
            self._batch_s = self._clock.monotonic() - began
        self._observe()

    def _poll(self) -> list[Message]:
        """The next batch: few records when few come in, many under load.

        The first record is waited for. It then waits for others at most as long as the last batch took: that
        halves the number of transactions where records trickle, and costs none of them more than it saves.
        """
        self._moved.clear()
        messages = self._consumer.consume(1, _IDLE_S)
        if messages and self._config.max_batch_records > 1:
            wait_s = min(self._config.max_wait, self._batch_s)
            messages += self._consumer.consume(self._config.max_batch_records - 1, wait_s)
        if self._moved:  # what was polled before its partition went and came back is polled again
            # An error of the whole consumer says partition 0; a fatal one, dropped, would leave us idle.
            messages = [m for m in messages if m.error() is not None or m.partition() not in self._moved]
            self._go_back([number for number in self._moved if number in self._partitions])
        return messages

    def _process(self, messages: Sequence[Message]) -> Output:
        if errors := [error for error in map(Message.error, messages) if error is not None]:
            for error in errors:
                self._judge(error)
            messages = [message for message in messages if message.error() is None]
        by_partition: dict[int, list[Message]] = {}
        for number, run in groupby(messages, Message.partition):  # they come in runs
            by_partition.setdefault(cast(int, number), []).extend(run)
        output = Output()
        for number, records in by_partition.items():
            partition = self._partitions.get(number)
            if partition is not None:  # otherwise it was revoked while the records were on their way
                self._score(partition, number, records, output)
        return output

    def _judge(self, error: KafkaError) -> None:
        if error.code() in _PASSING:
            self._log.warning("consumer", error=error.str())
        elif error.fatal() or not error.retriable():
            raise KafkaException(error)

    def _score(self, partition: _Partition, number: int, messages: Sequence[Message], output: Output) -> None:
        """Decode and score one partition's messages; outputs stand in input order."""
        seconds = self._metrics.stage_seconds
        with seconds.labels("decode").time():
            records = _records(messages, partition.next_offset)
            if not records.values:
                return
            batch = read(records, self._limits)
        if partition.committed < 0:
            partition.committed = int(records.offset[0])
        partition.next_offset = int(records.offset[-1]) + 1
        output.oldest_ms = min(output.oldest_ms, int(records.time_ms.min()))
        pipeline = partition.pipeline
        with seconds.labels("score").time():
            steps = pipeline.score(batch)
        with seconds.labels("encode").time():
            outcomes = pipeline.publication.of(batch, steps)
            model = pipeline.model_version.encode()
            self._publisher.add(output, number, records, batch.others, outcomes, model)
        output.offsets.append(TopicPartition(self._topic, number, partition.next_offset))

    # Committing.

    def _commit(self, output: Output) -> None:
        """Publish the batch, as often as it takes, unless it is no longer ours to publish."""
        with self._metrics.stage_seconds.labels("commit").time():
            while (aborted := self._try_commit(output)) is not None:
                if aborted.moved_on or not self._still_at_start(output):
                    self._start_over(output)
                    return
        for offset in output.offsets:
            self._partitions[offset.partition].committed = offset.offset
        self._tally.committed(output, self._clock.now())

    def _try_commit(self, output: Output) -> TransactionAborted | None:
        """`None` once the batch is committed, otherwise why it was undone."""
        if self._cluster.losses > self._losses_seen:
            self._losses_seen = self._cluster.losses
            self._transactions.renew()
        try:
            self._transactions.run(self._consumer, output.messages, output.offsets)
        except TransactionAborted as aborted:
            self._metrics.transactions.labels("aborted").inc()
            self._log.warning("transaction aborted", error=str(aborted))
            self._transactions.renew()
            return aborted
        return None

    def _still_at_start(self, output: Output) -> bool:
        """Whether the group's offsets stand where this batch begins: the same bytes may go out again."""
        return all(
            tp.offset < 0 or tp.offset == self._partitions[tp.partition].committed
            for tp in self._committed([offset.partition for offset in output.offsets])
        )

    def _committed(self, numbers: Sequence[int]) -> list[TopicPartition]:
        partitions = [TopicPartition(self._topic, number) for number in numbers]
        return self._consumer.committed(partitions, timeout=_ASK_S)

    def _start_over(self, output: Output) -> None:
        """Forget what the undone batch taught and go back to the committed offsets."""
        self._log.warning("reading again from the committed offsets")
        self._go_back([offset.partition for offset in output.offsets])

    def _go_back(self, numbers: Sequence[int]) -> None:
        """Begin anew, with nothing learned, where the group stands."""
        for committed in self._committed(numbers) if numbers else []:
            if committed.offset < 0:  # the group has none yet: where we began, wherever that was
                began = self._partitions[committed.partition].committed
                committed.offset = began if began >= 0 else self._first_offset
            self._partitions[committed.partition] = _Partition(self._make_pipeline(committed.partition))
            try:
                self._consumer.seek(committed)
            except KafkaException as error:
                # No longer ours: the next poll says so, and whoever has it begins where the group stands.
                self._log.warning("partition is gone", partition=committed.partition, error=str(error))

    @property
    def _first_offset(self) -> int:
        """Where a group without committed offsets begins."""
        return OFFSET_BEGINNING if self._config.start_from == "earliest" else OFFSET_END

    # Observing.

    def _observe(self) -> None:
        """Every few seconds lag and sizes; while the cluster is away, whether it is back."""
        now = self._clock.monotonic()
        if not self._cluster.up and now >= self._next_probe:
            self._next_probe = now + _PROBE_EVERY_S
            self._probe()
        if now >= self._next_observation:
            self._next_observation = now + _OBSERVE_EVERY_S
            self._tally.sizes({number: p.pipeline for number, p in self._partitions.items()})
            self._tally.lag(self._lag())

    def _lag(self) -> dict[int, int]:
        lag = {}
        for number, partition in self._partitions.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), cached=True)
            if high >= 0 and partition.next_offset >= 0:
                lag[number] = max(high - partition.next_offset, 0)
        return lag

    def _probe(self) -> None:
        try:
            self._consumer.list_topics(self._topic, timeout=0.5)
        except KafkaException:
            return
        self._cluster.back()

    # Rebalances; called by the client from inside `consume()` and `close()`.

    def _on_assign(self, _: Consumer, assigned: list[TopicPartition]) -> None:
        for tp in assigned:
            self._partitions[tp.partition] = _Partition(self._make_pipeline(tp.partition))
        here("in-assign")
        self._assigned = True
        self._cluster.back()
        self._log.info("partitions assigned", partitions=sorted(tp.partition for tp in assigned))

    def _on_revoke(self, _: Consumer, revoked: list[TopicPartition]) -> None:
        self._drop(revoked)
        self._log.info("partitions revoked", partitions=sorted(tp.partition for tp in revoked))

    def _on_lost(self, _: Consumer, lost: list[TopicPartition]) -> None:
        self._assigned = False  # not ready before the group gives out partitions again
        self._drop(lost)
        self._log.warning("partitions lost", partitions=sorted(tp.partition for tp in lost))

    def _drop(self, partitions: Sequence[TopicPartition]) -> None:
        self._moved.update(tp.partition for tp in partitions)
        self._tally.dropped([tp.partition for tp in partitions])
        for tp in partitions:
            self._partitions.pop(tp.partition, None)


class _Keys(Sequence[bytes | None]):
    """The keys of messages, of which hardly any is ever asked for."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, i: Any) -> Any:
        return self._messages[i].key()


def _records(messages: Sequence[Message], first_offset: int) -> RecordBatch:
    """The messages from an offset on, as the reader takes them."""
    offsets = [message.offset() for message in messages]
    if cast(int, offsets[0]) < first_offset:
        messages = [message for message in messages if cast(int, message.offset()) >= first_offset]
        offsets = [message.offset() for message in messages]
    return RecordBatch(
        values=[message.value() for message in messages],
        keys=_Keys(messages),
        headers=[cast(Headers | None, message.headers()) for message in messages],
        offset=np.array(offsets, np.int64),
        time_ms=np.array([message.timestamp()[1] for message in messages], np.int64),
    )
