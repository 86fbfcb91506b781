"""A producer of data points, as `feed` and `demo` send them: keyed by source, every loss known."""

from __future__ import annotations

from confluent_kafka import KafkaError, Message, Producer

from service.stream.clients import WHOLE, made
from service.stream.config import KafkaConfig, Properties, merged

_REMEMBERED = 100


class PointProducer:
    """Sends data points to one topic; what the cluster refused is told by `finish`."""

    def __init__(self, kafka: KafkaConfig, topic: str) -> None:
        self._topic = topic
        self._lost: list[str] = []
        self.newest: tuple[int, int] | None = None
        """Partition and offset of the last point that is known to be taken."""
        ours: Properties = {
            **WHOLE,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 200_000,
            "allow.auto.create.topics": False,
        }
        self._producer = made(Producer, merged(kafka.connection(), ours))

    def send(self, source_id: str, body: bytes) -> None:
        """Queue one point; waits while the queue is full."""
        while True:
            try:
                self._producer.produce(self._topic, body, source_id.encode(), on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def finish(self) -> list[str]:
        """Wait until everything is taken or given up; the first reasons of what was not taken."""
        self._producer.flush()
        return self._lost

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.newest = message.partition() or 0, message.offset() or 0
        elif len(self._lost) < _REMEMBERED:
            key = message.key()
            source = key.decode(errors="replace") if isinstance(key, bytes) else "?"
            self._lost.append(f"source {source!r}: {error.str()}")
