"""How the loop's records come in: a consumer's messages in batches, each partition's in its order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, Message

from service.stream.records import by_partition, records_of
from service.wire.reader import RecordBatch


class Incoming(Protocol):
    """What one poll gave; its records are there until `release`."""

    @property
    def errors(self) -> Sequence[KafkaError]: ...

    @property
    def partitions(self) -> Collection[int]:
        """Those that records came of."""
        ...

    def __len__(self) -> int: ...

    def records(self, partition: int, first_offset: int) -> RecordBatch:
        """The partition's records from an offset on."""
        ...

    def release(self) -> None: ...


class Intake(Protocol):
    """Where records come from."""

    def assigned(self, topic: str, partitions: Collection[int]) -> None:
        """The consumer is about to be told to fetch these partitions."""
        ...

    def take(self, most: int, first_s: float, wait_s: float) -> Incoming:
        """Up to `most` records: waits for the first, then for others, so long.

        The consumer's rebalance callbacks run in here and nowhere else.
        """
        ...

    def close(self) -> None:
        """Before the consumer is closed."""
        ...


class Messages:
    """Messages as confluent_kafka gives them, an object each."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.errors = [error for error in map(Message.error, messages) if error is not None]
        if self.errors:
            messages = [message for message in messages if message.error() is None]
        self._parts = by_partition(messages)

    @property
    def partitions(self) -> Collection[int]:
        return self._parts

    def __len__(self) -> int:
        return len(self.errors) + sum(map(len, self._parts.values()))

    def records(self, partition: int, first_offset: int) -> RecordBatch:
        return records_of(self._parts[partition], first_offset)

    def release(self) -> None:
        self._parts = {}


class MessageIntake:
    """What any build of confluent_kafka can do."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def assigned(self, topic: str, partitions: Collection[int]) -> None:
        """Nothing to do: all partitions' messages come through the consumer."""

    def take(self, most: int, first_s: float, wait_s: float) -> Messages:
        messages = self._consumer.consume(1, first_s)
        if messages and most > 1:
            messages += self._consumer.consume(most - 1, wait_s)
        return Messages(messages)

    def close(self) -> None:
        """Nothing is held."""
