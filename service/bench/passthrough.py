"""The floor under any service in this language: consume, decode, produce as many bytes, in transactions.

The same clients, partitions and transactions as the service's, a value as long as its mean result, and no
work between. Started by the benchmark; see `child`.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from service.bench.cases import WARM_SHARE
from service.bench.child import Given, answer, task, when_asked_to_stop
from service.bench.statistics import Sample, Throughput
from service.settings import Settings
from service.stream.clients import make_consumer, make_producer

_CALL_TIMEOUT_S = 30.0


class _Point(msgspec.Struct):
    """What a typed decoder makes of a data point."""

    sourceId: str  # noqa: N815 - the message's own name
    timestamp: int
    values: dict[str, float]


def _from_the_beginning(consumer: Consumer, assigned: list[TopicPartition]) -> None:
    consumer.incremental_assign([TopicPartition(tp.topic, tp.partition, OFFSET_BEGINNING) for tp in assigned])


class _Loop:
    def __init__(self, settings: Settings, value: bytes) -> None:
        self._settings = settings
        self._value = value
        self._input = settings.topics.name("data_points")
        self._output = settings.topics.name("detection_results")
        self._points = 0

    def run(self, points: int, stop: threading.Event) -> Throughput | None:
        """Pass on so many points; `None` if stopped before."""
        kafka, stream, worker = self._settings.kafka, self._settings.stream, self._settings.worker.id
        consumer = make_consumer(kafka, worker, _judge)
        producer = make_producer(kafka, worker, _judge)
        producer.init_transactions(_CALL_TIMEOUT_S)
        consumer.subscribe([self._input], on_assign=_from_the_beginning)
        gc.collect()
        gc.freeze()
        start: Sample | None = None
        try:
            while not stop.is_set():
                messages = consumer.consume(stream.max_batch_records, stream.max_wait)
                if not messages:
                    continue
                self._turn(consumer, producer, messages)
                now = Sample(self._points, time.monotonic(), time.process_time())
                if start is None:
                    start = now if self._points >= WARM_SHARE * points else None
                elif self._points >= points:
                    return Throughput.between(start, now)
            return None
        finally:
            consumer.close()

    def _turn(self, consumer: Consumer, producer: Producer, messages: Sequence[Message]) -> None:
        """1. begin 2. decode and produce 3. send offsets 4. commit."""
        producer.begin_transaction()
        offsets = self._pass_on(producer, messages)
        positions = [TopicPartition(self._input, number, offset) for number, offset in offsets.items()]
        group = consumer.consumer_group_metadata()
        _insist(lambda: producer.send_offsets_to_transaction(positions, group, _CALL_TIMEOUT_S))
        _insist(lambda: producer.commit_transaction(_CALL_TIMEOUT_S))
        self._points += len(messages)

    def _pass_on(self, producer: Producer, messages: Sequence[Message]) -> dict[int, int]:
        """The next offset of each partition."""
        produce, topic, value = producer.produce, self._output, self._value
        decode = msgspec.json.Decoder(_Point).decode
        offsets: dict[int, int] = {}
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
            body, number, offset = message.value(), message.partition(), message.offset()
            assert body is not None
            assert number is not None
            assert offset is not None
            decode(body)
            produce(topic, value, message.key(), number)
            offsets[number] = offset + 1
        return offsets


def _judge(error: KafkaError) -> None:
    if error.fatal():
        raise KafkaException(error)


def _insist(call: Callable[[], object]) -> None:
    while True:
        try:
            call()
            return
        except KafkaException as error:
            if not error.args[0].retriable():
                raise


def main() -> None:
    """Pass points on until enough were."""
    asked = task()
    stop = threading.Event()
    when_asked_to_stop(stop.set)
    done = _Loop(Given.of(asked).settings(), b"x" * asked["value_bytes"]).run(asked["points"], stop)
    if done is not None:
        answer("measured", **done.figures())


if __name__ == "__main__":
    main()
