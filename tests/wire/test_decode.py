from __future__ import annotations

import json
import math
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.wire.batch import written
from service.wire.data_point import Control, DataPoint, Decoded, Forget, InvalidRecord, Reason
from service.wire.decode import NAN, Headers, InputLimits, decode
from service.wire.strict import read_strict
from service.wire.timestamps import MAX_TIME_MS
from tests.wire.bad_records import BAD_RECORDS, HUGE_RECORDS, BadRecord
from tests.wire.reading import point_of, read_quickly, read_together

LIMITS = InputLimits()
NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


def read(value: bytes | str, headers: Headers | None = None, limits: InputLimits = LIMITS) -> Decoded:
    return decode(value.encode() if isinstance(value, str) else value, b"key", headers, NOW_MS, limits)


def read_point(value: bytes | str, headers: Headers | None = None) -> DataPoint:
    point = read(value, headers)
    assert isinstance(point, DataPoint), point
    return point


def reason_of(decoded: Decoded) -> Reason:
    assert isinstance(decoded, InvalidRecord), decoded
    return decoded.reason


# ------------------------------------------------------------------------------------ bad records


@pytest.mark.parametrize("bad", [*BAD_RECORDS, *HUGE_RECORDS], ids=lambda bad: bad.name)
def test_each_bad_record_is_refused_for_its_own_reason(bad: BadRecord) -> None:
    decoded = decode(bad.value, bad.key, bad.headers, NOW_MS, LIMITS)
    assert isinstance(decoded, InvalidRecord), decoded
    assert decoded.reason is bad.reason, decoded
    assert decoded.detail.isascii()
    assert decoded.detail.isprintable()
    assert 0 < len(decoded.detail) < 250


def test_every_reason_has_a_bad_record() -> None:
    assert {bad.reason for bad in (*BAD_RECORDS, *HUGE_RECORDS)} == set(Reason)


def test_bad_records_have_names_of_their_own() -> None:
    assert len({bad.name for bad in BAD_RECORDS}) == len(BAD_RECORDS)


def test_details_name_the_thing_and_the_value() -> None:
    wrong = read('{"sourceId":"a","values":{"flow":"8.4"}}')
    assert wrong == InvalidRecord(Reason.BAD_VALUE, 'value "flow" is the string "8.4", not a number')
    late = read('{"sourceId":"a\\u202eb","values":1}')
    assert late == InvalidRecord(Reason.BAD_SOURCE_ID, 'sourceId holds the character U+202E: "a\\u202eb"')


def test_the_first_fault_in_the_documented_order_is_reported() -> None:
    faults = [
        ('{"a":NaN,"a":1', Reason.NOT_JSON),
        ('{"a":1,"a":2,"sourceId":"\\ud800"}', Reason.REPEATED_KEY),
        ('{"sourceId":"\\ud800","timestamp":"x"}', Reason.LONE_SURROGATE),
        ('{"timestamp":"x","values":[]}', Reason.MISSING_SOURCE_ID),
        ('{"values":[],"timestamp":"x","sourceId":"a"}', Reason.BAD_TIMESTAMP),
        ('{"labels":1,"values":[],"sourceId":"a"}', Reason.BAD_VALUES),
        ('{"sourceId":"a","values":{"a":true,"":1}}', Reason.BAD_VALUE),
        ('{"sourceId":"a","values":{"":1,"a":true}}', Reason.BAD_VALUE_NAME),
        ('{"id":1,"labels":1,"values":1,"sourceId":"a"}', Reason.BAD_LABELS),
    ]
    assert [reason_of(read(value)) for value, _ in faults] == [reason for _, reason in faults]


def test_nesting_is_no_danger_in_a_thread_with_a_small_stack() -> None:
    seen: list[Decoded] = []
    deep = b'{"x":' + b"[" * 400_000 + b"]" * 400_000 + b"}"
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: seen.append(read(deep)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert reason_of(seen[0]) is Reason.TOO_DEEP


# ----------------------------------------------------------------------------------- good records


COMMON = [
    ('{"sourceId": "pump-7", "timestamp": "2026-01-01T00:00:00Z", "values": {"p": 2.13, "q": 8.4}}', NOW_MS),
    ('{"sourceId":"pump-7","timestamp":1767225600000,"values":{"p":2.13,"q":8.4}}', NOW_MS),
    ('{"sourceId":"pump-7","values":{"p":2.13,"q":8.4}}', NOW_MS),
    ('{"values":{"p":213e-2,"q":8.40},"sourceId":"pump-7"}', NOW_MS),
    (
        '{"sourceId":"pump-7","timestamp":"2026-01-01T00:00:01.5+00:00","values":{"p":2.13,"q":8.4}}',
        NOW_MS + 1500,
    ),
    (
        '{"sourceId":"pump-7","timestamp":"2026-01-01T00:00:01.500Z","values":{"p":2.13,"q":8.4}}',
        NOW_MS + 1500,
    ),
    (
        '{"sourceId":"pump-7","timestamp":"2026-01-01T02:00:01.500999+02:00","values":{"p":2.13,"q":8.4}}',
        NOW_MS + 1500,
    ),
]


@pytest.mark.parametrize(("value", "time_ms"), COMMON)
def test_common_forms_are_read_quickly(value: str, time_ms: int) -> None:
    timed = "timestamp" in value
    expected = DataPoint("pump-7", time_ms, ("p", "q"), (2.13, 8.4), timed=timed)
    assert read(value) == expected
    assert read_quickly(value.encode(), NOW_MS, LIMITS) == expected
    assert read_strict(value.encode(), None, NOW_MS, LIMITS) == expected


def test_colons_in_texts_do_not_hide_a_repeated_key() -> None:
    value = '{"sourceId":"a:b","id":"c:d","values":{"x:y":1},"labels":{"k:l":"m:n"}}'
    assert read_quickly(value.encode(), NOW_MS, LIMITS) == read_strict(value.encode(), None, NOW_MS, LIMITS)
    for repeated in (
        value.replace('"a:b"', '"a:b","sourceId":"a:b"'),
        value.replace('"x:y":1', '"x:y":1,"x:y":1'),
        value.replace('"m:n"', '"m:n","k:l":"m:n"'),
        value.replace('"a:b"', '"ab","sourceId":"ab"'),
    ):
        assert reason_of(read(repeated)) is Reason.REPEATED_KEY
        assert read_quickly(repeated.encode(), NOW_MS, LIMITS) is None


def test_array_values_are_named_by_their_place() -> None:
    point = read_point('{"sourceId":"a","values":[1,null,3]}')
    assert (point.names, point.values) == (("0", "1", "2"), (1.0, NAN, 3.0))


def test_a_bare_number_is_named_value() -> None:
    assert read_point('{"sourceId":"a","values":7}') == DataPoint(
        "a", NOW_MS, ("value",), (7.0,), timed=False
    )


@pytest.mark.parametrize("values", ["[null]", '{"0":null}'])
def test_a_point_of_nulls_is_legal_and_all_missing(values: str) -> None:
    point = read_point(f'{{"sourceId":"a","values":{values}}}')
    assert len(point.values) == 1
    assert math.isnan(point.values[0])


@pytest.mark.parametrize(
    ("digits", "number"),
    [
        ("0", "0.0"),
        ("-0", "0.0"),
        ("-0.0", "-0.0"),
        ("1e-400", "0.0"),
        ("5e-324", "5e-324"),
        ("9007199254740993", "9007199254740992.0"),
        ("18446744073709551616", "1.8446744073709552e+19"),
        ("1.7976931348623158e308", "1.7976931348623157e+308"),
        ("1" + "0" * 308, "1e+308"),
        ("0." + "0" * 400 + "1", "0.0"),
        ("1E+5", "100000.0"),
    ],
)
def test_numbers_are_the_nearest_double_however_written(digits: str, number: str) -> None:
    for values in (f"[{digits}]", f'{{"p":{digits}}}', digits):
        value = f'{{"sourceId":"a","values":{values}}}'
        assert repr(read_point(value).values[0]) == number
        strict = read_strict(value.encode(), None, NOW_MS, LIMITS)
        assert repr(strict) == repr(read(value))


def test_null_members_count_as_absent() -> None:
    value = '{"sourceId":"a","timestamp":null,"values":1,"labels":null,"id":null,"control":null}'
    assert read_point(value) == DataPoint("a", NOW_MS, ("value",), (1.0,), timed=False)


def test_labels_and_id_are_carried() -> None:
    point = read_point('{"sourceId":"a","values":1,"labels":{"site":"n\\u00f6rd","note":""},"id":"x-1"}')
    assert (point.labels, point.id) == ({"site": "nörd", "note": ""}, "x-1")
    assert read_point('{"sourceId":"a","values":1,"labels":{}}').labels is None


def test_unknown_members_are_ignored_whatever_their_numbers() -> None:
    value = '{"sourceId":"a","values":1,"unit":"bar","x":[{"y":1e400}, ' + "9" * 6000 + "]}"
    assert read_point(value) == DataPoint("a", NOW_MS, ("value",), (1.0,), timed=False)


def test_a_plain_point_may_have_members_that_events_have_too() -> None:
    value = '{"sourceId":"a","values":1,"specversion":"7","data":1,"source":"s","subject":"t","time":"x"}'
    assert read_point(value) == DataPoint("a", NOW_MS, ("value",), (1.0,), timed=False)


@pytest.mark.parametrize(
    "source_id",
    ["a", "a" * 256, "pump 7", "Pümpe/7:λ", "\U0001f600" * 256, "\u200d", "\ufeff", "\u00a0", "<b>&"],
)
def test_any_text_without_control_characters_is_a_source(source_id: str) -> None:
    for ascii_only in (True, False):
        value = json.dumps({"sourceId": source_id, "values": {source_id[:128]: 1}}, ensure_ascii=ascii_only)
        point = read_point(value)
        assert (point.source_id, point.names) == (source_id, (source_id[:128],))


def test_points_of_one_shape_share_their_names() -> None:
    first = read_point('{"sourceId":"a","values":{"p":1,"q":2}}')
    second = read_point('{"sourceId":"b","values":{"p":3,"q":4},"unit":"bar"}')
    assert first.names is second.names


def test_thirty_two_brackets_deep_is_legal_and_brackets_in_texts_do_not_count() -> None:
    nested = "[" * 31 + "]" * 31
    value = f'{{"sourceId":"{"[" * 99}","values":1,"x":{nested},"y":"{"{" * 99}\\"[[","z":[[],[],{{}}]}}'
    assert read_point(value).source_id == "[" * 99


def test_a_record_of_exactly_the_size_limit_is_legal() -> None:
    limits = InputLimits.model_validate({"max_record_bytes": "64B"})
    value = '{"sourceId":"a","values":1}'
    assert isinstance(read(value + " " * (64 - len(value)), limits=limits), DataPoint)
    assert reason_of(read(value + " " * (65 - len(value)), limits=limits)) is Reason.TOO_LARGE


# ---------------------------------------------------------------------------------------- times


def test_the_future_ends_max_future_after_the_record_and_at_the_year_9999() -> None:
    limits = InputLimits.model_validate({"max_future": "1m"})
    for path in (read_quickly, lambda v, t, c: read_strict(v, None, t, c)):
        legal = path(b'{"sourceId":"a","values":1,"timestamp":1060000}', 1_000_000, limits)
        assert isinstance(legal, DataPoint)
        assert not isinstance(
            path(b'{"sourceId":"a","values":1,"timestamp":1060001}', 1_000_000, limits), DataPoint
        )
    value = f'{{"sourceId":"a","values":1,"timestamp":{MAX_TIME_MS}}}'.encode()
    assert isinstance(decode(value, None, None, MAX_TIME_MS - 1, LIMITS), DataPoint)
    beyond = value.replace(b"}", b"0}")
    assert reason_of(decode(beyond, None, None, MAX_TIME_MS - 1, LIMITS)) is Reason.TIMESTAMP_OUT_OF_RANGE


def test_a_record_without_a_time_sets_no_bound_but_lends_no_time() -> None:
    dated = b'{"sourceId":"a","values":1,"timestamp":"2126-01-01T00:00:00Z"}'
    assert isinstance(decode(dated, None, None, -1, LIMITS), DataPoint)
    undated = b'{"sourceId":"a","values":1}'
    assert reason_of(decode(undated, None, None, -1, LIMITS)) is Reason.TIMESTAMP_OUT_OF_RANGE


@pytest.mark.parametrize(
    ("member", "timed"),
    [
        ("", False),
        (',"timestamp":null', False),
        (',"timestamp":0', True),
        (f',"timestamp":{NOW_MS}', True),
        (',"timestamp":"2026-01-01T00:00:00Z"', True),
    ],
)
@pytest.mark.parametrize("unknown", ["", ',"unit":"bar"'])
def test_a_point_is_timed_if_it_names_its_time_itself(member: str, timed: bool, unknown: str) -> None:
    value = f'{{"sourceId":"a","values":1{member}{unknown}}}'.encode()
    strict = read_strict(value, None, NOW_MS, LIMITS)
    assert isinstance(strict, DataPoint)
    assert strict.timed is timed
    assert read_quickly(value, NOW_MS, LIMITS) == strict
    assert read_point(value) == strict


# ---------------------------------------------------------------------------- control, tombstones


def test_a_control_record_is_handed_on_with_plain_numbers() -> None:
    value = (
        '{"sourceId":"a","timestamp":5,"control":'
        '{"feedback":"false_alarm","n":1,"f":0.5,"big":12345678901234567890,"l":[true,null,{"x":-0}]}}'
    )
    control = {
        "feedback": "false_alarm",
        "n": 1,
        "f": 0.5,
        "big": 12345678901234567890.0,
        "l": [True, None, {"x": 0}],
    }
    decoded = read(value)
    assert decoded == Control("a", 5, control)
    assert isinstance(decoded, Control)
    assert {type(decoded.control[name]) for name in ("n", "f", "big")} == {int, float}


def test_a_tombstone_forgets_the_source_of_its_key() -> None:
    assert decode(None, "pümp".encode(), None, NOW_MS, LIMITS) == Forget("pümp", NOW_MS)
    assert decode(None, b"a", [("ce_specversion", b"1.0")], NOW_MS, LIMITS) == Forget("a", NOW_MS)


# ----------------------------------------------------------------------------------- CloudEvents

BINARY: Headers = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_source", b"/mill/3"),
    ("ce_type", b"reading"),
    ("ce_time", b"2026-01-01T00:00:01Z"),
    ("content-type", b"application/json"),
]
STRUCTURED: Headers = [("content-type", b"Application/CloudEvents+JSON; charset=UTF-8")]


def test_a_binary_event_fills_in_what_the_point_lacks() -> None:
    assert read_point('{"values":1}', BINARY) == DataPoint(
        "/mill/3", NOW_MS + 1000, ("value",), (1.0,), None, "e-1"
    )
    full = '{"sourceId":"a","timestamp":5,"values":1,"id":"x"}'
    assert read_point(full, BINARY) == DataPoint("a", 5, ("value",), (1.0,), None, "x")


def test_an_events_time_makes_its_point_timed() -> None:
    untimed = [header for header in BINARY if header[0] != "ce_time"]
    assert read_point('{"values":1}', BINARY).timed
    assert read_point('{"values":1,"timestamp":5}', untimed).timed
    assert not read_point('{"values":1}', untimed).timed
    event = '{"specversion":"1.0","source":"a"%s,"data":{"values":1}}'
    for headers in (None, STRUCTURED):
        assert read_point(event % ',"time":"2026-01-01T00:00:00Z"', headers).timed
        assert not read_point(event % "", headers).timed
        assert not read_point(event % ',"time":null', headers).timed


def test_a_record_in_both_modes_is_structured() -> None:
    event = '{"specversion":"1.0","source":"a","id":"inner","data":{"values":1}}'
    assert read_point(event, [*BINARY, *STRUCTURED]).id == "inner"
    refused = read(event, [*BINARY, ("content-type", b"application/cloudevents-batch+json")])
    assert reason_of(refused) is Reason.BAD_CLOUD_EVENT


def test_an_events_subject_comes_before_its_source() -> None:
    assert read_point('{"values":1}', [*BINARY, ("ce_subject", b"pump-7")]).source_id == "pump-7"
    assert read_point('{"values":1}', [*BINARY, ("ce_subject", b"")]).source_id == "/mill/3"


def test_of_repeated_headers_the_last_counts() -> None:
    assert read_point('{"values":1}', [*BINARY, ("ce_id", b"e-2")]).id == "e-2"


def test_attributes_that_are_not_needed_are_not_judged() -> None:
    headers = [*BINARY, ("ce_time", b"soon"), ("ce_id", b"\0")]
    assert read_point('{"sourceId":"a","timestamp":5,"values":1,"id":"x"}', headers).id == "x"


@pytest.mark.parametrize("headers", [None, [], STRUCTURED, [("content-type", b"application/json")]])
def test_a_structured_event_is_known_by_its_header_or_its_members(headers: Headers | None) -> None:
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/mill/3",
        "subject": "pump-7",
        "type": "reading",
        "time": "2026-01-01T00:00:01Z",
        "data": {"values": {"p": 1}},
    }
    assert read_point(json.dumps(event), headers) == DataPoint(
        "pump-7", NOW_MS + 1000, ("p",), (1.0,), None, "e-1"
    )


def test_a_control_record_may_come_as_an_event() -> None:
    value = '{"specversion":"1.0","data":{"sourceId":"a","control":{"x":1}}}'
    assert read(value) == Control("a", NOW_MS, {"x": 1})


def test_other_headers_change_nothing() -> None:
    headers = [("traceparent", b"00-1"), ("content-type", b"\xff"), ("ce_id", b"e")]
    assert read_point('{"sourceId":"a","values":1}', headers) == DataPoint(
        "a", NOW_MS, ("value",), (1.0,), timed=False
    )


# ---------------------------------------------------------------------------------------- limits


def test_limits_refuse_unknown_names_and_changes() -> None:
    with pytest.raises(ValidationError):
        InputLimits.model_validate({"max_recrod_bytes": 1})
    with pytest.raises(ValidationError):
        LIMITS.max_depth = 5  # type: ignore[misc]  # the very thing that is refused


# ------------------------------------------------------------------------------------ properties


def check_paths_agree(value: bytes, record_time_ms: int = NOW_MS) -> Decoded:
    """Both readers agree, NaN, -0.0 and spellings included; and what comes out keeps the promises."""
    decoded = decode(value, None, None, record_time_ms, LIMITS)
    quick = read_quickly(value, record_time_ms, LIMITS)
    together = read_together([value], record_time_ms, LIMITS)
    if isinstance(decoded, DataPoint):
        for point in (point_of(together.points, 0), quick):
            if point is not None:
                assert repr(point) == repr(decoded), value
                assert list(map(written, point.values)) == list(map(written, decoded.values)), value
        assert len(decoded.names) == len(decoded.values) == len(set(decoded.names)) > 0
        assert all(isinstance(v, float) and not math.isinf(v) for v in decoded.values)
        decoded.source_id.encode()
    else:
        assert quick is None, value
        assert together.others == {0: decoded}
    if isinstance(decoded, InvalidRecord):
        assert decoded.detail.isascii()
        assert decoded.detail.isprintable()
        assert len(decoded.detail) < 250
    return decoded


WORDS = [
    "sourceId",
    "timestamp",
    "values",
    "labels",
    "id",
    "control",
    "a",
    "b",
    "a:b",
    "data",
    "specversion",
    "",
]
names = st.sampled_from(WORDS) | st.text(max_size=5)


@st.composite
def quoted(draw: st.DrawFn, texts: st.SearchStrategy[str] = names) -> str:
    """A JSON string, some of its characters escaped in one of the possible ways, some wrongly."""
    out = []
    for char in draw(texts):
        way = draw(st.sampled_from(["raw"] * 12 + ["escape", "\\ud800", "\\x", "\\u00e9", "\\/", ":"]))
        out.append(
            json.dumps(char)[1:-1] if way == "raw" else f"\\u{ord(char):04x}"[:6] if way == "escape" else way
        )
    return '"' + "".join(out) + '"'


numbers = (
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers().map(str)
    | st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
    | st.sampled_from(
        [
            "NaN",
            "Infinity",
            "-Infinity",
            "1e400",
            "-1e400",
            "1" * 310,
            "9" * 308,
            "-0",
            "01",
            "1.",
            ".5",
            "+1",
            "1e5",
        ]
    )
)
times = st.sampled_from(
    [
        '"2026-01-01T00:00:00Z"',
        '"2026-01-01T00:00:00.5Z"',
        '"2026-01-01T00:00:00.123456+00:00"',
        '"2016-12-31T23:59:60Z"',
        '"2026-02-30T00:00:00Z"',
        '"2026-01-01t00:00:00z"',
        "1767225600000",
        "0",
        "-1",
        "1e3",
        "1767225600000.0",
    ]
)
odd = st.sampled_from(["null", "true", "false", "[]", "{}", '""', "nul", "[1,]", "[[1]]", '{"a":1,"a":2}'])
gaps = st.sampled_from(["", "", "", " ", "\n", "\t", "\r", "\v", "\xa0"])


def objects(keys: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.tuples(keys, gaps, values, gaps), max_size=4)
    return members.map(lambda ms: "{" + ",".join(f"{k}{g}:{h}{v}" for k, g, v, h in ms) + "}")


entries = numbers | numbers | st.just("null") | odd
values_texts = (
    objects(quoted(), entries)
    | st.lists(entries, max_size=4).map(lambda e: f"[{','.join(e)}]")
    | numbers
    | odd
)
member = st.one_of(
    st.tuples(st.just('"sourceId"'), quoted() | odd),
    st.tuples(st.just('"timestamp"'), times | numbers | odd),
    st.tuples(st.just('"values"'), values_texts),
    st.tuples(st.just('"labels"'), objects(quoted(), quoted() | odd)),
    st.tuples(st.just('"id"'), quoted() | odd),
    st.tuples(quoted(), odd | numbers | quoted() | values_texts),
)
near_points = st.tuples(
    st.tuples(quoted(), times, values_texts), st.lists(member, max_size=3), gaps, st.integers(0, 7)
).map(
    lambda t: (
        "{"
        + ",".join(
            f"{name}{t[2]}:{value}"
            for name, value in [
                *[
                    pair
                    for bit, pair in enumerate(
                        zip(('"sourceId"', '"timestamp"', '"values"'), t[0], strict=True)
                    )
                    if t[3] >> bit & 1 or t[3] == 0
                ],
                *t[1],
            ]
        )
        + "}"
        + t[2]
    )
)


@settings(max_examples=1500, deadline=None)
@given(near_points)
def test_both_paths_agree_on_records_that_are_nearly_points(value: str) -> None:
    check_paths_agree(value.encode(errors="surrogatepass"))


good_names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"]), min_size=1, max_size=8
)
finite = st.floats(allow_nan=False, allow_infinity=False)
plain_points = st.fixed_dictionaries(
    {
        "sourceId": good_names,
        "values": st.dictionaries(good_names, finite | st.none(), min_size=1, max_size=5)
        | st.lists(finite | st.none(), min_size=1, max_size=5)
        | finite,
    },
    optional={
        "timestamp": st.integers(0, NOW_MS),
        "labels": st.dictionaries(good_names, good_names, max_size=3),
        "id": good_names,
    },
)


@settings(max_examples=500, deadline=None)
@given(plain_points, st.booleans(), st.sampled_from([None, (",", ":"), (" , ", " : ")]))
def test_every_legal_point_is_read_as_it_was_written(
    point: dict[str, object], ascii_only: bool, separators: tuple[str, str] | None
) -> None:
    value = json.dumps(point, ensure_ascii=ascii_only, separators=separators).encode()
    decoded = check_paths_agree(value)
    assert isinstance(decoded, DataPoint), decoded
    values = point["values"]
    if isinstance(values, list):
        values = {str(i): number for i, number in enumerate(values)}
    elif not isinstance(values, dict):
        values = {"value": values}
    numbers_read = [None if math.isnan(v) else v for v in decoded.values]
    assert dict(zip(decoded.names, numbers_read, strict=True)) == values
    assert decoded.source_id == point["sourceId"]
    assert decoded.time_ms == point.get("timestamp", NOW_MS)
    assert decoded.timed is ("timestamp" in point)
    assert decoded.labels == (point.get("labels") or None)
    assert decoded.id == point.get("id")


BASES = [value.encode() for value, _ in COMMON] + [
    b'{"sourceId":"a:b","id":"c:d","values":{"x:y":1},"labels":{"k:l":"m:n"}}',
    b'{"sourceId":"a","values":[1,null,-0,1e5]}',
    b'{"sourceId":"\xc3\xa9","values":{"\xf0\x9f\x98\x80":1},"x":[{"y":[1,2,"\\u00e9"]}]}',
]
PIECES = [
    *(b'"', b"\\", b":", b",", b"{", b"}", b"[", b"]", b"0", b"-", b"e9", b".", b"null", b"NaN", b"true"),
    *(b'"values":1,', b'"a":1,', b"\\ud800", b"\\u0061"),
    *(b"\xff", b"\x00", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"[" * 40, b"1" * 400),
]


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(BASES), st.data())
def test_both_paths_agree_on_points_with_pieces_cut_copied_and_put_in(
    base: bytes, data: st.DataObject
) -> None:
    value = bytearray(base)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value)))
        to = data.draw(st.integers(at, min(len(value), at + 30)))
        match data.draw(st.sampled_from(["cut", "copy", "put", "byte"])):
            case "cut":
                del value[at:to]
            case "copy":
                value[at:at] = value[at:to]
            case "put":
                value[at:at] = data.draw(st.sampled_from(PIECES))
            case _:
                value[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
    check_paths_agree(bytes(value))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60) | json_like.map(lambda j: json.dumps(j).encode()))
@example(b'{"a":' * 20_000)
@example(b'"\\')
@example(b"\xef\xbb\xbf")
def test_no_bytes_raise(value: bytes) -> None:
    check_paths_agree(value)
    check_paths_agree(value, record_time_ms=-1)
    for headers in (
        BINARY,
        STRUCTURED,
        [("content-type", value), ("ce_specversion", value), ("ce_time", value)],
    ):
        decode(value, value, headers, NOW_MS, LIMITS)
    decode(None, value, None, NOW_MS, LIMITS)


def test_each_bad_record_is_refused_on_both_paths() -> None:
    for bad in BAD_RECORDS:
        if bad.value is not None and not bad.headers:
            assert reason_of(check_paths_agree(bad.value)) is bad.reason
