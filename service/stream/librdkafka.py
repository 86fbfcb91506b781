"""confluent_kafka's own librdkafka, for what it can do and Python cannot at its speed; knows where it is.

Nothing here is guessed: where the build of confluent_kafka is not one whose inside is known, there is no
library, and clients are used the usual way.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka import Consumer, Producer

# confluent_kafka's objects begin with librdkafka's handle in these, and the handle's opaque is the object.
_KNOWN_VERSIONS = frozenset({"2.16.1"})

_POINTER, _INT, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p

_FUNCTIONS: dict[str, tuple[list[Any], Any]] = {
    "rd_kafka_opaque": ([_POINTER], _POINTER),
    "rd_kafka_last_error": ([], _INT),
    "rd_kafka_topic_new": ([_POINTER, _TEXT, _POINTER], _POINTER),
    "rd_kafka_topic_destroy": ([_POINTER], None),
    "rd_kafka_error_code": ([_POINTER], _INT),
    "rd_kafka_error_string": ([_POINTER], _TEXT),
    "rd_kafka_error_is_fatal": ([_POINTER], _INT),
    "rd_kafka_error_is_retriable": ([_POINTER], _INT),
    "rd_kafka_error_txn_requires_abort": ([_POINTER], _INT),
    "rd_kafka_error_destroy": ([_POINTER], None),
    "rd_kafka_queue_new": ([_POINTER], _POINTER),
    "rd_kafka_queue_destroy": ([_POINTER], None),
    "rd_kafka_queue_forward": ([_POINTER, _POINTER], None),
    "rd_kafka_queue_get_partition": ([_POINTER, _TEXT, ctypes.c_int32], _POINTER),
    "rd_kafka_consume_batch_queue": ([_POINTER, _INT, _POINTER, ctypes.c_size_t], ctypes.c_ssize_t),
    "rd_kafka_message_errstr": ([_POINTER], _TEXT),
    "rd_kafka_message_headers": ([_POINTER, _POINTER], _INT),
    "rd_kafka_header_get_all": ([_POINTER, ctypes.c_size_t, _POINTER, _POINTER, _POINTER], _INT),
}


@cache
def library() -> Any:
    """The library that confluent_kafka has loaded; None if it is not where we know it to be."""
    if version("confluent-kafka") not in _KNOWN_VERSIONS:
        return None
    beside = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    found = sorted(beside.glob("librdkafka*.so*"))
    if len(found) != 1:
        return None
    loaded = ctypes.CDLL(str(found[0]))
    for name, (arguments, result) in _FUNCTIONS.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, result
    return loaded


def handle_of(client: Consumer | Producer) -> int:
    """The address of the client's `rd_kafka_t`; to be asked only where there is a `library`."""
    handle = ctypes.c_void_p.from_address(id(client) + object.__basicsize__).value or 0
    assert library().rd_kafka_opaque(handle) == id(client), "a known version has it there"
    return handle


def address_of(function: str) -> int:
    """Where a function of the library lies, for kernels to call."""
    return ctypes.cast(getattr(library(), function), ctypes.c_void_p).value or 0
