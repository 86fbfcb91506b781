"""Messages of Kafka's as the records that the reader of the wire takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, cast

import numpy as np
from confluent_kafka import Message

from service.stream.transaction import Headers
from service.wire.reader import RecordBatch


def by_partition(messages: Sequence[Message]) -> dict[int, list[Message]]:
    """The messages of each partition in their order."""
    parts: dict[int, list[Message]] = {}
    for number, run in groupby(messages, Message.partition):  # they come in runs
        parts.setdefault(cast(int, number), []).extend(run)
    return parts


class _Keys(Sequence[bytes | None]):
    """The keys of messages, of which hardly any is ever asked for."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, i: Any) -> Any:
        return self._messages[i].key()


def _headers(message: Message) -> Headers | None:
    return cast(Headers | None, message.headers())


def records_of(messages: Sequence[Message], first_offset: int = 0) -> RecordBatch:
    """One partition's messages from an offset on, as the reader takes them."""
    offsets = [message.offset() for message in messages]
    if offsets and cast(int, offsets[0]) < first_offset:
        messages = [message for message in messages if cast(int, message.offset()) >= first_offset]
        offsets = [message.offset() for message in messages]
    return RecordBatch(
        values=[message.value() for message in messages],
        keys=_Keys(messages),
        headers={i: headers for i, message in enumerate(messages) if (headers := _headers(message))},
        offset=np.array(offsets, np.int64),
        time_ms=np.array([message.timestamp()[1] for message in messages], np.int64),
    )
