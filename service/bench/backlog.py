"""Points for the benchmark as bytes, and the clients that put them into topics and look at what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from service.bench.cases import Case
from service.bench.child import BenchError
from service.bench.signal import Signal, order_of, source_id, value_names
from service.bench.steady_state import STEP_MS
from service.stream.clients import WHOLE, made
from service.stream.config import KafkaConfig, Properties, merged

_LOOKED_AT = 2_000  # results in each partition
_PATIENCE_S = 30.0
_DELETING_S = 10.0
_TURN_EVERY = 2_000

Told = Callable[[int], None]


class Fleet:
    """The sources of a case as they write: `heads[i] + time + tail` is a data point of source i."""

    def __init__(self, case: Case) -> None:
        names = [source_id(number) for number in range(case.sources)]
        self.keys = [name.encode() for name in names]
        self.heads = [f'{{"sourceId":"{name}","timestamp":'.encode() for name in names]
        self._case = case
        self._values = _values_form(case.values)

    def steps(self, count: int) -> Iterator[tuple[int, list[int], list[bytes]]]:
        """Step by step who speaks, in another order each time, and the tails; `count` points in all."""
        sources, signal, form = self._case.sources, Signal(self._case.values), self._values
        for step in range(-(-count // sources)):
            order = order_of(sources, step)
            left = min(count - step * sources, sources)
            rows = signal.at(order, step)[:left].tolist()
            yield step, order[:left].tolist(), [form % tuple(row) for row in rows]


def _values_form(values: int) -> bytes:
    inside = ",".join(f'"{name}":%.3f' for name in value_names(values))
    return f',"values":{{{inside}}}}}'.encode()


class Sender:
    """A producer as a fleet's gateway has it; `finish` raises if anything was not taken."""

    def __init__(self, kafka: KafkaConfig, topic: str, linger_ms: float) -> None:
        ours: Properties = {
            **WHOLE,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": linger_ms,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 200_000,
            "allow.auto.create.topics": False,
        }
        self._topic = topic
        self._lost: KafkaError | None = None
        self._producer = made(Producer, merged(kafka.connection(), kafka.producer, ours))

    def send(self, key: bytes, body: bytes, time_ms: int = 0) -> None:
        """Queue one point; waits while the queue is full. 0 lets Kafka take the present as its time."""
        while True:
            try:
                self._producer.produce(self._topic, body, key, on_delivery=self._delivered, timestamp=time_ms)
                return
            except BufferError:
                self._producer.poll(0.05)

    def turn(self) -> None:
        """Take up what became of earlier points."""
        self._producer.poll(0)

    def finish(self) -> None:
        self._producer.flush()
        if self._lost is not None:
            raise BenchError(f"a point was not taken: {self._lost.str()}")

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._lost = error


def produce_backlog(
    kafka: KafkaConfig, topic: str, case: Case, count: int, start_ms: int, told: Told
) -> float:
    """Fill the topic; mean bytes of a point."""
    sender, fleet = Sender(kafka, topic, linger_ms=20), Fleet(case)
    sent = total = 0
    for step, order, tails in fleet.steps(count):
        time_ms = b"%d" % (start_ms + step * STEP_MS)
        for number, tail in zip(order, tails, strict=True):
            body = fleet.heads[number] + time_ms + tail
            sender.send(fleet.keys[number], body)
            total += len(body)
            sent += 1
            if sent % _TURN_EVERY == 0:
                sender.turn()
                told(sent)
    sender.finish()
    told(sent)
    return total / count


def mean_result_bytes(kafka: KafkaConfig, topic: str) -> float:
    """The mean length of the results that stand in the middle of each partition.

    Raises:
        BenchError: there are none.
    """
    ours: Properties = {
        "group.id": "anomalyd-bench-sizes",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
    consumer = made(Consumer, merged(kafka.connection(), ours))
    try:
        total = count = 0
        for number in consumer.list_topics(topic, timeout=_PATIENCE_S).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_PATIENCE_S)
            consumer.assign([TopicPartition(topic, number, (low + high) // 2)])
            for message in consumer.consume(min(_LOOKED_AT, max((high - low) // 4, 1)), 2.0):
                if message.error() is None:
                    total += len(message.value() or b"")
                    count += 1
    except KafkaException as error:
        raise BenchError(f"topic {topic!r} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()
    if not count:
        raise BenchError(f"topic {topic!r} holds no results")
    return total / count


def delete_topics(kafka: KafkaConfig, prefix: str) -> None:
    """Delete every topic whose name starts so; what cannot be deleted is left."""
    assert prefix
    admin = made(AdminClient, kafka.connection())
    try:
        names = [name for name in admin.list_topics(timeout=_DELETING_S).topics if name.startswith(prefix)]
    except KafkaException:  # the cluster is away, and what led here says so
        return
    if names:
        for future in admin.delete_topics(names, operation_timeout=_DELETING_S).values():
            future.exception(_DELETING_S)
