"""How much the producer holds back once it has sent all that it sends by itself; knows librdkafka's ways.

It sends what waits for a partition once that makes a full request, and the rest when it is flushed. Who
flushes while a request of the same partition is under way has it look without a pause whether it is back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from service.stream.bulk import OFFSET_HEADER, Bulk, Words

_FRAME_BYTES = 12  # of each message on its way: lengths, flags, differences to the first of its request
_SURELY = 1.05  # sizes on the way are known to some hundredths: what is less than so many requests may wait


class FullRequest(NamedTuple):
    """With so many messages or bytes waiting a partition's request is full; it takes no more of either."""

    messages: int
    bytes: int

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Self:
        """As a producer's properties have it."""
        return cls(int(properties["batch.num.messages"]), int(properties["batch.size"]))

    def held_back(self, bulks: Sequence[Bulk]) -> int:
        """How many of these messages, produced in this order, wait for a flush; rather too many."""
        places: dict[tuple[str, int], list[Bulk]] = {}
        for bulk in bulks:
            places.setdefault((bulk.topic, bulk.partition), []).append(bulk)
        return sum(map(self._of_place, places.values()))

    def _of_place(self, bulks: Sequence[Bulk]) -> int:
        """`held_back` of one partition; all, where the partitioner shares them out."""
        messages = sum(len(bulk.stops) for bulk in bulks)
        few = messages < self.messages and 2 * sum(len(bulk.body) for bulk in bulks) < self.bytes
        if few or bulks[0].partition < 0:  # a key stands in the body, too
            return messages
        waiting = np.cumsum(np.concatenate([_sizes(bulk) for bulk in bulks]))
        sending = waiting + _beside(bulks[0]) * np.arange(1, messages + 1)
        sent, waiting_before, sending_before = 0, 0, 0
        while (
            messages - sent >= _SURELY * self.messages or waiting[-1] - waiting_before >= _SURELY * self.bytes
        ):
            fitting = int(np.searchsorted(sending, sending_before + self.bytes, "right"))
            sent = min(max(fitting, sent + 1), sent + self.messages)
            waiting_before, sending_before = int(waiting[sent - 1]), int(sending[sent - 1])
        return messages - sent


def _sizes(bulk: Bulk) -> Words:
    """Bytes of key and value, (n,): what waits is measured by them."""
    sizes: Words = np.diff(bulk.stops, prepend=0) + bulk.key_stop - bulk.key_start
    return sizes


def _beside(bulk: Bulk) -> int:
    """As many bytes has each message beside them on its way."""
    headers = (*bulk.headers, (OFFSET_HEADER, b"%d" % bulk.offsets[-1]))
    return _FRAME_BYTES + sum(len(name) + len(value) + 2 for name, value in headers)
