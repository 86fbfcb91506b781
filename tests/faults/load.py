"""Data points at a steady pace from a seed, some bad records and tombstones among them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from service.settings import Settings
from tests.wire.bad_records import BAD_RECORDS

_TICK_S = 0.02
_BLOCK = 1_000
_FIRST_MS = 1_767_225_600_000
_HOT = 0.005  # this share of the sources sends half of the points, so that some are scored soon
_SPIKES = 0.003

Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


def records(seed: int, sources: int, bad_share: float = 0.005) -> Iterator[Record]:
    """(key, value, headers) without end; the same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    hot = max(int(sources * _HOT), 1)
    sent = 0
    while True:
        source = np.where(
            rng.random(_BLOCK) < 0.5, rng.integers(0, hot, _BLOCK), rng.integers(0, sources, _BLOCK)
        )
        value = 10.0 + source % 17 + rng.normal(size=_BLOCK) + 25.0 * (rng.random(_BLOCK) < _SPIKES)
        odd = rng.random(_BLOCK)
        for i in range(_BLOCK):
            key = b"pump-%d" % source[i]
            sent += 1
            if odd[i] < bad_share:
                bad = BAD_RECORDS[int(odd[i] / bad_share * len(BAD_RECORDS))]
                yield bad.key, bad.value, bad.headers
            elif odd[i] > 0.999:
                yield key, None, []
            else:
                body = b'{"sourceId":"%s","timestamp":%d,"values":{"x":%.4f}}'
                yield key, body % (key, _FIRST_MS + 10 * sent, value[i]), []


class Load:
    """A producer in a thread of its own, at `rate` records a second until it is stopped."""

    def __init__(self, settings: Settings, seed: int, sources: int, rate: float) -> None:
        self._topic = settings.topics.name("data_points")
        self._rate = rate
        self._seed, self._sources = seed, sources
        self._records = records(seed, sources)
        self._paused = threading.Event()
        self._stop = threading.Event()
        self.lost: list[str] = []
        self.sent = 0
        self._producer = Producer(
            {
                **settings.kafka.connection(),
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "delivery.timeout.ms": 900_000,  # brokers are away for minutes
                "topic.metadata.refresh.interval.ms": 5_000,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def spoil(self, bad_share: float) -> None:
        """From here on this share of the records is bad."""
        self._seed += 1
        self._records = records(self._seed, self._sources, bad_share)

    def stop(self) -> int:
        """The number of records in the topic; waits until all are."""
        if not self._stop.is_set():
            self._stop.set()
            if self._thread.is_alive():  # a case may fail before it starts
                self._thread.join()
            left = self._producer.flush(120.0)
            if left:
                self.lost.append(f"{left} records were not taken in two minutes")
        return self.sent

    def _run(self) -> None:
        began, due = time.monotonic(), 0.0
        while not self._stop.wait(_TICK_S):
            now = time.monotonic()
            due += min(now - began, 1.0) * self._rate
            began = now
            while due >= 1.0:
                due -= 1.0
                self._send(*next(self._records))
            self._producer.poll(0)

    def _send(self, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        while not self._stop.is_set():
            try:
                self._producer.produce(
                    self._topic,
                    value,
                    key,
                    headers=headers,  # type: ignore[arg-type]  # invariant
                    on_delivery=self._delivered,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                self.sent += 1
                return

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and len(self.lost) < 10:
            self.lost.append(error.str())
