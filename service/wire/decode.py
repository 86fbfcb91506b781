"""One input record into a value, or into the reason why it is none; knows no Kafka and no batch.

`decode` is the meaning of the input topic; `reader` is quicker, and gives exactly what it gives.

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
    upper bound, but cannot lend its time either. A point that took the record's time is not `timed`.
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

from service.wire.cloud_events import Headers, event_headers
from service.wire.data_point import NAN, Decoded, Forget, InvalidRecord, Reason
from service.wire.limits import MAX_SOURCE_ID_CHARS, InputLimits
from service.wire.rules import fault_of_text, short
from service.wire.strict import read_strict

__all__ = ["NAN", "Headers", "InputLimits", "decode"]


def decode(
    value: bytes | None,
    key: bytes | None,
    headers: Headers | None,
    record_time_ms: int,
    limits: InputLimits,
) -> Decoded:
    """What the record says; never raises, whatever the bytes.

    `record_time_ms` is Kafka's timestamp of the record, negative where it has none.
    """
    if value is None:
        return _tombstone(key, record_time_ms)
    return read_strict(value, event_headers(headers) if headers else None, record_time_ms, limits)


def _tombstone(key: bytes | None, record_time_ms: int) -> Forget | InvalidRecord:
    if key is None:
        return InvalidRecord(Reason.MISSING_SOURCE_ID, "a tombstone without a key")
    try:
        source_id = key.decode()
    except UnicodeDecodeError:
        return InvalidRecord(Reason.BAD_SOURCE_ID, f"the tombstone's key is not UTF-8: {short(repr(key))}")
    fault = fault_of_text(source_id, 1, MAX_SOURCE_ID_CHARS)
    if fault:
        return InvalidRecord(Reason.BAD_SOURCE_ID, f"the tombstone's key {fault}")
    return Forget(source_id, record_time_ms)
