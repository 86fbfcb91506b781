"""Input records read together: points into columns, everything else one by one.

The compiled scanner reads what is in a common form; each record that it leaves is read strictly and put in
its place, so which of the two read a record shows in nothing but the time it took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from service.wire.batch import PointBatch, Text
from service.wire.cloud_events import Headers, event_headers
from service.wire.data_point import Control, DataPoint, Forget, InvalidRecord
from service.wire.decode import decode
from service.wire.limits import InputLimits
from service.wire.scan import MOST_UNKNOWN, PREAMBLE, scan
from service.wire.timestamps import MAX_TIME_MS

Ints = npt.NDArray[np.int64]

_COMMA = 44


class Joined(NamedTuple):
    """Values one after the other behind `PREAMBLE`: value i is `text[stop[i] : stop[i + 1]]`."""

    text: Text
    stop: Ints

    @classmethod
    def of(cls, values: Sequence[bytes]) -> Joined:
        text = np.frombuffer(bytearray().join([PREAMBLE, *values]), np.uint8)
        return cls(text, np.cumsum([len(PREAMBLE), *map(len, values)]))


class RecordBatch(NamedTuple):
    """`n` records of one partition as they came; a null value is a tombstone, a negative time none."""

    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    headers: Mapping[int, Headers]
    """Of the records that have some, by their places."""
    offset: Ints  # (n,)
    time_ms: Ints  # (n,) Kafka's timestamp
    joined: Joined | None = None
    """The values once more, where whoever read them has them so; only if none is null."""


Others = dict[int, Control | Forget | InvalidRecord]


class ReadBatch(NamedTuple):
    """What records with these offsets and Kafka timestamps say: the points, and by record what is none."""

    offset: Ints  # (records,)
    record_time_ms: Ints  # (records,)
    points: PointBatch
    others: Others

    @property
    def records(self) -> int:
        """How many there are."""
        return len(self.offset)


def read(batch: RecordBatch, limits: InputLimits) -> ReadBatch:
    """What the records say; never raises, whatever the bytes."""
    n = len(batch.values)
    text, stop = _scannable(batch, limits)
    # A value, and a label, stands behind a comma or is the first of its point.
    most = int(np.count_nonzero(text == _COMMA)) + n
    columns = PointBatch.with_room(text, n, most, most)
    bounds = np.array(
        [
            limits.max_values,
            limits.max_labels,
            limits.max_label_chars,
            limits.max_future_ms,
            MAX_TIME_MS,
        ],
        np.int64,
    )
    unknown, word = np.empty(MOST_UNKNOWN, np.uint64), np.empty(1, np.uint64)
    number = word.view(np.float64)
    others: Others = {}
    more = bytearray()  # texts of points that were read strictly
    record = point = 0
    while True:
        record, point = scan(
            stop, batch.offset, batch.time_ms, bounds, record, point, columns, unknown, word, number
        )
        if record == n:
            break
        time_ms = int(batch.time_ms[record])
        content = decode(batch.values[record], batch.keys[record], batch.headers.get(record), time_ms, limits)
        if isinstance(content, DataPoint):
            columns.put(point, content, more, len(text))
            row = columns.points[point]
            row["offset"], row["record"], row["record_time_ms"] = batch.offset[record], record, time_ms
            point += 1
        else:
            others[record] = content
        record += 1
    whole = np.concatenate([text, np.frombuffer(more, np.uint8)]) if more else text
    return ReadBatch(batch.offset, batch.time_ms, columns.trimmed(whole, point), others)


def _scannable(batch: RecordBatch, limits: InputLimits) -> Joined:
    """The values, with nothing in place of those that the scanner is not to see."""
    values, joined = batch.values, batch.joined
    if not batch.headers:
        if joined is not None and int(np.diff(joined.stop).max(initial=0)) <= limits.max_record_bytes:
            return joined
        if joined is None and None not in values:
            found = cast(Sequence[bytes], values)
            if max(map(len, found), default=0) <= limits.max_record_bytes:
                return Joined.of(found)
    return Joined.of(
        [
            value
            if value is not None
            and len(value) <= limits.max_record_bytes
            and not event_headers(batch.headers.get(i, []))
            else b""
            for i, value in enumerate(values)
        ]
    )
