"""Reads results as they are committed and says when each had arrived; every n-th offset is looked into.

Started by the benchmark; see `child`. Goes on after the sender has ended until nothing comes any more.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime

import msgspec
from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from service.bench.child import Given, answer, task, when_asked_to_stop
from service.stream.clients import made
from service.stream.config import KafkaConfig, Properties, merged

_MOST_AT_ONCE = 500
_WAIT_S = 0.01
_QUIET_S = 0.5
_AFTER_S = 8.0
_PATIENCE_S = 30.0


class _Result(msgspec.Struct):
    timestamp: datetime


def _at_the_end(kafka: KafkaConfig, topic: str) -> Consumer:
    """A consumer of all partitions that hands out what comes from now on."""
    ours: Properties = {
        "group.id": "anomalyd-bench-reader",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 1,
    }
    consumer = made(Consumer, merged(kafka.connection(), ours))
    partitions = consumer.list_topics(topic, timeout=_PATIENCE_S).topics[topic].partitions
    ends = []
    for number in partitions:
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_PATIENCE_S)
        ends.append(TopicPartition(topic, number, high if high >= 0 else OFFSET_END))
    consumer.assign(ends)
    return consumer


def read(consumer: Consumer, every: int, stop: threading.Event) -> tuple[list[float], list[float]]:
    """When the points of the results were stamped and when the results came, epoch milliseconds."""
    decode = msgspec.json.Decoder(_Result).decode
    sent_ms: list[float] = []
    read_ms: list[float] = []
    last = time.monotonic()
    asked: float | None = None
    while True:
        messages = consumer.consume(1, _WAIT_S)
        if messages:  # and what else is there already; waiting for more would count as the service's
            messages += consumer.consume(_MOST_AT_ONCE, 0)
        now, now_ms = time.monotonic(), time.time() * 1000.0
        if stop.is_set():
            asked = now if asked is None else asked
            if now - max(last, asked) > _QUIET_S or now - asked > _AFTER_S:
                return sent_ms, read_ms
        for message in messages:
            last = now
            if (error := message.error()) is not None:
                raise KafkaException(error)
            body = message.value()
            if body is not None and (message.offset() or 0) % every == 0:
                sent_ms.append(decode(body).timestamp.timestamp() * 1000.0)
                read_ms.append(now_ms)


def main() -> None:
    """Read until asked to stop, then tell."""
    asked = task()
    settings = Given.of(asked).settings()
    stop = threading.Event()
    when_asked_to_stop(stop.set)
    consumer = _at_the_end(settings.kafka, settings.topics.name("detection_results"))
    answer("ready")
    sent_ms, read_ms = read(consumer, asked["every"], stop)
    consumer.close()
    answer("read", sent_ms=sent_ms, read_ms=read_ms)


if __name__ == "__main__":
    main()
