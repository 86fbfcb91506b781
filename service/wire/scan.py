"""The common forms of a point, read straight into columns, compiled; judges nothing that is odd.

Whatever it does read, `strict` would read as exactly the same point. Not read here: texts with escapes,
members that are objects or arrays and no part of the contract, control records and events, numbers of more
than 19 digits, times before 1970 or with a leap second, and whatever has a fault.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from service.kernels import borrowed, inlined, kernel
from service.wire.batch import PointBatch, Rows, Text
from service.wire.instants import read_instant
from service.wire.limits import MAX_ID_CHARS, MAX_NAME_CHARS, MAX_SOURCE_ID_CHARS, MOST_SENT_CHARS
from service.wire.numerals import Words, read_number
from service.wire.texts import NO_NAMES, end_of_text, hash_of, same, with_name

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]

ODD = -1
_MOST_NAMES = 128  # compared one with another; wider points are the strict reader's
MOST_UNKNOWN = 8
_MOST_TEXT = 2**31

# Names of values that a point does not name: the text of every batch begins with them.
INDEX_NAMES = 100
PREAMBLE = b"value" + b"".join(b"%d" % i for i in range(INDEX_NAMES))
_BARE_HASH = hash_of(np.frombuffer(b"value", np.uint8), 0, 5)
_INDEX_HASH = np.array(
    [hash_of(np.frombuffer(b"%d" % i, np.uint8), 0, 1 + (i > 9)) for i in range(INDEX_NAMES)]
)

_UNKNOWN, _ELSEWHERE, _SOURCE_ID, _TIMESTAMP, _VALUES, _LABELS, _ID = 0, -1, 1, 2, 4, 8, 16


def _word(text: bytes) -> Text:
    return np.frombuffer(text, np.uint8)


_SOURCE_ID_KEY, _TIMESTAMP_KEY, _VALUES_KEY, _LABELS_KEY, _ID_KEY = (
    _word(key) for key in (b"sourceId", b"timestamp", b"values", b"labels", b"id")
)
# An event, an instruction, or a member that decides whether the record is one.
_CONTROL_KEY, _VERSION_KEY, _DATA_KEY, _DATA_64_KEY = (
    _word(key) for key in (b"control", b"specversion", b"data", b"data_base64")
)
_NULL, _TRUE, _FALSE = (_word(literal) for literal in (b"null", b"true", b"false"))


@inlined
def _blank(text: Text, at: int, stop: int) -> int:
    """The place of the next byte that is no white space."""
    while at < stop and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
        at += 1
    return at


@inlined
def _is(text: Text, at: int, stop: int, word: Text) -> bool:
    return same(text, at, stop, word, 0, len(word))


@inlined
def _begins(text: Text, at: int, stop: int, word: Text) -> bool:
    return at + len(word) <= stop and _is(text, at, at + len(word), word)


@kernel
def _member(text: Text, at: int, stop: int) -> int:
    """Which member of a point a key names."""
    if _is(text, at, stop, _SOURCE_ID_KEY):
        return _SOURCE_ID
    if _is(text, at, stop, _TIMESTAMP_KEY):
        return _TIMESTAMP
    if _is(text, at, stop, _VALUES_KEY):
        return _VALUES
    if _is(text, at, stop, _LABELS_KEY):
        return _LABELS
    if _is(text, at, stop, _ID_KEY):
        return _ID
    if _is(text, at, stop, _CONTROL_KEY) or _is(text, at, stop, _VERSION_KEY):
        return _ELSEWHERE
    if _is(text, at, stop, _DATA_KEY) or _is(text, at, stop, _DATA_64_KEY):
        return _ELSEWHERE
    return _UNKNOWN


@inlined
def _stands_before(hashes: Hashes, count: int) -> bool:
    """Whether the hash at `count` is among those before it."""
    for i in range(count):
        if hashes[i] == hashes[count]:
            return True
    return False


@inlined
def _named_before(values: Rows, first: int, row: int) -> bool:
    """Whether the name in `row` may be the same as one from `first` on."""
    for i in range(first, row):
        if values[i].name_hash == values[row].name_hash:
            return True
    return False


@inlined
def _value(text: Text, at: int, stop: int, value: Any, word: Words, number: Floats) -> int:
    """Read a number or null into a value's row; the place after it."""
    value.sent_start = at
    if at < stop and text[at] == 110:
        if not _begins(text, at, stop, _NULL):
            return ODD
        value.number = np.nan
        value.sent_stop = at
        return at + 4
    end = read_number(text, at, stop, word, number)
    value.number = number[0]
    value.sent_stop = end
    return end if end - at <= MOST_SENT_CHARS else ODD


@inlined
def _values(
    text: Text, at: int, stop: int, max_values: int, point: Any, values: Rows, word: Words, number: Floats
) -> int:
    """Read an object, an array or one number; the place after it."""
    first = point.first_value
    row = first
    shape = NO_NAMES
    opening = text[at]
    if opening != 123 and opening != 91:
        if opening == 110:
            return ODD
        value = values[row]
        value.name_start, value.name_stop, value.name_hash = 0, 5, _BARE_HASH
        point.shape = with_name(shape, _BARE_HASH)
        point.stop_value = row + 1
        return _value(text, at, stop, value, word, number)
    closing = opening + 2
    most = min(max_values, _MOST_NAMES if opening == 123 else INDEX_NAMES)
    place = 5  # of the next index's name in the preamble
    at += 1
    while True:
        at = _blank(text, at, stop)
        if row - first == most or at >= stop:
            return ODD
        value = values[row]
        if opening == 123:
            if text[at] != 34:
                return ODD
            end = end_of_text(text, at + 1, stop, MAX_NAME_CHARS)
            if end <= at + 1:
                return ODD
            value.name_start, value.name_stop = at + 1, end
            value.name_hash = hash_of(text, at + 1, end)
            if _named_before(values, first, row):
                return ODD
            at = _blank(text, end + 1, stop)
            if at >= stop or text[at] != 58:
                return ODD
            at = _blank(text, at + 1, stop)
        else:
            value.name_start = place
            place += 1 if row - first < 10 else 2
            value.name_stop = place
            value.name_hash = _INDEX_HASH[row - first]
        at = _value(text, at, stop, value, word, number)
        if at == ODD:
            return ODD
        shape = with_name(shape, value.name_hash)
        row += 1
        at = _blank(text, at, stop)
        if at >= stop:
            return ODD
        if text[at] == closing:
            break
        if text[at] != 44:
            return ODD
        at += 1
    point.shape = shape
    point.stop_value = row
    return at + 1


@kernel
def _labels(
    text: Text, at: int, stop: int, max_labels: int, max_label_chars: int, point: Any, labels: Rows
) -> int:
    """Read an object of texts; the place after it."""
    first = point.first_label
    row = first
    if text[at] != 123:
        return ODD
    at = _blank(text, at + 1, stop)
    if at < stop and text[at] == 125:
        return at + 1
    while True:
        if row - first == max_labels or at >= stop or text[at] != 34:
            return ODD
        end = end_of_text(text, at + 1, stop, MAX_NAME_CHARS)
        if end <= at + 1:
            return ODD
        label = labels[row]
        label.name_start, label.name_stop = at + 1, end
        for i in range(first, row):
            if same(text, at + 1, end, text, labels[i].name_start, labels[i].name_stop):
                return ODD
        at = _blank(text, end + 1, stop)
        if at >= stop or text[at] != 58:
            return ODD
        at = _blank(text, at + 1, stop)
        if at >= stop or text[at] != 34:
            return ODD
        end = end_of_text(text, at + 1, stop, max_label_chars)
        if end == ODD:
            return ODD
        label.text_start, label.text_stop = at + 1, end
        row += 1
        at = _blank(text, end + 1, stop)
        if at >= stop:
            return ODD
        if text[at] == 125:
            break
        if text[at] != 44:
            return ODD
        at = _blank(text, at + 1, stop)
    point.stop_label = row
    return at + 1


@inlined
def _scalar(text: Text, at: int, stop: int, word: Words, number: Floats) -> int:
    """The place after a text, a number or a literal; ODD after anything else."""
    if text[at] == 34:
        end = end_of_text(text, at + 1, stop, _MOST_TEXT)
        return ODD if end == ODD else end + 1
    if _begins(text, at, stop, _NULL) or _begins(text, at, stop, _TRUE):
        return at + 4
    if _begins(text, at, stop, _FALSE):
        return at + 5
    return read_number(text, at, stop, word, number)


@inlined
def _epoch_ms(text: Text, at: int, stop: int, point: Any) -> int:
    """Read an integer of epoch milliseconds; the place after it."""
    start = at
    time_ms = 0
    while at < stop and 48 <= text[at] <= 57 and at - start < 16:
        time_ms = time_ms * 10 + int(text[at]) - 48
        at += 1
    if at == start or at - start > 15 or (text[start] == 48 and at > start + 1):
        return ODD
    point.time_ms = time_ms
    return at


@inlined
def _point(
    text: Text,
    at: int,
    stop: int,
    bounds: Ints,
    point: Any,
    values: Rows,
    labels: Rows,
    unknown: Hashes,
    word: Words,
    number: Floats,
) -> bool:
    """Read one record into a point's row; false if it is odd."""
    max_values, max_labels, max_label_chars = bounds[0], bounds[1], bounds[2]
    at = _blank(text, at, stop)
    if at >= stop or text[at] != 123:
        return False
    at += 1
    seen = others = 0
    point.id_start = point.id_stop = 0
    point.stop_label = point.first_label
    point.timed = False
    point.time_ms = point.record_time_ms
    while True:
        at = _blank(text, at, stop)
        if at >= stop or text[at] != 34:
            return False
        start = at + 1
        end = end_of_text(text, start, stop, _MOST_TEXT)
        if end == ODD:
            return False
        member = _member(text, start, end)
        if member == _ELSEWHERE or seen & member:
            return False
        seen |= member
        at = _blank(text, end + 1, stop)
        if at >= stop or text[at] != 58:
            return False
        at = _blank(text, at + 1, stop)
        if at >= stop:
            return False
        if member == _VALUES:
            at = _values(text, at, stop, max_values, point, values, word, number)
        elif member == _SOURCE_ID or (member and text[at] == 34):
            if text[at] != 34:
                return False
            most = MAX_SOURCE_ID_CHARS if member == _SOURCE_ID else MAX_ID_CHARS
            start = at + 1
            end = end_of_text(text, start, stop, most)
            if end <= start:
                return False
            at = end + 1
            if member == _SOURCE_ID:
                point.source_start, point.source_stop = start, end
                point.source_hash = hash_of(text, start, end)
            elif member == _TIMESTAMP:
                point.timed = True
                point.time_ms = read_instant(text, start, end)
            elif member == _ID:
                point.id_start, point.id_stop = start, end
            else:
                return False
        elif member and text[at] == 110:  # null counts as absent
            at = at + 4 if _begins(text, at, stop, _NULL) else ODD
        elif member == _TIMESTAMP:
            point.timed = True
            at = _epoch_ms(text, at, stop, point)
        elif member == _LABELS:
            at = _labels(text, at, stop, max_labels, max_label_chars, point, labels)
        elif member == _ID or others == MOST_UNKNOWN:
            return False
        else:
            unknown[others] = hash_of(text, start, end)
            if _stands_before(unknown, others):
                return False
            others += 1
            at = _scalar(text, at, stop, word, number)
        if at == ODD:
            return False
        at = _blank(text, at, stop)
        if at >= stop:
            return False
        if text[at] == 125:
            break
        if text[at] != 44:
            return False
        at += 1
    if _blank(text, at + 1, stop) != stop or not (seen & _SOURCE_ID and seen & _VALUES):
        return False
    point.id_hash = hash_of(text, point.id_start, point.id_stop)
    latest = bounds[4]
    if point.record_time_ms >= 0:
        latest = min(point.record_time_ms + bounds[3], latest)
    return bool(0 <= point.time_ms <= latest)


@kernel
def scan(
    record_stop: Ints,
    offset: Ints,
    record_time_ms: Ints,
    bounds: Ints,
    record: int,
    n: int,
    batch: PointBatch,
    unknown: Hashes,
    word: Words,
    number: Floats,
) -> tuple[int, int]:
    """Read records from `record` on into rows from `n` on, up to one that is odd.

    Record i are the bytes of the batch's text from `record_stop[i]` to `record_stop[i + 1]`. `bounds` are
    the most values, labels, characters of a label and milliseconds into the future, and the last time of
    all; `unknown` (MOST_UNKNOWN,), `word` (1,) and `number`, a view of it, are scratch. Returned are the
    record at which it stopped, their number if at none, and the first free row.
    """
    text, points = borrowed(batch.text), borrowed(batch.points)
    values, labels = borrowed(batch.values), borrowed(batch.labels)
    unknown, word, number = borrowed(unknown), borrowed(word), borrowed(number)
    while record < len(offset):
        start, stop = record_stop[record], record_stop[record + 1]
        point = points[n]
        point.offset = offset[record]
        point.record = record
        point.record_time_ms = record_time_ms[record]
        point.first_value = points[n - 1].stop_value if n > 0 else 0
        point.first_label = points[n - 1].stop_label if n > 0 else 0
        if not _point(text, start, stop, bounds, point, values, labels, unknown, word, number):
            break
        record += 1
        n += 1
    return record, n
