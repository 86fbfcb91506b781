from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commands.feed_files import (
    DEFAULTS,
    FeedError,
    FeedOptions,
    _number,
    count_points,
    csv_layout,
    read_points,
    read_timed_points,
)
from service.wire.data_point import DataPoint
from service.wire.decode import InputLimits, decode

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes text (or bytes) under a name, packed if the name ends in .gz."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def records(paths: Path | list[Path], options: FeedOptions = DEFAULTS) -> list[dict[str, Any]]:
    """The messages, each checked to be a legal data point under its own key, and to be counted."""
    listed = paths if isinstance(paths, list) else [paths]
    found = []
    for source_id, body in read_points(listed, options):
        point = decode(body, None, None, 1_767_225_600_000, InputLimits())
        assert isinstance(point, DataPoint), point
        assert point.source_id == source_id
        found.append(json.loads(body))
    assert count_points(listed, options) == len(found)
    return found


def error_of(paths: Path | list[Path], options: FeedOptions = DEFAULTS) -> str:
    with pytest.raises(FeedError) as caught:
        list(read_points(paths if isinstance(paths, list) else [paths], options))
    return str(caught.value)


# ------------------------------------------------------------------- the forms of known data sets


def test_nab_form(write: Write) -> None:
    path = write("nab.csv", "timestamp,value\n2014-04-01 00:00:00,20.0\n2014-04-01 00:05:00,0.0819647355164")
    assert records(path) == [
        {"sourceId": "nab", "timestamp": "2014-04-01T00:00:00Z", "values": {"value": 20.0}},
        {"sourceId": "nab", "timestamp": "2014-04-01T00:05:00Z", "values": {"value": 0.0819647355164}},
    ]


def test_skab_form(write: Write) -> None:
    path = write(
        "valve1_0.csv",
        "datetime;Current;Volume Flow RateRMS;anomaly;changepoint\n"
        "2020-03-01 15:44:06;1.27794;-76.0197;0.0;1.0\n",
    )
    assert records(path) == [
        {
            "sourceId": "valve1_0",
            "timestamp": "2020-03-01T15:44:06Z",
            "values": {"Current": 1.27794, "Volume Flow RateRMS": -76.0197},
        }
    ]
    assert csv_layout(path).left_out == ("anomaly", "changepoint")


def test_asd_and_smd_form(write: Write) -> None:
    path = write("omi-1.csv.gz", "timestamp,value_1,value_2,label\n0,0.49,3.5e-05,0\n1,0.48,1,1\n")
    assert records(path) == [
        {"sourceId": "omi-1", "timestamp": 0, "values": {"value_1": 0.49, "value_2": 3.5e-05}},
        {"sourceId": "omi-1", "timestamp": 1, "values": {"value_1": 0.48, "value_2": 1.0}},
    ]


def test_mscloud_form(write: Write) -> None:
    path = write("app-01.csv", "timestamp,value,label\r\n2018-07-03 14:00:00,1,0\r\n")
    assert records(path) == [
        {"sourceId": "app-01", "timestamp": "2018-07-03T14:00:00Z", "values": {"value": 1.0}}
    ]


# -------------------------------------------------------------------------------------------- CSV


def test_a_source_column_names_the_source(write: Write) -> None:
    path = write("mixed.csv", "sourceId,ts,p\npump-1,1,2\npump-2,1,3\n")
    assert [record["sourceId"] for record in records(path)] == ["pump-1", "pump-2"]
    named = write("named.csv", "machine,ts,p\nm1,1,2\n")
    assert records(named, FeedOptions(source_column="MACHINE"))[0]["sourceId"] == "m1"


def test_files_of_one_stem_are_told_apart_by_their_folders(write: Write) -> None:
    text = "ts,p\n1,2\n"
    paths = [write(name, text) for name in ("a/cpu.csv", "b/cpu.csv.gz", "b/mem.csv", "x/b/cpu.csv")]
    names = [record["sourceId"] for record in records(paths)]
    assert names[2] == "mem"
    assert names[0] == "a/cpu"
    assert names[1].endswith("/b/cpu")
    assert names[3] == "x/b/cpu"


def test_files_that_no_folder_tells_apart_are_refused(write: Write) -> None:
    plain, packed = write("cpu.csv", "ts,p\n1,2\n"), write("cpu.csv.gz", "ts,p\n1,2\n")
    assert "another file would give the same source" in error_of([plain, packed])
    assert "given 2 times" in error_of([plain, plain])


def test_empty_and_nan_cells_are_missing(write: Write) -> None:
    path = write("a.csv", "ts,p,q,r\n1,,NaN, \n2,1,null,-0.0\n")
    assert [record["values"] for record in records(path)] == [
        {"p": None, "q": None, "r": None},
        {"p": 1.0, "q": None, "r": -0.0},
    ]


def test_the_delimiter_is_the_most_frequent_in_the_header(write: Write) -> None:
    for delimiter in (",", ";", "\t"):
        path = write("a.csv", delimiter.join(["ts", '"p,;q"', "r"]) + "\n" + delimiter.join("123") + "\n")
        assert records(path)[0]["values"] == {"p,;q": 2.0, "r": 3.0}
        assert csv_layout(path).delimiter == delimiter


def test_a_byte_order_mark_and_blank_lines_are_passed_over(write: Write) -> None:
    path = write("a.csv", b"\xef\xbb\xbf\r\nts,p\r\n\r\n1,2\r\n\r\n")
    assert [record["values"] for record in records(path)] == [{"p": 2.0}]


def test_columns_of_text_and_columns_without_a_name_are_left_out(write: Write) -> None:
    path = write("a.csv", ",ts,p,city,q\n0,1,,Oslo,\n1,2,2.5,Rome,\n")
    assert [record["values"] for record in records(path)] == [{"p": None, "q": None}, {"p": 2.5, "q": None}]
    assert csv_layout(path).left_out == ("column 1", "city")


def test_columns_to_leave_out_can_be_given(write: Write) -> None:
    path = write("a.csv", "ts,p,Q,label\n1,2,3,1\n")
    assert records(path, FeedOptions(exclude=("q",)))[0]["values"] == {"p": 2.0, "label": 1.0}


@pytest.mark.parametrize("column", ["timestamp", "DateTime", "time", "Date", "TS"])
def test_the_time_column_is_known_by_its_name(write: Write, column: str) -> None:
    assert records(write("a.csv", f"p,{column}\n1,5\n"))[0]["timestamp"] == 5


def test_the_time_column_can_be_given(write: Write) -> None:
    path = write("a.csv", "p,When,ts\n1,5,7\n")
    assert records(path, FeedOptions(time_column="when")) == [
        {"sourceId": "a", "timestamp": 5, "values": {"p": 1.0, "ts": 7.0}}
    ]


@pytest.mark.parametrize(
    ("cell", "timestamp"),
    [
        ("1767225600000", 1_767_225_600_000),
        ("2026-01-01", "2026-01-01T00:00:00Z"),
        ("2026-01-01 12:30", "2026-01-01T12:30:00Z"),
        ("2026-01-01T12:30:00.5", "2026-01-01T12:30:00.500Z"),
        ("2026-01-01 12:30:00.000999", "2026-01-01T12:30:00Z"),
        ("2026-01-01T12:30:00+02:00", "2026-01-01T10:30:00Z"),
        (" 2026-01-01T12:30:00Z ", "2026-01-01T12:30:00Z"),
    ],
)
def test_times_go_out_in_utc_and_integers_as_they_are(write: Write, cell: str, timestamp: str | int) -> None:
    assert records(write("a.csv", f"ts,p\n{cell},1\n"))[0]["timestamp"] == timestamp


def test_times_without_a_zone_are_of_the_given_one(write: Write) -> None:
    path = write("a.csv", "ts,p\n2026-07-01 12:00:00,1\n2026-01-01T12:00:00Z,1\n")
    options = FeedOptions(zone=ZoneInfo("Europe/Berlin"))
    assert [r["timestamp"] for r in records(path, options)] == [
        "2026-07-01T10:00:00Z",
        "2026-01-01T12:00:00Z",
    ]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_out_as_they_went_in(number: float) -> None:
    assert _number(repr(number)) == number


def test_numbers_keep_every_bit_in_the_message(write: Write) -> None:
    numbers = [0.1, 1e-320, 1.7976931348623157e308, 123456789.123456789, 1e16, -2.5e-7, 9007199254740993.0]
    path = write("a.csv", "ts,p\n" + "".join(f"{i},{number!r}\n" for i, number in enumerate(numbers)))
    assert [record["values"]["p"] for record in records(path)] == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ts,p\n1,2\n3,x\n", "a.csv, line 3, column 'p': 'x' is not a finite number"),
        ("ts,p\n1,2\n3,inf\n", "a.csv, line 3, column 'p': 'inf' is not a finite number"),
        ("ts,p\n1,2\n3,1e999\n", "column 'p': '1e999'"),
        ("ts,p\n1,2\n3,1_000\n", "column 'p': '1_000'"),
        ("ts;p\n1;2\n3;1,5\n", "column 'p': '1,5'"),
        ('ts,p\n1,"2"\n\n3,"a\nb"\n', "a.csv, line 5, column 'p': 'a\\nb'"),
        ("ts,p\nnow,2\n", "a.csv, line 2, column 'ts': 'now' is neither an ISO 8601 time nor an integer"),
        ("ts,p\n,2\n", "line 2, column 'ts': ''"),
        ("ts,p\n1.5e9,2\n", "column 'ts': '1.5e9'"),
        ("ts,p\n-1,2\n", "column 'ts': '-1' lies outside the years 1970 to 9999"),
        ("ts,p\n1926-01-01,2\n", "column 'ts': '1926-01-01' lies outside"),
        ("ts,p\n9999-12-31T23:59:59-10:00,2\n", "lies outside"),
        (f"ts,p\n{'9' * 5000},2\n", "lies outside"),
        ("ts,p\n1,2,3\n", "a.csv, line 2: 3 cells, the header has 2 columns"),
        ("ts,p\n1\n", "a.csv, line 2: 1 cells"),
        ("sourceId,ts,p\n,1,2\n", "a.csv, line 2, column 'sourceId': '' names no source"),
        ("1,2\n3,4\n", "a.csv: the header ['1', '2'] has no column timestamp or datetime"),
        ("ts,label\n1,2\n", "a.csv: no column of numbers (left out: label)"),
        ("ts,p,p\n1,2,3\n", "a.csv: two columns are named 'p'"),
        ("", "a.csv: the file is empty, not even a header"),
        ("\n\n", "a.csv: the file is empty"),
        ('ts,p\n1,"2\n', "a.csv, after line 1: "),
        (b"ts,p\n1,\xff\n", "not UTF-8"),
        (b"\xff\xfet\0s\0", "a.csv: not UTF-8"),
    ],
)
def test_csv_errors_name_file_line_column_and_value(write: Write, text: str | bytes, message: str) -> None:
    assert message in error_of(write("a.csv", text))


def test_an_unknown_time_column_is_named(write: Write) -> None:
    assert "no column 'when'" in error_of(write("a.csv", "ts,p\n1,2\n"), FeedOptions(time_column="when"))


# ----------------------------------------------------------------------------------------- NDJSON


@pytest.mark.parametrize("name", ["a.ndjson", "a.jsonl", "a.jsonl.gz"])
def test_json_lines_pass_through_untouched(write: Write, name: str) -> None:
    lines = [
        b'{"sourceId": "pump-7",  "values":[1e400], "x":"\\ud83d\\ude00"}',
        b'{"timestamp":"2026-01-01T00:00:00.5Z","sourceId":"p\xc3\xbcmp","values":1}',
        b' {"sourceId":"c","control":{"feedback":"false_alarm"},"timestamp":7}',
    ]
    path = write(name, lines[0] + b"\r\n\n" + lines[1] + b"\n  \n" + lines[2])
    assert list(read_timed_points([path])) == [
        (None, "pump-7", lines[0]),
        (1_767_225_600_500, "pümp", lines[1]),
        (7, "c", lines[2]),
    ]
    assert count_points([path]) == 3


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "7", '{"values":1}', '{"sourceId":7}', '{"sourceId":"a","timestamp":"x"}', "[" * 9999, "\0"],
)
def test_a_line_that_names_no_source_is_an_error_with_its_number(write: Write, line: str) -> None:
    assert "a.jsonl, line 3: " in error_of(write("a.jsonl", '{"sourceId":"a","values":1}\n\n' + line))


# ------------------------------------------------------------------------------------------ files


def test_the_format_can_be_given(write: Write) -> None:
    path = write("data.txt", "ts,p\n1,2\n")
    assert "give --format" in error_of(path)
    assert len(records(path, FeedOptions(format="csv"))) == 1
    lines = write("data.csv", '{"sourceId":"a","values":1}')
    assert len(records(lines, FeedOptions(format="ndjson"))) == 1


def test_files_come_one_after_the_other_or_merged_by_time(write: Write) -> None:
    first = write("a.csv", "ts,p\n1,1\n4,2\n5,3\n")
    second = write(
        "b.jsonl", '{"sourceId":"b","timestamp":2,"values":1}\n{"sourceId":"b","timestamp":4,"values":2}'
    )
    apart = [(p.source_id, p.time_ms) for p in read_timed_points([first, second])]
    assert apart == [("a", 1), ("a", 4), ("a", 5), ("b", 2), ("b", 4)]
    merged = [(p.source_id, p.time_ms) for p in read_timed_points([first, second], FeedOptions(merge=True))]
    assert merged == [("a", 1), ("b", 2), ("a", 4), ("b", 4), ("a", 5)]


def test_a_point_without_a_time_cannot_be_merged(write: Write) -> None:
    path = write("b.jsonl", '{"sourceId":"b","values":1}')
    assert "no timestamp to merge by" in error_of(path, FeedOptions(merge=True))


def test_files_that_cannot_be_opened_or_unpacked_are_named(write: Write, tmp_path: Path) -> None:
    assert "gone.csv: No such file" in error_of(tmp_path / "gone.csv")
    whole = gzip.compress(b"ts,p\n" + b"1,2\n" * 100_000)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    assert "cut.csv.gz: " in error_of(tmp_path / "cut.csv.gz")
    (tmp_path / "not.csv.gz").write_bytes(b"ts,p\n1,2\n")
    assert "not.csv.gz: Not a gzipped file" in error_of(tmp_path / "not.csv.gz")


def test_points_before_a_wrong_row_are_given(write: Write) -> None:
    points = read_points([write("a.csv", "ts,p\n1,2\n3,x\n")])
    assert next(points)[0] == "a"
    with pytest.raises(FeedError):
        next(points)
