"""Every legal record into its value, and every other one into its first fault; knows no quick way."""

from __future__ import annotations

from typing import Any

from service.wire.cloud_events import Attributes, EventHeaders, unwrap
from service.wire.data_point import NAN, Control, DataPoint, InvalidRecord, Reason, Written
from service.wire.limits import (
    MAX_ID_CHARS,
    MAX_NAME_CHARS,
    MAX_SOURCE_ID_CHARS,
    MOST_SENT_CHARS,
    InputLimits,
    latest_ms,
)
from service.wire.names import BARE, index_names, shared_names
from service.wire.rules import FaultError, checked_text, fault_of_text, quote, short, show
from service.wire.strict_json import Fraction, Integer, parse
from service.wire.timestamps import parse_rfc3339


def read_strict(
    value: bytes, headers: EventHeaders | None, record_time_ms: int, limits: InputLimits
) -> DataPoint | Control | InvalidRecord:
    """What the record says; never raises, whatever the bytes."""
    try:
        document = parse(value, limits)
        if type(document) is not dict:
            raise FaultError(Reason.NOT_AN_OBJECT, f"the record is {show(document)}, not an object")
        record, event = unwrap(document, headers)
        return _read(record, event, record_time_ms, limits)
    except FaultError as fault:
        return InvalidRecord(fault.reason, fault.detail)


def _read(
    record: dict[str, Any], event: Attributes, record_time_ms: int, limits: InputLimits
) -> DataPoint | Control:
    source_id = _read_source_id(record, event)
    time_ms, timed = _read_time_ms(record, event, record_time_ms, limits)
    control, values = record.get("control"), record.get("values")
    if control is not None:
        return Control(source_id, time_ms, _read_control(control, values))
    names, numbers = _read_values(values, limits)
    labels = _read_labels(record.get("labels"), limits)
    return DataPoint(source_id, time_ms, names, numbers, labels, _read_id(record, event), timed)


def _read_source_id(record: dict[str, Any], event: Attributes) -> str:
    source_id, what = record.get("sourceId"), "sourceId"
    if source_id is None:
        source_id, what = event.get("subject"), "the event's subject"
        if source_id is None or source_id == "":
            source_id, what = event.get("source"), "the event's source"
    if source_id is None:
        raise FaultError(Reason.MISSING_SOURCE_ID, "there is no sourceId")
    return checked_text(source_id, Reason.BAD_SOURCE_ID, what, 1, MAX_SOURCE_ID_CHARS)


def _read_time_ms(
    record: dict[str, Any], event: Attributes, record_time_ms: int, limits: InputLimits
) -> tuple[int, bool]:
    """The time, and whether the point or its event named it."""
    timestamp, what = record.get("timestamp"), "timestamp"
    if timestamp is None:
        timestamp, what = event.get("time"), "the event's time"
    if timestamp is None:
        time_ms, what = record_time_ms, "the record's own time"
    elif type(timestamp) is str:
        try:
            time_ms = parse_rfc3339(timestamp)
        except ValueError as error:
            raise FaultError(
                Reason.BAD_TIMESTAMP, f"{what} {show(timestamp)}: {short(ascii(str(error))[1:-1])}"
            ) from None
    elif type(timestamp) is Integer and what == "timestamp":
        # Twenty digits are past every limit, and int() would refuse some thousands of them.
        time_ms = int(timestamp[:20])
    else:
        wanted = "neither an RFC 3339 string nor an integer of epoch milliseconds"
        raise FaultError(Reason.BAD_TIMESTAMP, f"{what} is {show(timestamp)}, {wanted}")
    latest = latest_ms(record_time_ms, limits)
    if not 0 <= time_ms <= latest:
        shown = show(timestamp) if timestamp is not None else str(record_time_ms)
        bound = "before 1970" if time_ms < 0 else f"later than {latest} ms"
        raise FaultError(Reason.TIMESTAMP_OUT_OF_RANGE, f"{what} {shown} is {bound}")
    return time_ms, timestamp is not None


def _read_control(control: object, values: object) -> dict[str, Any]:
    if type(control) is not dict:
        raise FaultError(Reason.BAD_CONTROL, f"control is {show(control)}, not an object")
    if values is not None:
        raise FaultError(Reason.BAD_CONTROL, "control and values stand in the same record")
    return {name: _with_numbers(member, name) for name, member in control.items()}


def _with_numbers(value: Any, name: str) -> Any:
    """The value with its numbers made numbers; integers past 64 bits become floats."""
    kind = type(value)
    if kind is dict:
        return {inner: _with_numbers(member, inner) for inner, member in value.items()}
    if kind is list:
        return [_with_numbers(member, name) for member in value]
    if kind is Integer and len(value) <= 18:
        return int(value)
    return _number(value, f"control member {quote(name)}") if kind in (Integer, Fraction) else value


def _read_values(values: Any, limits: InputLimits) -> tuple[tuple[str, ...], tuple[float, ...]]:
    if values is None:
        raise FaultError(Reason.MISSING_VALUES, "there are no values")
    kind = type(values)
    if kind is dict:
        _check_count(len(values), limits)
        return shared_names(tuple(values)), tuple([_named_number(*entry) for entry in values.items()])
    if kind is list:
        _check_count(len(values), limits)
        names = index_names(len(values))
        return names, tuple(
            [_number_or_nan(number, name) for name, number in zip(names, values, strict=True)]
        )
    if kind is Integer or kind is Fraction:
        return BARE, (_written(values, "values"),)
    raise FaultError(Reason.BAD_VALUES, f"values is {show(values)}, no object, array or number")


def _check_count(count: int, limits: InputLimits) -> None:
    if count == 0:
        raise FaultError(Reason.BAD_VALUES, "values is empty")
    if count > limits.max_values:
        raise FaultError(Reason.TOO_MANY_VALUES, f"{count} values, more than {limits.max_values}")


def _named_number(name: str, number: object) -> float:
    fault = fault_of_text(name, 1, MAX_NAME_CHARS)
    if fault:
        raise FaultError(Reason.BAD_VALUE_NAME, f"the value name {quote(name)} {fault}")
    return _number_or_nan(number, name)


def _number_or_nan(number: object, name: str) -> float:
    if number is None:
        return NAN
    if type(number) is Integer or type(number) is Fraction:
        return _written(number, name)
    raise FaultError(Reason.BAD_VALUE, f"value {quote(name)} is {show(number)}, not a number")


def _written(digits: str, name: str) -> float:
    number = _number(digits, name)
    return Written(str(digits), number) if len(digits) <= MOST_SENT_CHARS else number


def _number(digits: str, name: str) -> float:
    number = float(digits) + 0.0 if type(digits) is Integer else float(digits)  # the integer -0 is 0.0
    if number - number != 0.0:
        raise FaultError(
            Reason.NON_FINITE_NUMBER, f"{quote(name)} is {short(str(digits))}, more than a double can hold"
        )
    return number


def _read_labels(labels: Any, limits: InputLimits) -> dict[str, str] | None:
    if labels is None:
        return None
    if type(labels) is not dict:
        raise FaultError(Reason.BAD_LABELS, f"labels is {show(labels)}, not an object")
    if len(labels) > limits.max_labels:
        raise FaultError(Reason.BAD_LABELS, f"{len(labels)} labels, more than {limits.max_labels}")
    for name, text in labels.items():
        checked_text(name, Reason.BAD_LABELS, f"the label name {quote(name)}", 1, MAX_NAME_CHARS)
        checked_text(text, Reason.BAD_LABELS, f"label {quote(name)}", 0, limits.max_label_chars)
    return labels or None


def _read_id(record: dict[str, Any], event: Attributes) -> str | None:
    point_id, what = record.get("id"), "id"
    if point_id is None:
        point_id, what = event.get("id"), "the event's id"
    return None if point_id is None else checked_text(point_id, Reason.BAD_ID, what, 1, MAX_ID_CHARS)
