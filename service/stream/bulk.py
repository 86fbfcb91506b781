"""Hands many messages of a batch to librdkafka in one compiled walk, where they lie, headers included.

`Producer.produce` makes and takes apart Python objects for each message, more than scoring it costs, and
`produce_batch` takes no headers. So a kernel calls librdkafka's own `rd_kafka_produceva` on the producer that
confluent_kafka holds. Where its place is not known for certain, `BulkProducer.of` is None and messages go the
usual way; readers see the same.

Values are not copied: a copy of each was a fourth of all that producing costs. So they must stay where they
are until librdkafka has sent them or dropped them.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError, KafkaException, Producer

from service.kernels import call_foreign, kernel
from service.stream.librdkafka import address_of, handle_of, library

# librdkafka's rd_kafka_vu_t: a kind and a union of 64 bytes.
_WORDS = 9
_TOPIC, _PARTITION, _VALUE, _KEY, _TIMESTAMP, _HEADER = 2, 3, 4, 5, 8, 9
_OWN_UNITS = 5  # beside the headers
_TIMESTAMP_AT = 4 * _WORDS + 1
OFFSET_HEADER = "x-in-offset"
_MOST_DIGITS = 20

Words = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


class Bulk(NamedTuple):
    """Messages of one topic and partition that lie one after the other in `body`, message i up to `stops[i]`.

    Its key is `text[key_start[i]:key_stop[i]]`; its headers are those of all, with its own input offset
    among them, before the last one.
    """

    topic: str
    partition: int
    headers: Sequence[tuple[str, bytes]]
    body: Bytes
    stops: Words
    text: Bytes
    key_start: Words
    key_stop: Words
    offsets: Words


@kernel
def _produce(
    function: int,
    client: int,
    units: Words,
    offset_unit: int,
    first: int,
    body: Bytes,
    stops: Words,
    text: Bytes,
    key_start: Words,
    key_stop: Words,
    offsets: Words,
) -> tuple[int, int]:
    """Produce the messages from `first` on; how many are done, and librdkafka's error at the next or 0."""
    digits = np.empty(_MOST_DIGITS, np.uint8)
    value, key, own = 2 * _WORDS, 3 * _WORDS, offset_unit * _WORDS
    for i in range(first, len(stops)):
        start = stops[i - 1] if i else 0
        units[value + 1], units[value + 2] = body.ctypes.data + start, stops[i] - start
        units[key + 1], units[key + 2] = text.ctypes.data + key_start[i], key_stop[i] - key_start[i]
        at, left = _MOST_DIGITS, offsets[i]
        while True:
            at -= 1
            digits[at] = 48 + left % 10
            left //= 10
            if left == 0:
                break
        units[own + 2], units[own + 3] = digits.ctypes.data + at, _MOST_DIGITS - at
        error = call_foreign(function, client, units.ctypes.data, len(units) // _WORDS)
        if error:
            return i, error
    return len(stops), 0


def warm() -> None:
    """Compile the walk, or load it, without a message."""
    none, no_bytes = np.zeros(0, np.int64), np.zeros(0, np.uint8)
    _produce(0, 0, none, 0, 0, no_bytes, none, no_bytes, none, none, none)


def available() -> bool:
    """Whether this build of confluent_kafka is known, so that every producer has a bulk one."""
    return library() is not None


class BulkProducer:
    """The same producer as confluent_kafka's, for many messages at once.

    Keeps what it was given until `let_go`; it must outlive the producer otherwise.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer, self._client = producer, handle_of(producer)
        self._sending: list[Bulk] = []
        self._function = address_of("rd_kafka_produceva")

    @classmethod
    def of(cls, producer: Producer) -> Self | None:
        """None where this build of confluent_kafka is not known."""
        return cls(producer) if available() else None

    def produce(self, bulk: Bulk) -> None:
        """Queue all messages; waits while the queue is full.

        Raises:
            KafkaException: librdkafka takes one not.
        """
        self._sending.append(bulk)
        topic = library().rd_kafka_topic_new(self._client, bulk.topic.encode(), None)
        if not topic:
            raise KafkaException(KafkaError(library().rd_kafka_last_error()))
        try:
            self._produce(bulk, topic)
        finally:
            library().rd_kafka_topic_destroy(topic)

    def _produce(self, bulk: Bulk, topic: int) -> None:
        units, offset_unit, held = _units(bulk, topic)
        columns = (bulk.body, bulk.stops, bulk.text, bulk.key_start, bulk.key_stop, bulk.offsets)
        done = 0
        while done < len(bulk.stops):
            units[_TIMESTAMP_AT] = time.time_ns() // 1_000_000
            done, error = _produce(self._function, self._client, units, offset_unit, done, *columns)
            if error:
                self._judge(error)
        del held

    def let_go(self) -> None:
        """Nothing that was produced is on its way any more: the transaction is over."""
        self._sending.clear()

    def _judge(self, error: int) -> None:
        ask = library()
        code = ask.rd_kafka_error_code(error)
        told = KafkaError(
            code,
            ask.rd_kafka_error_string(error).decode(),
            fatal=bool(ask.rd_kafka_error_is_fatal(error)),
            retriable=bool(ask.rd_kafka_error_is_retriable(error)),
            txn_requires_abort=bool(ask.rd_kafka_error_txn_requires_abort(error)),
        )
        ask.rd_kafka_error_destroy(error)
        if code != KafkaError._QUEUE_FULL:  # noqa: SLF001 - the library's own name for it
            raise KafkaException(told)
        self._producer.poll(0.1)


def _units(bulk: Bulk, topic: int) -> tuple[Words, int, list[Any]]:
    """What all messages have, and where their own offset goes; the last keeps alive what is pointed at."""
    *before, last = bulk.headers
    offset_unit = _OWN_UNITS + len(before)
    units = np.zeros((offset_unit + 2, _WORDS), np.int64)
    texts: list[Any] = []

    def address(body: bytes) -> int:
        texts.append(ctypes.create_string_buffer(body, len(body) + 1))
        return ctypes.addressof(texts[-1])

    units[0, :2] = _TOPIC, topic
    units[1, :2] = _PARTITION, bulk.partition
    units[2, 0], units[3, 0], units[4, 0] = _VALUE, _KEY, _TIMESTAMP
    for place, (name, value) in enumerate((*before, (OFFSET_HEADER, b""), last), _OWN_UNITS):
        units[place, :4] = _HEADER, address(name.encode()), address(value), len(value)
    return units.reshape(-1), offset_unit, texts
