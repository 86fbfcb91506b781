"""The detection loop: poll, decode, score, publish and commit in one transaction, partition by partition.

No transaction is ever open across `consume()`; the rebalance callbacks run only inside it, so they never
meet one. There is one way to a partition's state, whether it is new to us or a transaction was undone:
it is not fetched while it is restored beside the loop, and goes on at the group's offset.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from service.clock import Clock
from service.errors import AnomalydError
from service.logs import Logger
from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.stream import bulk
from service.stream.bulk_intake import intake_of
from service.stream.cluster import ClusterState
from service.stream.config import StreamConfig
from service.stream.crash_points import here
from service.stream.intake import Incoming
from service.stream.output import Output, Publish, Publisher, Route
from service.stream.restoring import Request, Restorer
from service.stream.snapshots.taking import SnapshotTaker
from service.stream.snapshots.writer import SnapshotWriter
from service.stream.tally import Tally
from service.stream.transaction import TransactionAborted, Transactions
from service.wire.limits import InputLimits
from service.wire.reader import read

_IDLE_S = 0.1  # how long one turn waits for a first record
_RESTORING_S = 0.005  # the same while partitions are being restored
_ON_REVOKE_S = 2.0  # for the snapshots of partitions that leave: whoever gets them has less to replay
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
class _Live:
    """A restored partition: its pipeline, the next offset to take, and where the group stands."""

    pipeline: DetectionPipeline
    next_offset: int
    committed: int
    deciding_s: float = 0.0  # since the last commit

    @property
    def is_clean(self) -> bool:
        """Whether the state knows what is committed and no more."""
        return self.next_offset == self.committed


class StreamRuntime:
    """One consumer, one transactional producer, one pipeline per assigned partition."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        transactions: Transactions,
        restorer: Restorer,
        snapshots: SnapshotTaker,
        writer: SnapshotWriter,
        route: Route,
        publish: Publish,
        config: StreamConfig,
        limits: InputLimits,
        cluster: ClusterState,
        metrics: Metrics,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._consumer, self._intake = consumer, intake_of(consumer)
        self._transactions = transactions
        self._restorer, self._snapshots, self._writer = restorer, snapshots, writer
        self._topic = route.data_points
        self._publisher = Publisher(route, publish, in_bulk=bulk.available())
        self._config = config
        self._limits = limits
        self._cluster = cluster
        self._metrics = metrics
        self._tally = Tally(metrics)
        self._clock = clock
        self._log = log
        self._partitions: dict[int, _Live] = {}
        self._restoring: dict[int, Request] = {}
        self._fetched: set[int] = set()  # what the client was told to fetch, paused or not
        self._assigned = False
        self._losses_seen = 0
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
        """The group has given out partitions (perhaps none to us), they are restored, the cluster answers."""
        return self._assigned and not self._restoring and self._cluster.up

    def still_turning(self) -> None:
        """A long wait inside a turn reports that it goes on."""
        self._last_turn = self._clock.monotonic()

    # The loop.

    def run(self, stop: threading.Event, begin: Callable[[], None]) -> None:
        """Turn until `stop` is set; the batch in flight is committed before this returns.

        `begin` is called when the clients are ready, and the group is joined when it returns.

        Raises:
            AnomalydError: an error of Kafka's that no trying again mends; to be started anew.
            Stopped: `stop` was set and the cluster did not answer in time.
        """
        try:
            self._restorer.start()
            self._transactions.renew()
            begin()
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not stop.is_set():
                self.turn()
        except KafkaException as error:
            raise AnomalydError(f"Kafka: {error.args[0].str()} ({error.args[0].name()})") from error
        finally:
            self._assigned = False
            self._restorer.close()
            self._intake.close()
            self._consumer.close()

    def turn(self) -> None:
        """One turn: 1. take up what is restored 2. poll 3. decode, score 4. publish and commit 5. observe."""
        self.still_turning()
        if self._restoring:
            self._take_up()
        if came := self._poll():
            began = self._clock.monotonic()
            output = self._process(came)
            if output.offsets:
                self._cluster.back()
                self._commit(output)
            self._batch_s = self._clock.monotonic() - began
        self._observe()

    def _poll(self) -> Incoming:
        """The next batch: few records when few come in, many under load.

        The first record is waited for. It then waits for others at most as long as the last batch took: that
        halves the number of transactions where records trickle, and costs none of them more than it saves.
        """
        first_s = _RESTORING_S if self._restoring else _IDLE_S
        wait_s = min(self._config.max_wait, self._batch_s)
        return self._intake.take(self._config.max_batch_records, first_s, wait_s)

    def _process(self, came: Incoming) -> Output:
        """Score what came; while one partition is scored, the client sends the results of those before it."""
        output = Output()
        try:
            for error in came.errors:
                self._judge(error)
            self._renew_after_losses()
            for number in came.partitions:
                partition = self._partitions.get(number)
                # Otherwise it was revoked while they were on their way, or is restored: they are read again.
                if partition is not None:
                    self._score(partition, number, came, output)
                    self._transactions.produce_ahead(output.messages, output.bulks)
        finally:
            came.release()
        return output

    def _judge(self, error: KafkaError) -> None:
        if error.code() in _PASSING:
            self._log.warning("consumer", error=error.str())
        elif error.fatal() or not error.retriable():
            raise KafkaException(error)

    def _score(self, partition: _Live, number: int, came: Incoming, output: Output) -> None:
        """Decode and score one partition's records; outputs stand in input order."""
        seconds, clock = self._metrics.stage_seconds, self._clock
        began = clock.monotonic()
        with seconds.labels("decode").time():
            records = came.records(number, partition.next_offset)
            if not records.values:
                return
            batch = read(records, self._limits)
        partition.next_offset = int(records.offset[-1]) + 1
        output.oldest_ms = min(output.oldest_ms, int(records.time_ms.min()))
        pipeline = partition.pipeline
        with seconds.labels("score").time():
            steps = pipeline.score(batch)
        partition.deciding_s += clock.monotonic() - began
        with seconds.labels("encode").time():
            outcomes = pipeline.publication.of(batch, steps)
            model = pipeline.lineage.encode()
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
            partition = self._partitions[offset.partition]
            records = offset.offset - partition.committed
            self._snapshots.committed(offset.partition, records, partition.deciding_s)
            partition.committed, partition.deciding_s = offset.offset, 0.0
        self._tally.committed(output, self._clock.now())

    def _try_commit(self, output: Output) -> TransactionAborted | None:
        """`None` once the batch is committed, otherwise why it was undone."""
        self._renew_after_losses()
        try:
            self._transactions.run(self._consumer, output.messages, output.bulks, output.offsets)
        except TransactionAborted as aborted:
            self._metrics.transactions.labels("aborted").inc()
            self._log.warning("transaction aborted", error=str(aborted))
            self._transactions.renew()
            return aborted
        return None

    def _renew_after_losses(self) -> None:
        """A producer that saw the cluster go away is not trusted with another transaction."""
        if self._cluster.losses > self._losses_seen:
            self._losses_seen = self._cluster.losses
            self._transactions.renew()

    def _still_at_start(self, output: Output) -> bool:
        """Whether the group's offsets stand where this batch begins: the same bytes may go out again."""
        partitions = [TopicPartition(self._topic, offset.partition) for offset in output.offsets]
        return all(
            tp.offset < 0 or tp.offset == self._partitions[tp.partition].committed
            for tp in self._consumer.committed(partitions, timeout=_ASK_S)
        )

    def _start_over(self, output: Output) -> None:
        """Forget what the undone batch taught and go back to where the group stands."""
        self._log.warning("reading again from the committed offsets")
        numbers = [offset.partition for offset in output.offsets]
        try:
            self._consumer.pause([TopicPartition(self._topic, number) for number in numbers])
        except KafkaException as error:
            # No longer ours: the next poll says so, and whoever has it begins where the group stands.
            self._log.warning("partitions are gone", partitions=numbers, error=str(error))
        for number in numbers:
            self._restore(number)

    # Restoring.

    def _restore(self, number: int) -> None:
        """Have the partition restored, dropping what is there of it."""
        self._drop(number)
        self._restoring[number] = request = Request(number)
        self._restorer.ask(request)

    def _take_up(self) -> None:
        """Let restored partitions go on at the group's offset."""
        for restored in self._restorer.done():
            number = restored.request.partition
            if self._restoring.get(number) is not restored.request:
                continue  # it left, or left and came back, meanwhile
            at = TopicPartition(self._topic, number, restored.offset)
            try:
                self._fetch(at)
            except KafkaException as error:
                self._log.warning("partition is gone", partition=number, error=str(error))
                continue
            del self._restoring[number]
            self._partitions[number] = _Live(restored.pipeline, restored.offset, restored.offset)
            self._snapshots.begin(restored.about, restored.offset, restored.pipeline)

    def _fetch(self, at: TopicPartition) -> None:
        """Have the client fetch from this offset on.

        It never hears of a partition before its offset is known. Assigned at the log's end, paused and then
        sought, its question for the end could still be on its way: half a second after the answer librdkafka
        (2.16) asked once more, went to the end and skipped records in silence.
        """
        if at.partition in self._fetched:
            self._consumer.seek(at)
        else:
            self._intake.assigned(self._topic, [at.partition])
            self._consumer.incremental_assign([at])
            self._fetched.add(at.partition)
        self._consumer.resume([at])  # a pause outlives the assignment in which it was made

    # Observing.

    def _observe(self) -> None:
        """Every few seconds lag and sizes; while the cluster is away, whether it is back."""
        now = self._clock.monotonic()
        if not self._cluster.up and now >= self._next_probe:
            self._next_probe = now + _PROBE_EVERY_S
            self._probe()
        # A partition with an old snapshot has most to replay and is live last: where a process is killed
        # again and again before its turn comes, those that were live sooner would be saved, and it never.
        if not self._restoring and (due := self._snapshots.due()) is not None:
            self._take_snapshot(due)
        if now >= self._next_observation:
            self._next_observation = now + _OBSERVE_EVERY_S
            self._tally.sizes({number: p.pipeline for number, p in self._partitions.items()})
            self._tally.lag(self._lag())
            self._snapshots.show_ages()

    def _take_snapshot(self, number: int, *, last: bool = False) -> None:
        """Save the state, unless it knows a batch that was not committed: then we are about to leave."""
        partition = self._partitions[number]
        if not partition.is_clean:
            return
        with self._metrics.stage_seconds.labels("snapshot").time():
            self._snapshots.take(number, partition.pipeline, partition.committed, last=last)

    def _lag(self) -> dict[int, int]:
        lag = {}
        for number, partition in self._partitions.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), cached=True)
            if high >= 0:
                lag[number] = max(high - partition.next_offset, 0)
        return lag

    def _probe(self) -> None:
        try:
            self._consumer.list_topics(self._topic, timeout=0.5)
        except KafkaException:
            return
        self._cluster.back()

    # Rebalances; called by the client from inside `consume()` and `close()`.

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        consumer.incremental_assign([])  # taken; what is fetched of them, and from where, `_fetch` says
        for tp in assigned:
            self._restore(tp.partition)
        here("in-assign")
        self._assigned = True
        self._cluster.back()
        self._log.info("partitions assigned", partitions=sorted(tp.partition for tp in assigned))

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        live = [tp.partition for tp in revoked if tp.partition in self._partitions]
        for number in live:
            self._take_snapshot(number, last=True)
        self._writer.wait(_ON_REVOKE_S)
        self._leave(consumer, revoked)
        self._log.info("partitions revoked", partitions=sorted(tp.partition for tp in revoked))

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        self._assigned = False  # not ready before the group gives out partitions again
        self._leave(consumer, lost)
        self._log.warning("partitions lost", partitions=sorted(tp.partition for tp in lost))

    def _leave(self, consumer: Consumer, leaving: list[TopicPartition]) -> None:
        consumer.incremental_unassign([tp for tp in leaving if tp.partition in self._fetched])
        for tp in leaving:
            self._fetched.discard(tp.partition)
            self._drop(tp.partition)

    def _drop(self, number: int) -> None:
        """Nothing of the partition is ours any more."""
        if (request := self._restoring.pop(number, None)) is not None:
            request.cancelled = True
        self._partitions.pop(number, None)
        self._snapshots.drop(number)
        self._tally.dropped([number])
