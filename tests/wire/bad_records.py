"""Every kind of bad input record by name, with the reason that its dead letter must carry."""

from __future__ import annotations

from typing import NamedTuple

from service.wire.data_point import Reason


class BadRecord(NamedTuple):
    name: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    reason: Reason


def _bad(
    name: str,
    value: bytes | str | None,
    reason: Reason,
    headers: list[tuple[str, bytes]] | None = None,
    key: bytes | None = b"pump-7",
) -> BadRecord:
    return BadRecord(name, key, value.encode() if isinstance(value, str) else value, headers or [], reason)


def _point(
    source_id: str = '"pump-7"',
    timestamp: str = '"2026-01-01T00:00:00Z"',
    values: str = '{"p":1}',
    more: str = "",
) -> str:
    return f'{{"sourceId":{source_id},"timestamp":{timestamp},"values":{values}{more}}}'


_CE = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/mill"), ("ce_type", b"point")]
_STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
_FORBIDDEN = [
    *(*range(0x20), *range(0x7F, 0xA0)),  # control characters
    *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # bidirectional controls
    *(0x2028, 0x2029),  # line and paragraph separators
]

# All below a megabyte, so that they pass any broker.
BAD_RECORDS: list[BadRecord] = [
    # bytes
    _bad("an empty value", b"", Reason.NOT_JSON),
    _bad("white space only", b" \n", Reason.NOT_JSON),
    _bad("plain text", b"hello", Reason.NOT_JSON),
    _bad("cut short", _point()[:-1], Reason.NOT_JSON),
    _bad("two documents", _point() + _point(), Reason.NOT_JSON),
    _bad("a NUL after the document", _point() + "\0", Reason.NOT_JSON),
    _bad("a NUL inside a string", _point('"pu\0mp"'), Reason.NOT_JSON),
    _bad("a raw line break inside a string", _point('"pu\nmp"'), Reason.NOT_JSON),
    _bad("a byte order mark", b"\xef\xbb\xbf" + _point().encode(), Reason.NOT_JSON),
    _bad("a trailing comma", _point(more=","), Reason.NOT_JSON),
    _bad("a trailing comma in an array", _point(values="[1,]"), Reason.NOT_JSON),
    _bad("single quotes", "{'sourceId': 'pump-7', 'values': 1}", Reason.NOT_JSON),
    _bad("a comment", _point() + " // note", Reason.NOT_JSON),
    _bad("a number with a leading zero", _point(values="01"), Reason.NOT_JSON),
    _bad("a number with a bare point", _point(values="1."), Reason.NOT_JSON),
    _bad("a number with a plus", _point(values="+1"), Reason.NOT_JSON),
    _bad("a hexadecimal number", _point(values="0x10"), Reason.NOT_JSON),
    _bad("an unknown escape", _point(r'"\x41"'), Reason.NOT_JSON),
    _bad("a short escape", _point(r'"\u00"'), Reason.NOT_JSON),
    _bad("illegal JSON in an unknown member", _point(more=',"x":[1 2]'), Reason.NOT_JSON),
    _bad("five thousand quotes never closed", '{"x":"' + '\\"' * 5000, Reason.NOT_JSON),
    _bad("illegal JSON after a repeated key", '{"a":1,"a":2} x', Reason.NOT_JSON),
    _bad("illegal JSON after NaN", '{"a":NaN} x', Reason.NOT_JSON),
    _bad("not UTF-8", b'{"sourceId":"\xff","values":1}', Reason.NOT_UTF8),
    _bad("not UTF-8 in an unknown member", b'{"sourceId":"a","values":1,"x":"\xff"}', Reason.NOT_UTF8),
    _bad("not UTF-8 in an unknown key", b'{"sourceId":"a","values":1,"\xff":1}', Reason.NOT_UTF8),
    _bad("overlong UTF-8", b'{"sourceId":"\xc0\x80","values":1}', Reason.NOT_UTF8),
    _bad("a surrogate in UTF-8", b'{"sourceId":"\xed\xa0\x80","values":1}', Reason.NOT_UTF8),
    _bad("UTF-16", _point().encode("utf-16"), Reason.NOT_UTF8),
    _bad("Latin-1", _point('"ma\u00dfe"').encode("latin-1"), Reason.NOT_UTF8),
    _bad("compressed", bytes.fromhex("1f8b08000000000000ff"), Reason.NOT_UTF8),
    # depth
    _bad("5,000 arrays deep", "[" * 5000 + "]" * 5000, Reason.TOO_DEEP),
    _bad("5,000 arrays never closed", "[" * 5000, Reason.TOO_DEEP),
    _bad("5,000 objects deep", '{"a":' * 5000 + "1" + "}" * 5000, Reason.TOO_DEEP),
    _bad("5,000 deep in values", _point(values="[" * 5000 + "]" * 5000), Reason.TOO_DEEP),
    _bad("5,000 deep in an unknown member", _point(more=',"x":' + "[" * 5000 + "]" * 5000), Reason.TOO_DEEP),
    _bad("100,000 deep", '{"x":' + "[" * 100_000 + "]" * 100_000 + "}", Reason.TOO_DEEP),
    _bad("33 deep", _point(more=',"x":' + "[" * 32 + "]" * 32), Reason.TOO_DEEP),
    # keys, numbers and escapes that JSON leaves open
    _bad("sourceId twice", _point(more=',"sourceId":"pump-7"'), Reason.REPEATED_KEY),
    _bad("values twice", _point(more=',"values":1'), Reason.REPEATED_KEY),
    _bad("a value's name twice", _point(values='{"p":1,"p":1}'), Reason.REPEATED_KEY),
    _bad("a value's name twice, once escaped", _point(values=r'{"p":1,"\u0070":1}'), Reason.REPEATED_KEY),
    _bad("a label's name twice", _point(more=',"labels":{"a":"b","a":"b"}'), Reason.REPEATED_KEY),
    _bad("a key twice in an unknown member", _point(more=',"x":[{"y":1,"y":2}]'), Reason.REPEATED_KEY),
    _bad("an unknown key twice", _point(more=',"x":1,"x":1'), Reason.REPEATED_KEY),
    _bad("an empty key twice", _point(more=',"":1,"":1'), Reason.REPEATED_KEY),
    _bad("NaN", _point(values='{"p":NaN}'), Reason.NON_FINITE_NUMBER),
    _bad("Infinity", _point(values='{"p":Infinity}'), Reason.NON_FINITE_NUMBER),
    _bad("-Infinity", _point(values="[-Infinity]"), Reason.NON_FINITE_NUMBER),
    _bad("NaN in an unknown member", _point(more=',"x":NaN'), Reason.NON_FINITE_NUMBER),
    _bad("1e400", _point(values='{"p":1e400}'), Reason.NON_FINITE_NUMBER),
    _bad("-1e400 as the bare value", _point(values="-1e400"), Reason.NON_FINITE_NUMBER),
    _bad("just past the largest double", _point(values="1.7976931348623159e308"), Reason.NON_FINITE_NUMBER),
    _bad("an integer of 400 digits", _point(values="[" + "9" * 400 + "]"), Reason.NON_FINITE_NUMBER),
    _bad("an integer of 100,000 digits", _point(values="-" + "9" * 100_000), Reason.NON_FINITE_NUMBER),
    _bad("1e400 in a control record", '{"sourceId":"a","control":{"x":[1e400]}}', Reason.NON_FINITE_NUMBER),
    _bad("a lone high surrogate in sourceId", _point(r'"\ud800"'), Reason.LONE_SURROGATE),
    _bad("a lone low surrogate in sourceId", _point(r'"\uDC00x"'), Reason.LONE_SURROGATE),
    _bad("surrogates the wrong way round", _point(r'"\ude00\ud83d"'), Reason.LONE_SURROGATE),
    _bad("a lone surrogate in a value's name", _point(values=r'{"\ud800":1}'), Reason.LONE_SURROGATE),
    _bad("a lone surrogate in an unknown member", _point(more=r',"x":["\ud83d"]'), Reason.LONE_SURROGATE),
    # the record as a whole
    _bad("null", "null", Reason.NOT_AN_OBJECT),
    _bad("an array of points", f"[{_point()}]", Reason.NOT_AN_OBJECT),
    _bad("a number", "1.5", Reason.NOT_AN_OBJECT),
    _bad("a string", '"pump-7"', Reason.NOT_AN_OBJECT),
    _bad("true", "true", Reason.NOT_AN_OBJECT),
    # sourceId
    _bad("an empty object", "{}", Reason.MISSING_SOURCE_ID),
    _bad("no sourceId", '{"values":1}', Reason.MISSING_SOURCE_ID),
    _bad("sourceId null", _point("null"), Reason.MISSING_SOURCE_ID),
    _bad("sourceId in snake case", '{"source_id":"a","values":1}', Reason.MISSING_SOURCE_ID),
    _bad("sourceId a number", _point("7"), Reason.BAD_SOURCE_ID),
    _bad("sourceId true", _point("true"), Reason.BAD_SOURCE_ID),
    _bad("sourceId an array", _point('["a"]'), Reason.BAD_SOURCE_ID),
    _bad("sourceId empty", _point('""'), Reason.BAD_SOURCE_ID),
    _bad("sourceId of 257 characters", _point(f'"{"a" * 257}"'), Reason.BAD_SOURCE_ID),
    *[
        _bad(f"U+{code:04X} in sourceId, escaped", _point(f'"a\\u{code:04x}b"'), Reason.BAD_SOURCE_ID)
        for code in _FORBIDDEN
    ],
    *[
        _bad(f"U+{code:04X} in sourceId, raw", _point(f'"a{chr(code)}b"'), Reason.BAD_SOURCE_ID)
        for code in _FORBIDDEN
        if code >= 0x7F
    ],
    # timestamp
    _bad("timestamp text", _point(timestamp='"yesterday"'), Reason.BAD_TIMESTAMP),
    _bad("timestamp empty", _point(timestamp='""'), Reason.BAD_TIMESTAMP),
    _bad("timestamp without a zone", _point(timestamp='"2026-01-01T00:00:00"'), Reason.BAD_TIMESTAMP),
    _bad("timestamp a date", _point(timestamp='"2026-01-01"'), Reason.BAD_TIMESTAMP),
    _bad("timestamp of no day", _point(timestamp='"2026-02-29T00:00:00Z"'), Reason.BAD_TIMESTAMP),
    _bad("timestamp of no hour", _point(timestamp='"2026-01-01T24:00:00Z"'), Reason.BAD_TIMESTAMP),
    _bad("timestamp of no zone", _point(timestamp='"2026-01-01T00:00:00+24:00"'), Reason.BAD_TIMESTAMP),
    _bad("timestamp digits in a string", _point(timestamp='"1767225600000"'), Reason.BAD_TIMESTAMP),
    _bad("timestamp with a fraction", _point(timestamp="1767225600000.5"), Reason.BAD_TIMESTAMP),
    _bad("timestamp an integral float", _point(timestamp="1767225600000.0"), Reason.BAD_TIMESTAMP),
    _bad("timestamp with an exponent", _point(timestamp="1e12"), Reason.BAD_TIMESTAMP),
    _bad("timestamp true", _point(timestamp="true"), Reason.BAD_TIMESTAMP),
    _bad("timestamp an object", _point(timestamp="{}"), Reason.BAD_TIMESTAMP),
    _bad("a century ago", _point(timestamp='"1926-01-01T00:00:00Z"'), Reason.TIMESTAMP_OUT_OF_RANGE),
    _bad("the last millisecond of 1969", _point(timestamp="-1"), Reason.TIMESTAMP_OUT_OF_RANGE),
    _bad("a century ahead", _point(timestamp='"2126-01-01T00:00:00Z"'), Reason.TIMESTAMP_OUT_OF_RANGE),
    _bad("the last leap second", _point(timestamp='"9999-12-31T23:59:60Z"'), Reason.TIMESTAMP_OUT_OF_RANGE),
    _bad(
        "microseconds for milliseconds", _point(timestamp="1767225600000000"), Reason.TIMESTAMP_OUT_OF_RANGE
    ),
    _bad("timestamp of 5,000 digits", _point(timestamp="9" * 5000), Reason.TIMESTAMP_OUT_OF_RANGE),
    _bad(
        "timestamp of minus 5,000 digits", _point(timestamp="-" + "9" * 5000), Reason.TIMESTAMP_OUT_OF_RANGE
    ),
    # control
    _bad("control a string", '{"sourceId":"a","control":"stop"}', Reason.BAD_CONTROL),
    _bad("control an array", '{"sourceId":"a","control":[]}', Reason.BAD_CONTROL),
    _bad("control beside values", _point(more=',"control":{}'), Reason.BAD_CONTROL),
    # values
    _bad("no values", '{"sourceId":"a"}', Reason.MISSING_VALUES),
    _bad("values null", _point(values="null"), Reason.MISSING_VALUES),
    _bad("values an empty object", _point(values="{}"), Reason.BAD_VALUES),
    _bad("values an empty array", _point(values="[]"), Reason.BAD_VALUES),
    _bad("values a string", _point(values='"1.5"'), Reason.BAD_VALUES),
    _bad("values true", _point(values="true"), Reason.BAD_VALUES),
    _bad("1,025 values", _point(values="[" + ",".join(["1"] * 1025) + "]"), Reason.TOO_MANY_VALUES),
    _bad(
        "1,025 named values",
        _point(values="{" + ",".join(f'"{i}":1' for i in range(1025)) + "}"),
        Reason.TOO_MANY_VALUES,
    ),
    _bad("an empty value name", _point(values='{"":1}'), Reason.BAD_VALUE_NAME),
    _bad("a value name of 129 characters", _point(values=f'{{"{"a" * 129}":1}}'), Reason.BAD_VALUE_NAME),
    _bad("NUL in a value name", _point(values=r'{"a\u0000":1}'), Reason.BAD_VALUE_NAME),
    _bad("a bidi override in a value name", _point(values='{"\u202e":1}'), Reason.BAD_VALUE_NAME),
    _bad("a number as a string", _point(values='{"p":"1.5"}'), Reason.BAD_VALUE),
    _bad("a value true", _point(values='{"p":true}'), Reason.BAD_VALUE),
    _bad("a value false in an array", _point(values="[1,false]"), Reason.BAD_VALUE),
    _bad("a value an object", _point(values='{"p":{"q":1}}'), Reason.BAD_VALUE),
    _bad("a value an array", _point(values="[[1]]"), Reason.BAD_VALUE),
    # labels and id
    _bad("labels a string", _point(more=',"labels":"a"'), Reason.BAD_LABELS),
    _bad("labels an array", _point(more=',"labels":["a"]'), Reason.BAD_LABELS),
    _bad("a label a number", _point(more=',"labels":{"a":1}'), Reason.BAD_LABELS),
    _bad("a label null", _point(more=',"labels":{"a":null}'), Reason.BAD_LABELS),
    _bad("a label with a line break", _point(more=r',"labels":{"a":"b\nc"}'), Reason.BAD_LABELS),
    _bad("an empty label name", _point(more=',"labels":{"":"b"}'), Reason.BAD_LABELS),
    _bad("a label name too long", _point(more=f',"labels":{{"{"a" * 129}":"b"}}'), Reason.BAD_LABELS),
    _bad("a label too long", _point(more=f',"labels":{{"a":"{"b" * 1025}"}}'), Reason.BAD_LABELS),
    _bad(
        "65 labels",
        _point(more=',"labels":{' + ",".join(f'"{i}":"x"' for i in range(65)) + "}"),
        Reason.BAD_LABELS,
    ),
    _bad("id a number", _point(more=',"id":7'), Reason.BAD_ID),
    _bad("id empty", _point(more=',"id":""'), Reason.BAD_ID),
    _bad("id of 257 characters", _point(more=f',"id":"{"a" * 257}"'), Reason.BAD_ID),
    _bad("id with an escape sequence", _point(more=r',"id":"\u001b[2J"'), Reason.BAD_ID),
    # tombstones
    _bad("a tombstone without a key", None, Reason.MISSING_SOURCE_ID, key=None),
    _bad("a tombstone with an empty key", None, Reason.BAD_SOURCE_ID, key=b""),
    _bad("a tombstone whose key is not UTF-8", None, Reason.BAD_SOURCE_ID, key=b"\xff"),
    _bad("a tombstone whose key has a NUL", None, Reason.BAD_SOURCE_ID, key=b"a\0"),
    _bad("a tombstone whose key is too long", None, Reason.BAD_SOURCE_ID, key=b"a" * 257),
    # CloudEvents
    _bad("a batch of events", f"[{_point()}]", Reason.NOT_AN_OBJECT, _STRUCTURED),
    _bad("an event of another version", '{"specversion":"0.3","data":{}}', Reason.BAD_CLOUD_EVENT),
    _bad("an event whose data is a string", '{"specversion":"1.0","data":"{}"}', Reason.BAD_CLOUD_EVENT),
    _bad("an event in base 64", '{"specversion":"1.0","data_base64":"e30="}', Reason.BAD_CLOUD_EVENT),
    _bad("an event that is a plain point", _point(), Reason.BAD_CLOUD_EVENT, _STRUCTURED),
    _bad("an event without data", '{"specversion":"1.0","id":"1"}', Reason.BAD_CLOUD_EVENT, _STRUCTURED),
    _bad(
        "an event in Avro",
        _point(),
        Reason.BAD_CLOUD_EVENT,
        [("content-type", b"application/cloudevents+avro")],
    ),
    _bad("a binary event of another version", _point(), Reason.BAD_CLOUD_EVENT, [("ce_specversion", b"2.0")]),
    _bad("a binary event not in UTF-8", _point(), Reason.BAD_CLOUD_EVENT, [*_CE, ("ce_id", b"\xff")]),
    _bad(
        "a binary event of a bad subject", '{"values":1}', Reason.BAD_SOURCE_ID, [*_CE, ("ce_subject", b"\0")]
    ),
    _bad(
        "a binary event of a bad time",
        '{"sourceId":"a","values":1}',
        Reason.BAD_TIMESTAMP,
        [*_CE, ("ce_time", b"1767225600000")],
    ),
    _bad(
        "an event's bad id",
        '{"specversion":"1.0","id":7,"data":{"sourceId":"a","values":1}}',
        Reason.BAD_ID,
    ),
    _bad(
        "an event in an event",
        '{"specversion":"1.0","data":{"specversion":"1.0","data":{"sourceId":"a","values":1}}}',
        Reason.MISSING_SOURCE_ID,
    ),
]

# More than a broker takes by its own defaults.
HUGE_RECORDS: list[BadRecord] = [
    _bad("10 MB of one string", _point(more=',"x":"' + "a" * 10_000_000 + '"'), Reason.TOO_LARGE),
    _bad("10 MB of brackets", "[" * 10_000_000, Reason.TOO_LARGE),
    _bad("10 MB that are not UTF-8", b"\xff" * 10_000_000, Reason.TOO_LARGE),
    _bad("one byte too many", _point() + " " * (1024 * 1024 + 1 - len(_point())), Reason.TOO_LARGE),
]
