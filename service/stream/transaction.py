"""One batch as one Kafka transaction: results, anomalies, dead letters and input offsets, or nothing.

Errors have three kinds, by what is done next. Retriable: the same call again. Abortable: the transaction
is undone and `TransactionAborted` says so; nothing of it was ever visible. Anything else is fatal: the
exception goes up and the process ends, for a supervisor to start it anew from the last commit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from service.stream.bulk import Bulk, BulkProducer
from service.stream.crash_points import here
from service.stream.hanging import HangWatch
from service.stream.lingering import FullRequest

Headers = list[tuple[str, bytes]]

_CALL_TIMEOUT_S = 1.5  # each call is made again until it succeeds; between two a stop is noticed

# The group has moved on without us: whether the partitions are still ours only the next poll tells.
_MOVED_ON = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
    }
)

_LOOK_S = 0.002
_MOST_IDLE = 100  # looks at which nothing has moved: the cluster is away, and the commit will tell


OutputMessage: TypeAlias = tuple[str, int, bytes | None, bytes | None, Headers]
"""Topic, partition (-1 lets the partitioner choose by key), key, value and headers.

A plain tuple: one is made per record, and a named one takes as long to make as its bytes to write.
"""


@dataclass(slots=True)
class _Begun:
    """A transaction under way: how much of its batch is produced, and what went wrong."""

    messages: int = 0
    bulks: int = 0
    failed: KafkaException | None = None


class TransactionAborted(Exception):  # noqa: N818 - the established name of the event
    """The transaction was undone; `moved_on` if because the consumer group did."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.moved_on = error.code() in _MOVED_ON


class Transactions:
    """Runs batches through one transactional producer.

    `on_retry(text)` hears of every retriable failure; it may raise to give up (the service stops). `full` is
    what the producer sends by itself.
    """

    def __init__(
        self,
        make_producer: Callable[[], Producer],
        on_retry: Callable[[str], None],
        watch: HangWatch,
        full: FullRequest,
    ) -> None:
        self._make_producer, self._full = make_producer, full
        self._watch = watch
        self._on_retry = on_retry
        self._producer: Producer | None = None
        self._bulk_producer: BulkProducer | None = None
        self._begun: _Begun | None = None

    def renew(self) -> None:
        """Replace the producer by a new one of the same transactional id.

        From here on a stray of that id is fenced off and an unfinished transaction of it is undone. To be
        called at the start and after anything indefinite: a client that has seen its coordinator die was
        observed to wait for ever, past its own timeout, in the next transaction.
        """
        self._begun = None
        self._producer = None
        self._bulk_producer = None  # the old producer ends here, and only then what it was sending
        self._producer = self._make_producer()
        self._connect(self._producer)
        self._bulk_producer = BulkProducer.of(self._producer)
        self._insist(self._producer.init_transactions)

    @staticmethod
    def _connect(producer: Producer) -> None:
        """Connected it finds its coordinator at once; otherwise it looks for it twice a second."""
        with contextlib.suppress(KafkaException):
            producer.list_topics(timeout=_CALL_TIMEOUT_S)

    def produce_ahead(self, messages: Sequence[OutputMessage], bulks: Sequence[Bulk]) -> None:
        """Begin the batch's transaction with what there is of it; `run` with all of it does the rest.

        The client sends it meanwhile. That it failed only `run` says.
        """
        begun = self._begun or self._begin()
        if begun.failed is None:
            try:
                self._produce(begun, messages, bulks)
            except KafkaException as error:
                begun.failed = error

    def run(
        self,
        consumer: Consumer,
        messages: Sequence[OutputMessage],
        bulks: Sequence[Bulk],
        offsets: Sequence[TopicPartition],
    ) -> None:
        """1. begin 2. produce 3. send offsets 4. commit; less what was done ahead.

        Raises:
            TransactionAborted: undone; nothing is visible.
            KafkaException: fatal.
        """
        producer, begun = self._client(), self._begun or self._begin()
        try:
            if begun.failed is not None:
                raise begun.failed
            self._produce(begun, messages, bulks)
            here("after-produce")
            self._send_offsets(producer, consumer, offsets)
            self._drain(producer, len(messages), bulks)
            here("after-send-offsets")
            here("before-commit")
            self._insist(producer.commit_transaction)
            here("after-commit")
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            self._insist(producer.abort_transaction)
            self._over()
            raise TransactionAborted(error.args[0]) from error
        else:
            self._over()
        finally:
            self._begun = None

    def _over(self) -> None:
        """Committed or undone: the client has nothing of the batch any more."""
        if self._bulk_producer is not None:
            self._bulk_producer.let_go()

    def _client(self) -> Producer:
        assert self._producer is not None, "renewed before the first run"
        return self._producer

    def _begin(self) -> _Begun:
        self._client().begin_transaction()
        self._begun = _Begun()
        return self._begun

    def _produce(self, begun: _Begun, messages: Sequence[OutputMessage], bulks: Sequence[Bulk]) -> None:
        """What of the batch was not produced yet."""
        for bulk in bulks[begun.bulks :]:
            assert self._bulk_producer is not None, "bulks are for whoever takes them"
            self._bulk_producer.produce(bulk)
        begun.bulks = len(bulks)
        self._produce_each(self._client(), messages[begun.messages :])
        begun.messages = len(messages)

    @staticmethod
    def _produce_each(producer: Producer, messages: Sequence[OutputMessage]) -> None:
        produce, poll = producer.produce, producer.poll
        for topic, partition, key, value, headers in messages:
            while True:
                try:
                    # By position: naming the headers alone took a quarter of the call.
                    produce(topic, value, key, partition, None, None, 0, headers)  # type: ignore[arg-type]
                    break
                except BufferError:  # the send queue is full: let it drain
                    poll(0.1)
        poll(0)

    def _drain(self, producer: Producer, messages: int, bulks: Sequence[Bulk]) -> None:
        """Wait until no request is under way and only what waits for a flush is left.

        While another one waits when librdkafka (2.16) is to flush, it looks without a pause whether it may
        go: that was a tenth of all CPU, and the commit is no sooner.
        """
        most = messages + self._full.held_back(bulks)
        before, idle = 0, 0
        while (left := len(producer)) > most and idle < _MOST_IDLE:
            idle = idle + 1 if left == before else 0
            before = left
            producer.poll(_LOOK_S)

    def _send_offsets(
        self, producer: Producer, consumer: Consumer, offsets: Sequence[TopicPartition]
    ) -> None:
        def send(timeout: float) -> None:
            # The group's generation may change between tries, so the metadata is asked for each time.
            metadata = consumer.consumer_group_metadata()
            producer.send_offsets_to_transaction(list(offsets), metadata, timeout)

        self._insist(send)

    def _insist(self, call: Callable[[float], object]) -> None:
        while True:
            try:
                with self._watch.over():
                    call(_CALL_TIMEOUT_S)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                self._on_retry(error.args[0].str())
