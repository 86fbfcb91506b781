"""The common forms of a point, read at the speed of msgspec; judges nothing that is odd.

Whatever it does read, `strict` would read as exactly the same point.
"""

from __future__ import annotations

from typing import Any

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from service.wire.data_point import NAN, DataPoint
from service.wire.limits import MAX_ID_CHARS, MAX_NAME_CHARS, MAX_SOURCE_ID_CHARS, InputLimits, latest_ms
from service.wire.names import BARE, CACHED_NAMES, checked_names, index_names
from service.wire.quick_time import text_time_ms


class _Plain(Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """A point with nothing but what the contract names; anything else is a DecodeError, at once."""

    source_id: str
    values: dict[str, float | None] | tuple[float | None, ...] | float
    timestamp: str | int | None = None
    labels: dict[str, str] | None = None
    id: str | None = None


_decode_plain = Decoder(_Plain).decode
_ODD = (DecodeError, UnicodeDecodeError, RecursionError)


def read_common(value: bytes, record_time_ms: int, limits: InputLimits) -> DataPoint | None:
    """The point, if the record is a legal one in a common form; None says nothing about the record.

    Repeated keys are what msgspec does not see. Without escapes every member that it kept has a colon
    of its own in the bytes, and so has every colon inside a text that it kept; so if there are no more
    colons than that, there is no member that it dropped.
    """
    if len(value) > limits.max_record_bytes or b"\\" in value:
        return None
    try:
        plain = _decode_plain(value)
    except _ODD:
        return None
    source_id, values, timestamp, labels, point_id = (
        plain.source_id,
        plain.values,
        plain.timestamp,
        plain.labels,
        plain.id,
    )
    colons = 2
    if timestamp is None:
        time_ms = record_time_ms
    elif isinstance(timestamp, str):
        try:
            time_ms = text_time_ms(timestamp)
        except ValueError:
            return None
        colons = 3 + timestamp.count(":")
    else:
        time_ms = timestamp
        colons = 3
    if not 0 <= time_ms <= latest_ms(record_time_ms, limits):
        return None
    if not (0 < len(source_id) <= MAX_SOURCE_ID_CHARS and source_id.isprintable()):
        return None

    if isinstance(values, dict):
        names = checked_names(tuple(values)) if len(values) <= CACHED_NAMES else None
        if names is None or len(names) > limits.max_values:
            return None
        numbers: tuple[Any, ...] = tuple(values.values())
        colons += len(names)
    elif isinstance(values, tuple):
        numbers = values
        if not 0 < len(numbers) <= limits.max_values:
            return None
        names = index_names(len(numbers))
    else:
        numbers = (values,)
        names = BARE

    if labels is not None or point_id is not None:
        if not _plain_extras(labels, point_id, limits):
            return None
        colons += (0 if labels is None else 1 + len(labels)) + (0 if point_id is None else 1)
        labels = labels or None
    if value.count(b":") != colons:
        texts = (source_id, *names, point_id or "", *(labels or {}), *(labels or {}).values())
        if value.count(b":") != colons + "".join(texts).count(":"):
            return None
    return DataPoint(
        source_id,
        time_ms,
        names,
        numbers if None not in numbers else tuple([NAN if x is None else x for x in numbers]),
        labels,
        point_id,
        timestamp is not None,
    )


def _plain_extras(labels: dict[str, str] | None, point_id: str | None, limits: InputLimits) -> bool:
    if point_id is not None and not (0 < len(point_id) <= MAX_ID_CHARS and point_id.isprintable()):
        return False
    if not labels:
        return True
    return len(labels) <= limits.max_labels and all(
        0 < len(name) <= MAX_NAME_CHARS
        and name.isprintable()
        and len(text) <= limits.max_label_chars
        and text.isprintable()
        for name, text in labels.items()
    )
