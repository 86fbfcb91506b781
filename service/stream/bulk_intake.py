"""Takes a consumer's records from librdkafka where they lie, without a Python object for each.

Making a `Message` and asking it for value, offset, time and headers costs a microsecond a record. So
partitions are forwarded to a queue of our own, and compiled walks copy what stands in it into columns.
Rebalances and the consumer's errors still come by the consumer itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError

from service.kernels import borrowed, call_foreign, copy_from, kernel, word_at
from service.stream.intake import Incoming, Intake, MessageIntake, Messages
from service.stream.librdkafka import address_of, handle_of, library
from service.wire.cloud_events import Headers
from service.wire.reader import Joined, RecordBatch
from service.wire.scan import PREAMBLE

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
T = TypeVar("T")

_LONGEST_WAIT_S = 0.02  # then the consumer is asked whether something else happened

# librdkafka's rd_kafka_message_t, in bytes from its beginning.
_ERROR, _PARTITION, _PAYLOAD, _LENGTH, _KEY, _KEY_LENGTH, _OFFSET = 0, 16, 24, 32, 40, 48, 56


@kernel
def _low_word(word: int) -> int:
    """The lower half of a word, a signed number of 32 bits."""
    return int(np.int32(np.int64(word) & 0xFFFFFFFF))


@kernel
def _look(messages: Ints, fault: Ints, partition: Ints, offset: Ints) -> None:
    """The error (0 for none), partition and offset of each message."""
    for i in range(len(messages)):
        fault[i] = _low_word(word_at(messages[i] + _ERROR))
        partition[i] = _low_word(word_at(messages[i] + _PARTITION))
        offset[i] = word_at(messages[i] + _OFFSET)


@kernel
def _measure(
    time_of: int,
    headers_of: int,
    messages: Ints,
    scratch: Ints,
    time_ms: Ints,
    has_headers: Flags,
    is_null: Flags,
    stop: Ints,
) -> None:
    """Kafka's time of each message, whether it has headers, and where its value stops among all."""
    at = stop[0]
    for i in range(len(messages)):
        message = messages[i]
        time_ms[i] = call_foreign(time_of, message, scratch.ctypes.data, 0)
        has_headers[i] = _low_word(call_foreign(headers_of, message, scratch.ctypes.data, 0)) == 0
        is_null[i] = word_at(message + _PAYLOAD) == 0
        at += word_at(message + _LENGTH)
        stop[i + 1] = at


@kernel
def _gather(messages: Ints, stop: Ints, text: npt.NDArray[np.uint8]) -> None:
    """Copy the values to where they belong."""
    text = borrowed(text)
    for i in range(len(messages)):
        copy_from(text, stop[i], word_at(messages[i] + _PAYLOAD), stop[i + 1] - stop[i])


@kernel
def _destroy(function: int, messages: Ints) -> None:
    for i in range(len(messages)):
        call_foreign(function, messages[i], 0, 0)


def warm() -> None:
    """Compile the walks, or load them, without a message."""
    none, no_flags, one = np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(1, np.int64)
    _look(none, none, none, none)
    _measure(0, 0, none, none, none, no_flags, no_flags, one)
    _gather(none, one, np.zeros(0, np.uint8))
    _destroy(0, none)


def intake_of(consumer: Consumer) -> Intake:
    """The fastest way to the consumer's records that this build of confluent_kafka allows."""
    if type(consumer) is Consumer and library() is not None:
        return BulkIntake(consumer)
    return MessageIntake(consumer)


class BulkIntake:
    """A queue of our own, to which each assigned partition is forwarded."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._client = handle_of(consumer)
        self._queue = library().rd_kafka_queue_new(self._client)
        self._forwarded = False

    def assigned(self, topic: str, partitions: Collection[int]) -> None:
        for number in partitions:
            # It stays forwarded when it leaves and comes back.
            fetched = library().rd_kafka_queue_get_partition(self._client, topic.encode(), number)
            library().rd_kafka_queue_forward(fetched, self._queue)
            library().rd_kafka_queue_destroy(fetched)
            self._forwarded = True

    def take(self, most: int, first_s: float, wait_s: float) -> Incoming:
        messages = self._consumer.consume(1, 0.0 if self._forwarded else first_s)
        if messages or not self._forwarded:
            return Messages(messages)
        found = np.empty(most, np.int64)
        count = self._fill(found[:1], min(first_s, _LONGEST_WAIT_S))
        if count and most > 1:
            count += self._fill(found[1:], wait_s)
        return BulkMessages(found[:count])

    def _fill(self, room: Ints, wait_s: float) -> int:
        ask = library().rd_kafka_consume_batch_queue
        count: int = ask(self._queue, int(wait_s * 1000), room.ctypes.data, len(room))
        return max(count, 0)

    def close(self) -> None:
        library().rd_kafka_queue_destroy(self._queue)
        self._queue, self._forwarded = None, False


class BulkMessages:
    """librdkafka's messages, held until they are released."""

    def __init__(self, messages: Ints) -> None:
        self._messages = messages
        n = len(messages)
        fault = np.empty(n, np.int64)
        self._partition, self._offset = np.empty(n, np.int64), np.empty(n, np.int64)
        _look(messages, fault, self._partition, self._offset)
        self._good = fault == 0
        self.errors = [_error(int(fault[i]), int(messages[i])) for i in np.flatnonzero(~self._good)]

    @property
    def partitions(self) -> Collection[int]:
        found: list[int] = np.flatnonzero(np.bincount(self._partition[self._good])).tolist()
        return found

    def __len__(self) -> int:
        return len(self._messages)

    def records(self, partition: int, first_offset: int) -> RecordBatch:
        wanted = self._good & (self._partition == partition) & (self._offset >= first_offset)
        messages, offset = self._messages[wanted], self._offset[wanted]
        n = len(messages)
        time_ms, stop = np.empty(n, np.int64), np.empty(n + 1, np.int64)
        has_headers, is_null = np.empty(n, np.bool_), np.empty(n, np.bool_)
        stop[0] = len(PREAMBLE)
        time_of, headers_of = address_of("rd_kafka_message_timestamp"), address_of("rd_kafka_message_headers")
        _measure(time_of, headers_of, messages, np.empty(1, np.int64), time_ms, has_headers, is_null, stop)
        text = np.empty(stop[-1], np.uint8)
        text[: len(PREAMBLE)] = np.frombuffer(PREAMBLE, np.uint8)
        _gather(messages, stop, text)
        headers = {i: _headers(int(messages[i])) for i in np.flatnonzero(has_headers).tolist()}
        return RecordBatch(
            _Lazy(messages, _value),
            _Lazy(messages, _key),
            headers,
            offset,
            time_ms,
            None if is_null.any() else Joined(text, stop),
        )

    def release(self) -> None:
        """Give the messages back; what `records` gave is not to be asked for values and keys any more."""
        _destroy(address_of("rd_kafka_message_destroy"), self._messages)
        self._messages = self._messages[:0]


class _Lazy(Sequence[T]):
    """Something of each message, of which hardly any is ever asked for."""

    def __init__(self, messages: Ints, of: Callable[[int], T]) -> None:
        self._messages, self._of = messages, of

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[T]: ...
    def __getitem__(self, i: int | slice) -> T | Sequence[T]:
        if isinstance(i, slice):
            return _Lazy(self._messages[i], self._of)
        return self._of(int(self._messages[i]))


def _text(message: int, at: int) -> bytes | None:
    """What an address in the message, and the length behind it, say."""
    address = ctypes.c_void_p.from_address(message + at).value
    return (
        None
        if address is None
        else ctypes.string_at(address, ctypes.c_size_t.from_address(message + at + 8).value)
    )


def _value(message: int) -> bytes | None:
    return _text(message, _PAYLOAD)


def _key(message: int) -> bytes | None:
    return _text(message, _KEY)


def _error(code: int, message: int) -> KafkaError:
    return KafkaError(code, library().rd_kafka_message_errstr(message).decode())


def _headers(message: int) -> Headers:
    whole, name, value = ctypes.c_void_p(), ctypes.c_char_p(), ctypes.c_void_p()
    size = ctypes.c_size_t()
    library().rd_kafka_message_headers(message, ctypes.byref(whole))
    found: Any = []
    places = ctypes.byref(name), ctypes.byref(value), ctypes.byref(size)
    while library().rd_kafka_header_get_all(whole, len(found), *places) == 0:
        body = None if value.value is None else ctypes.string_at(value.value, size.value)
        found.append(((name.value or b"").decode(errors="replace"), body))
    return list(found)
