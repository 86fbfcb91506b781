"""One input record into a value, or into the reason why it is none; knows no Kafka and no batch.

`decode` is the meaning of the input topic: any faster reader must give exactly what it gives.

What is accepted
 1. A record of at most `max_record_bytes` that is one JSON text (RFC 8259) in UTF-8, without a byte order
    mark, brackets at most `max_depth` deep (the outermost object is 1), no key twice in any object (keys
    are compared after their escapes are resolved), no escaped half of a surrogate pair. This holds for
    unknown members too; apart from it they are ignored, whatever their numbers.
 2. A member that is null counts as absent.
 3. `sourceId`: text of 1 to 256 characters. Text, wherever it is asked for below, holds no control
    characters (U+0000-001F, U+007F-009F), line or paragraph separators (U+2028-2029) or bidirectional
    controls (U+061C, U+200E-200F, U+202A-202E, U+2066-2069).
 4. `timestamp`: an RFC 3339 string, cut to milliseconds, or an integer of epoch milliseconds, written
    without fraction and exponent; absent = the record's own time. It lies between 1970 and the record's
    time plus `max_future`, and never after the year 9999. A record without a time (negative) sets no
    upper bound, but cannot lend its time either.
 5. `values`: an object of 1 to `max_values` numbers (names: text of 1 to 128 characters), an array of as
    many, named "0", "1", ..., or one number, named "value". An entry that is null is missing (NaN); all may
    be. A number is what the nearest double can hold, however it is written: 1e400 and an integer of 400
    digits are not finite, 1e-400 is 0; the integer -0 is 0.0, while -0.0 keeps its sign. true, false and
    strings are no numbers.
 6. `labels`: an object of at most `max_labels` strings; names are text of 1 to 128 characters, values text
    of 0 to `max_label_chars`. An empty one is none.
 7. `id`: text of 1 to 256 characters.
 8. `control`: an object without a number that is not finite, and no `values` beside it; `labels` and `id`
    are then not looked at.
 9. A null value is a tombstone for the source that its key names (UTF-8, as in 3), whatever the headers.

CloudEvents 1.0
10. Structured mode: a `content-type` header of application/cloudevents+json; or, without such a header, an
    object that has `specversion` and `data` (or `data_base64`) and no `sourceId`, `values` or `control`.
    `data`, an object, is the point. Binary mode: a `ce_specversion` header; the whole value is the point.
11. The point's own members come first. Where it has none, the event's `id` is its id, the event's `time`
    its timestamp, and the event's `subject` (if empty or absent: `source`) its sourceId. Under CloudEvents
    the subject names the thing inside the source, and an attribute that is not needed is not judged.
12. Of a header that stands twice the last counts.

Order of faults: too_large, not_utf8, too_deep, not_json, then repeated_key or non_finite_number (NaN and
Infinity as literals) whichever ends first in the text, lone_surrogate, not_an_object, bad_cloud_event,
sourceId, timestamp, control or values (container, count, then entry by entry: name, number), labels, id.
Exactly the first is reported.
"""

from __future__ import annotations

import json
import re
from functools import cached_property, lru_cache
from typing import Any, Final, NoReturn

import numpy as np
from msgspec import DecodeError, Struct
from msgspec.json import Decoder
from pydantic import BaseModel, ByteSize, ConfigDict, Field

from service.durations import Duration
from service.wire.data_point import Control, DataPoint, Decoded, Forget, InvalidRecord, Reason
from service.wire.timestamps import MAX_TIME_MS, parse_rfc3339

Headers = list[tuple[str, bytes]]

MAX_SOURCE_ID_CHARS = 256
MAX_NAME_CHARS = 128
MAX_ID_CHARS = 256

NAN: Final = float("nan")


class InputLimits(BaseModel):
    """How large, deep, wide and far in the future an input record may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_record_bytes: ByteSize = Field(default=ByteSize(1024 * 1024), ge=64)
    max_depth: int = Field(default=32, ge=4, le=200)  # far below what the interpreter's stack can take
    max_values: int = Field(default=1024, ge=1)
    max_labels: int = Field(default=64, ge=0)
    max_label_chars: int = Field(default=1024, ge=1)
    max_future: Duration = 366 * 86_400.0

    @cached_property
    def max_future_ms(self) -> int:
        return round(self.max_future * 1000)


def decode(
    value: bytes | None,
    key: bytes | None,
    headers: Headers | None,
    record_time_ms: int,
    limits: InputLimits,
) -> Decoded:
    """What the record says; never raises, whatever the bytes.

    `record_time_ms` is Kafka's timestamp of the record, negative where it has none. The common forms
    are read by `_common`, which leaves everything odd to `_strict`.
    """
    if value is None:
        return _tombstone(key, record_time_ms)
    event_headers = _event_headers(headers) if headers else None
    if event_headers is None:
        point = _common(value, record_time_ms, limits)
        if point is not None:
            return point
    return _strict(value, event_headers, record_time_ms, limits)


# ---------------------------------------------------------------------------------- common forms


class _Plain(Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """A point with nothing but what the contract names; anything else is a DecodeError, at once."""

    source_id: str
    values: dict[str, float | None] | tuple[float | None, ...] | float
    timestamp: str | int | None = None
    labels: dict[str, str] | None = None
    id: str | None = None


_decode_plain = Decoder(_Plain).decode
_ODD = (DecodeError, UnicodeDecodeError, RecursionError)


def _common(value: bytes, record_time_ms: int, limits: InputLimits) -> DataPoint | None:
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
            time_ms = _text_time_ms(timestamp)
        except ValueError:
            return None
        colons = 3 + timestamp.count(":")
    else:
        time_ms = timestamp
        colons = 3
    if not 0 <= time_ms <= _latest_ms(record_time_ms, limits):
        return None
    if not (0 < len(source_id) <= MAX_SOURCE_ID_CHARS and source_id.isprintable()):
        return None

    if isinstance(values, dict):
        names = _checked_names(tuple(values)) if len(values) <= _CACHED_NAMES else None
        if names is None or len(names) > limits.max_values:
            return None
        numbers: tuple[Any, ...] = tuple(values.values())
        colons += len(names)
    elif isinstance(values, tuple):
        numbers = values
        if not 0 < len(numbers) <= limits.max_values:
            return None
        names = _index_names(len(numbers))
    else:
        numbers = (values,)
        names = _BARE

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


_BARE = ("value",)
_CACHED_NAMES = 64  # wider points take the strict path, so that the cache stays below 50 MB at its worst


@lru_cache(maxsize=1024)
def _checked_names(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The very tuple that came first, so that points of one shape share their names; None if one is odd.

    `isprintable` is stricter than the rule for text, which is then asked by the strict path.
    """
    good = all(0 < len(name) <= MAX_NAME_CHARS and name.isprintable() for name in names)
    return names if good and names else None


def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Legal names, as the one tuple that points of this shape share."""
    return (_checked_names(names) or names) if len(names) <= _CACHED_NAMES else names


@lru_cache(maxsize=64)
def _index_names(count: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(count))


_SECONDS_MS = {f"{second:02d}": second * 1000 for second in range(60)}
_FRACTION_MS = {f".{ms:03d}": ms for ms in range(1000)}


def _text_time_ms(text: str) -> int:
    """`parse_rfc3339`, but quick for UTC times of whole seconds, milli- or microseconds.

    Points come minute by minute, so the minute is looked up.

    Raises:
        ValueError: see there.
    """
    length = len(text)
    if length == 20 and text[19] == "Z":
        fraction_ms: int | None = 0
    elif (length == 24 and text[23] == "Z") or (length == 29 and text.endswith("+00:00")):
        fraction_ms = _FRACTION_MS.get(text[19:23])
    elif length == 25 and text.endswith("+00:00"):
        fraction_ms = 0
    elif (length == 27 and text[26] == "Z") or (length == 32 and text.endswith("+00:00")):
        fraction_ms = _FRACTION_MS.get(text[19:23]) if text.isascii() and text[23:26].isdigit() else None
    else:
        return parse_rfc3339(text)
    second_ms = _SECONDS_MS.get(text[17:19])
    if second_ms is None or fraction_ms is None:
        return parse_rfc3339(text)
    return _minute_ms(text[:17]) + second_ms + fraction_ms


@lru_cache(maxsize=4096)
def _minute_ms(until_minute: str) -> int:
    return parse_rfc3339(f"{until_minute}00Z")


# ----------------------------------------------------------------------------------- strict path


class _FaultError(Exception):
    """The first fault of the record; never leaves this module."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)


class _Integer(str):
    """A number's own digits, so that its size costs nothing."""

    __slots__ = ()


class _Fraction(str):
    """A number written with fraction or exponent."""

    __slots__ = ()


Attributes = dict[str, Any]  # of a CloudEvent


def _strict(
    value: bytes, event_headers: dict[str, bytes] | None, record_time_ms: int, limits: InputLimits
) -> DataPoint | Control | InvalidRecord:
    try:
        document = _parse(value, limits)
        if type(document) is not dict:
            raise _FaultError(Reason.NOT_AN_OBJECT, f"the record is {_show(document)}, not an object")
        record, event = _unwrap(document, event_headers or {})
        return _read(record, event, record_time_ms, limits)
    except _FaultError as fault:
        return InvalidRecord(fault.reason, fault.detail)


def _tombstone(key: bytes | None, record_time_ms: int) -> Forget | InvalidRecord:
    if key is None:
        return InvalidRecord(Reason.MISSING_SOURCE_ID, "a tombstone without a key")
    try:
        source_id = key.decode()
    except UnicodeDecodeError:
        return InvalidRecord(Reason.BAD_SOURCE_ID, f"the tombstone's key is not UTF-8: {_short(repr(key))}")
    fault = _fault_of_text(source_id, 1, MAX_SOURCE_ID_CHARS)
    if fault:
        return InvalidRecord(Reason.BAD_SOURCE_ID, f"the tombstone's key {fault}")
    return Forget(source_id, record_time_ms)


# Bytes to members ------------------------------------------------------------------------------


def _parse(value: bytes, limits: InputLimits) -> Any:
    """The JSON text's value, with numbers left as `_Integer` and `_Fraction`."""
    if len(value) > limits.max_record_bytes:
        raise _FaultError(Reason.TOO_LARGE, f"{len(value)} bytes, more than {int(limits.max_record_bytes)}")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{value[error.start]:02x} at position {error.start}"
        raise _FaultError(Reason.NOT_UTF8, f"{found}: {error.reason}") from None
    _refuse_depth(text, limits.max_depth)
    try:
        document = _STRICT_JSON.decode(text)
    except json.JSONDecodeError as error:
        _refuse_syntax(text, error)
    except _FaultError:
        # A key or a literal that is refused ended the reading; if the text is no JSON at all, that is
        # the fault, wherever it stands.
        try:
            _GRAMMAR.decode(text)
        except json.JSONDecodeError as error:
            _refuse_syntax(text, error)
        raise
    if _SURROGATE_ESCAPE.search(text):
        _refuse_lone_surrogates(document)
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _FaultError(Reason.REPEATED_KEY, f"the key {_quote(name)} stands twice in one object")
            seen.add(name)
    return members


def _refuse_literal(literal: str) -> NoReturn:
    raise _FaultError(Reason.NON_FINITE_NUMBER, f"{literal} is no JSON number")


_STRICT_JSON = json.JSONDecoder(
    object_pairs_hook=_members, parse_constant=_refuse_literal, parse_int=_Integer, parse_float=_Fraction
)
_GRAMMAR = json.JSONDecoder(parse_constant=str, parse_int=str, parse_float=str)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # possessive: one pass, whatever the text


def _refuse_depth(text: str, max_depth: int) -> None:
    """Counts brackets outside strings before anything recursive sees the text."""
    if text.count("{") + text.count("[") <= max_depth:
        return
    outside = np.frombuffer(_STRING.sub("", text).encode(), dtype=np.uint8)
    opened = (outside == ord("{")) | (outside == ord("["))
    closed = (outside == ord("}")) | (outside == ord("]"))
    depth = np.cumsum(opened.astype(np.int32) - closed.astype(np.int32))
    if depth.size and depth.max() > max_depth:
        raise _FaultError(Reason.TOO_DEEP, f"nested {depth.max()} deep, more than {max_depth}")


def _refuse_syntax(text: str, error: json.JSONDecodeError) -> NoReturn:
    if not text:
        detail = "the value is empty"
    elif text.startswith("\ufeff"):
        detail = "starts with a byte order mark"
    else:
        found = _quote(text[error.pos : error.pos + 16]) if error.pos < len(text) else "the end"
        detail = f"{error.msg} at character {error.pos}: {found}"
    raise _FaultError(Reason.NOT_JSON, detail) from None


def _refuse_lone_surrogates(document: Any) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        found = ord(error.object[error.start])
        detail = f"the escape \\u{found:04x} is half a surrogate pair, which no UTF-8 can hold"
        raise _FaultError(Reason.LONE_SURROGATE, detail) from None


# CloudEvents -----------------------------------------------------------------------------------

_EVENT_HEADERS = {
    "content-type": "content-type",
    "ce_specversion": "specversion",
    "ce_id": "id",
    "ce_source": "source",
    "ce_subject": "subject",
    "ce_time": "time",
}
_EVENT_TYPE = "application/cloudevents"


def _event_headers(headers: Headers) -> dict[str, bytes] | None:
    """The CloudEvents attributes that count here, by their own names; None if the record is no event."""
    found: dict[str, bytes] = {}
    for name, data in headers:
        attribute = _EVENT_HEADERS.get(name)
        if attribute is not None and data is not None:
            found[attribute] = data
    if "specversion" in found or found.get("content-type", b"").strip().lower().startswith(
        _EVENT_TYPE.encode()
    ):
        return found
    return None


def _unwrap(document: dict[str, Any], event_headers: dict[str, bytes]) -> tuple[dict[str, Any], Attributes]:
    """The point's own object, and the attributes of the event that it came in."""
    content_type = event_headers.get("content-type", b"").decode("latin-1")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith(_EVENT_TYPE):
        if media_type != f"{_EVENT_TYPE}+json":
            raise _FaultError(
                Reason.BAD_CLOUD_EVENT, f"the content type {_quote(media_type)} is not supported"
            )
        return _structured(document), document
    if "specversion" in event_headers:
        return document, _binary(event_headers)
    if _looks_structured(document):
        return _structured(document), document
    return document, {}


def _looks_structured(document: dict[str, Any]) -> bool:
    return (
        "specversion" in document
        and ("data" in document or "data_base64" in document)
        and not ("sourceId" in document or "values" in document or "control" in document)
    )


def _structured(event: dict[str, Any]) -> dict[str, Any]:
    _check_version(event.get("specversion"))
    data = event.get("data")
    if type(data) is not dict:
        what = "data_base64" if "data_base64" in event else f"its data is {_show(data)}"
        raise _FaultError(Reason.BAD_CLOUD_EVENT, f"the event's data must be an object: {what}")
    return data


def _binary(event_headers: dict[str, bytes]) -> Attributes:
    event = {}
    for name, data in event_headers.items():
        if name == "content-type":
            continue
        try:
            event[name] = data.decode()
        except UnicodeDecodeError:
            raise _FaultError(
                Reason.BAD_CLOUD_EVENT, f"the event's header for {name} is not UTF-8: {_short(repr(data))}"
            ) from None
    _check_version(event["specversion"])
    return event


def _check_version(version: object) -> None:
    if version != "1.0":
        raise _FaultError(
            Reason.BAD_CLOUD_EVENT, f"the event's specversion is {_show(version)}, only 1.0 is known"
        )


# Members to values -----------------------------------------------------------------------------


def _read(
    record: dict[str, Any], event: Attributes, record_time_ms: int, limits: InputLimits
) -> DataPoint | Control:
    source_id = _read_source_id(record, event)
    time_ms = _read_time_ms(record, event, record_time_ms, limits)
    control, values = record.get("control"), record.get("values")
    if control is not None:
        return Control(source_id, time_ms, _read_control(control, values))
    names, numbers = _read_values(values, limits)
    labels = _read_labels(record.get("labels"), limits)
    return DataPoint(source_id, time_ms, names, numbers, labels, _read_id(record, event))


def _read_source_id(record: dict[str, Any], event: Attributes) -> str:
    source_id, what = record.get("sourceId"), "sourceId"
    if source_id is None:
        source_id, what = event.get("subject"), "the event's subject"
        if source_id is None or source_id == "":
            source_id, what = event.get("source"), "the event's source"
    if source_id is None:
        raise _FaultError(Reason.MISSING_SOURCE_ID, "there is no sourceId")
    return _text(source_id, Reason.BAD_SOURCE_ID, what, 1, MAX_SOURCE_ID_CHARS)


def _read_time_ms(record: dict[str, Any], event: Attributes, record_time_ms: int, limits: InputLimits) -> int:
    timestamp, what = record.get("timestamp"), "timestamp"
    if timestamp is None:
        timestamp, what = event.get("time"), "the event's time"
    if timestamp is None:
        time_ms, what = record_time_ms, "the record's own time"
    elif type(timestamp) is str:
        try:
            time_ms = parse_rfc3339(timestamp)
        except ValueError as error:
            raise _FaultError(
                Reason.BAD_TIMESTAMP, f"{what} {_show(timestamp)}: {_short(ascii(str(error))[1:-1])}"
            ) from None
    elif type(timestamp) is _Integer and what == "timestamp":
        # Twenty digits are past every limit, and int() would refuse some thousands of them.
        time_ms = int(timestamp[:20])
    else:
        wanted = "neither an RFC 3339 string nor an integer of epoch milliseconds"
        raise _FaultError(Reason.BAD_TIMESTAMP, f"{what} is {_show(timestamp)}, {wanted}")
    latest_ms = _latest_ms(record_time_ms, limits)
    if not 0 <= time_ms <= latest_ms:
        shown = _show(timestamp) if timestamp is not None else str(record_time_ms)
        bound = "before 1970" if time_ms < 0 else f"later than {latest_ms} ms"
        raise _FaultError(Reason.TIMESTAMP_OUT_OF_RANGE, f"{what} {shown} is {bound}")
    return time_ms


def _latest_ms(record_time_ms: int, limits: InputLimits) -> int:
    if record_time_ms < 0:
        return MAX_TIME_MS
    latest_ms = record_time_ms + limits.max_future_ms
    return latest_ms if latest_ms < MAX_TIME_MS else MAX_TIME_MS


def _read_control(control: object, values: object) -> dict[str, Any]:
    if type(control) is not dict:
        raise _FaultError(Reason.BAD_CONTROL, f"control is {_show(control)}, not an object")
    if values is not None:
        raise _FaultError(Reason.BAD_CONTROL, "control and values stand in the same record")
    return {name: _plain(member, name) for name, member in control.items()}


def _plain(value: Any, name: str) -> Any:
    """The value with its numbers made numbers; integers past 64 bits become floats."""
    kind = type(value)
    if kind is dict:
        return {inner: _plain(member, inner) for inner, member in value.items()}
    if kind is list:
        return [_plain(member, name) for member in value]
    if kind is _Integer and len(value) <= 18:
        return int(value)
    return _number(value, f"control member {_quote(name)}") if kind in (_Integer, _Fraction) else value


def _read_values(values: Any, limits: InputLimits) -> tuple[tuple[str, ...], tuple[float, ...]]:
    if values is None:
        raise _FaultError(Reason.MISSING_VALUES, "there are no values")
    kind = type(values)
    if kind is dict:
        _check_count(len(values), limits)
        return _shared(tuple(values)), tuple([_named_number(*entry) for entry in values.items()])
    if kind is list:
        _check_count(len(values), limits)
        names = _index_names(len(values))
        return names, tuple(
            [_number_or_nan(number, name) for name, number in zip(names, values, strict=True)]
        )
    if kind is _Integer or kind is _Fraction:
        return _BARE, (_number(values, "values"),)
    raise _FaultError(Reason.BAD_VALUES, f"values is {_show(values)}, no object, array or number")


def _check_count(count: int, limits: InputLimits) -> None:
    if count == 0:
        raise _FaultError(Reason.BAD_VALUES, "values is empty")
    if count > limits.max_values:
        raise _FaultError(Reason.TOO_MANY_VALUES, f"{count} values, more than {limits.max_values}")


def _named_number(name: str, number: object) -> float:
    fault = _fault_of_text(name, 1, MAX_NAME_CHARS)
    if fault:
        raise _FaultError(Reason.BAD_VALUE_NAME, f"the value name {_quote(name)} {fault}")
    return _number_or_nan(number, name)


def _number_or_nan(number: object, name: str) -> float:
    if number is None:
        return NAN
    if type(number) is _Integer or type(number) is _Fraction:
        return _number(number, name)
    raise _FaultError(Reason.BAD_VALUE, f"value {_quote(name)} is {_show(number)}, not a number")


def _number(digits: str, name: str) -> float:
    number = float(digits) + 0.0 if type(digits) is _Integer else float(digits)  # the integer -0 is 0.0
    if number - number != 0.0:
        raise _FaultError(
            Reason.NON_FINITE_NUMBER, f"{_quote(name)} is {_short(str(digits))}, more than a double can hold"
        )
    return number


def _read_labels(labels: Any, limits: InputLimits) -> dict[str, str] | None:
    if labels is None:
        return None
    if type(labels) is not dict:
        raise _FaultError(Reason.BAD_LABELS, f"labels is {_show(labels)}, not an object")
    if len(labels) > limits.max_labels:
        raise _FaultError(Reason.BAD_LABELS, f"{len(labels)} labels, more than {limits.max_labels}")
    for name, text in labels.items():
        _text(name, Reason.BAD_LABELS, f"the label name {_quote(name)}", 1, MAX_NAME_CHARS)
        _text(text, Reason.BAD_LABELS, f"label {_quote(name)}", 0, limits.max_label_chars)
    return labels or None


def _read_id(record: dict[str, Any], event: Attributes) -> str | None:
    point_id, what = record.get("id"), "id"
    if point_id is None:
        point_id, what = event.get("id"), "the event's id"
    return None if point_id is None else _text(point_id, Reason.BAD_ID, what, 1, MAX_ID_CHARS)


# Text ------------------------------------------------------------------------------------------

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _text(value: object, reason: Reason, what: str, fewest: int, most: int) -> str:
    if type(value) is not str:
        raise _FaultError(reason, f"{what} is {_show(value)}, not a string")
    fault = _fault_of_text(value, fewest, most)
    if fault:
        raise _FaultError(reason, f"{what} {fault}")
    return value


def _fault_of_text(text: str, fewest: int, most: int) -> str | None:
    """What is wrong with the text, as the end of a sentence."""
    if len(text) < fewest:
        return "is empty"
    if len(text) > most:
        return f"has {len(text)} characters, more than {most}: {_quote(text)}"
    found = _FORBIDDEN.search(text)
    return f"holds the character U+{ord(found[0]):04X}: {_quote(text)}" if found else None


_SHOWN_CHARS = 60
_KINDS: dict[Any, str] = {dict: "an object", list: "an array", bool: "a boolean", type(None): "null"}


def _show(value: object) -> str:
    """The value as it stood in the record, short, or its kind: `the string "2.13"`, `an array`."""
    if type(value) is str:
        return f"the string {_quote(value)}"
    if isinstance(value, str):
        return f"the number {_short(str(value))}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _KINDS.get(type(value), type(value).__name__)


def _quote(text: str) -> str:
    return _short(json.dumps(text[: _SHOWN_CHARS + 1]))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."
