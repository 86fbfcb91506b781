"""Topics in memory, and as much of librdkafka's clients as reading and writing snapshots takes.

Arguments are named as there, used or not: they are given by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from confluent_kafka import (
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

Delivered = Callable[[KafkaError | None, Message], None]


@dataclass
class MemoryKafka:
    """Logs by topic and partition; `None` stands where a record was compacted away.

    Attributes:
        starts: where logs begin, if not at 0.
        committed: the group's offsets, of a topic and a partition.
        refuses: what to answer the producer instead of taking its records.
    """

    logs: dict[tuple[str, int], list[Message | None]] = field(default_factory=dict)
    starts: dict[tuple[str, int], int] = field(default_factory=dict)
    committed: dict[tuple[str, int], int] = field(default_factory=dict)
    refuses: KafkaError | None = None

    def log(self, topic: str, partition: int = 0) -> list[Message | None]:
        return self.logs.setdefault((topic, partition), [])

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = None
    ) -> Message:
        log = self.log(topic, partition)
        message = Message(
            topic=topic,
            partition=partition,
            offset=len(log),
            key=key,
            value=value,
            headers=headers,
            timestamp=(1, 1_767_225_600_000 + len(log)),
        )
        log.append(message)
        return message

    def change(self, topic: str, offset: int, value: bytes, partition: int = 0) -> None:
        """Put another value in the place of the one that was written."""
        log = self.log(topic, partition)
        was = log[offset]
        assert was is not None
        log[offset] = Message(
            topic=topic, partition=partition, offset=offset, key=was.key(), value=value, headers=was.headers()
        )

    def delete_below(self, topic: str, offset: int, partition: int = 0) -> None:
        self.starts[topic, partition] = offset

    def read(self, topic: str, partition: int, offset: int, most: int) -> list[Message]:
        first = max(offset, self.starts.get((topic, partition), 0))
        return [message for message in self.log(topic, partition)[first:] if message is not None][:most]


class MemoryConsumer:
    """What `reading.read_with` and the restorer ask of a consumer."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self._positions: dict[tuple[str, int], int] = {}
        self.reads = 0
        """Records that were handed out."""

    def list_topics(self, topic: str, timeout: float) -> Any:  # noqa: ARG002
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None)})

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:  # noqa: ARG002
        place = partition.topic, partition.partition
        return self._kafka.starts.get(place, 0), len(self._kafka.log(*place))

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._positions = {(tp.topic, tp.partition): tp.offset for tp in partitions}

    def unassign(self) -> None:
        self._positions = {}

    def consume(self, most: int, _timeout_s: float) -> list[Message]:
        messages: list[Message] = []
        for place, position in self._positions.items():
            found = self._kafka.read(*place, position, most - len(messages))
            messages += found
            end = len(self._kafka.log(*place))
            self._positions[place] = (found[-1].offset() or 0) + 1 if found else end
        self.reads += len(messages)
        return messages

    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        return [
            TopicPartition(tp.topic, tp.partition, self._positions[tp.topic, tp.partition])
            for tp in partitions
        ]

    def committed(
        self,
        partitions: Sequence[TopicPartition],
        timeout: float,  # noqa: ARG002
    ) -> list[TopicPartition]:
        offsets: Mapping[tuple[str, int], int] = self._kafka.committed
        return [
            TopicPartition(tp.topic, tp.partition, offsets.get((tp.topic, tp.partition), OFFSET_INVALID))
            for tp in partitions
        ]

    def close(self) -> None:
        self.unassign()


class MemoryProducer:
    """Takes records at once, or refuses them all."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        partition: int,
        *,
        on_delivery: Delivered,
        headers: Any,
    ) -> None:
        if self._kafka.refuses is not None:
            if not self._kafka.refuses.retriable():
                raise KafkaException(self._kafka.refuses)
            on_delivery(self._kafka.refuses, Message(topic=topic))
            return
        on_delivery(None, self._kafka.append(topic, partition, key, value, headers))

    def poll(self, _timeout_s: float) -> int:
        return 0

    def flush(self, _timeout_s: float) -> int:
        return 0
