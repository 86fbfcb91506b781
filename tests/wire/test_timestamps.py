from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.wire.instants import MOST_INSTANT_BYTES, ODD, read_instant, write_instant
from service.wire.timestamps import EPOCH, MAX_TIME_MS, format_rfc3339, parse_rfc3339

NEW_YEAR_MS = 1_767_225_600_000


def quick(text: str) -> int:
    """The compiled reading of a text that stands among others."""
    body = text.encode()
    padded = np.frombuffer(bytearray(b"12" + body + b"34"), np.uint8)
    return int(read_instant(padded, 2, 2 + len(body)))


def agrees(text: str, time_ms: int) -> bool:
    """Whether the compiled reading gives the time, or leaves it to the strict one."""
    return quick(text) in (time_ms, ODD)


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-01T00:00:00Z", NEW_YEAR_MS),
        ("2026-01-01t00:00:00z", NEW_YEAR_MS),
        ("2026-01-01 00:00:00Z", NEW_YEAR_MS),
        ("2026-01-01T00:00:00+00:00", NEW_YEAR_MS),
        ("2026-01-01T00:00:00-00:00", NEW_YEAR_MS),
        ("2026-01-01T02:30:00+02:30", NEW_YEAR_MS),
        ("2025-12-31T16:00:00-08:00", NEW_YEAR_MS),
        ("2026-01-01T00:00:00.1Z", NEW_YEAR_MS + 100),
        ("2026-01-01T00:00:00.001999999Z", NEW_YEAR_MS + 1),
        ("2026-01-01T00:00:00.999999+00:00", NEW_YEAR_MS + 999),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2016-12-31T23:59:60.5Z", 1_483_228_800_000),
        ("1969-12-31T23:59:59.999Z", -1),
        ("9999-12-31T23:59:59.999Z", MAX_TIME_MS),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
    ],
)
def test_rfc_3339_texts_are_the_instants_that_they_name(text: str, time_ms: int) -> None:
    assert parse_rfc3339(text) == time_ms
    assert agrees(text, time_ms)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T02:00:00+02:00",
        "2025-12-31T16:00:00.0-08:00",
        "2026-01-01T00:00:00.000999999Z",
    ],
)
def test_usual_texts_are_read_quickly(text: str) -> None:
    assert quick(text) == NEW_YEAR_MS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-01",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00z ",
        "2026-01-01T00:00:00Z\n",
        " 2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00,5Z",
        "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00+0000",
        "2026-01-01T00:00:00+00",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+00:60",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-W01-1T00:00:00Z",
        "2026-001T00:00:00.00Z",
        "20260101T000000Z",
        "+2026-01-01T00:00:00Z",
        "٢٠٢٦-01-01T00:00:00Z",
        "2026-01-01T00:00:\u0660\u0660Z",
        "2026-01-01T00:00:00.12٣Z",
        "2026-01-01T00:00:00.123\u0664\u0665\u0666Z",
    ],
)
def test_texts_that_are_no_rfc_3339_instant_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)
    assert quick(text) == ODD


@given(st.integers(-62_135_596_800_000, MAX_TIME_MS))
def test_formatting_then_parsing_gives_the_same_instant(time_ms: int) -> None:
    assert parse_rfc3339(format_rfc3339(time_ms)) == time_ms
    assert quick(format_rfc3339(time_ms)) == (time_ms if time_ms >= 0 else ODD)


@given(st.integers(0, MAX_TIME_MS) | st.integers(0, MAX_TIME_MS // 1000).map(lambda s: s * 1000))
def test_compiled_and_plain_formatting_write_the_same(time_ms: int) -> None:
    out = np.empty(MOST_INSTANT_BYTES, np.uint8)
    assert out[: write_instant(out, 0, time_ms)].tobytes().decode() == format_rfc3339(time_ms)


@given(st.datetimes(), st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_parsing_agrees_with_the_standard_library(naive: datetime, offset_minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    expected = (moment - EPOCH) // timedelta(milliseconds=1)
    assert parse_rfc3339(moment.isoformat()) == expected
    assert agrees(moment.isoformat(), expected)
    in_utc = naive.replace(tzinfo=UTC)
    assert agrees(in_utc.isoformat(), (in_utc - EPOCH) // timedelta(milliseconds=1))


near_times = st.from_regex(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,10})?"
    r"(Z|z|[+-][0-2]0:[0-6]0)?",
    fullmatch=True,
)


@settings(max_examples=1000)
@given(near_times, st.integers(0, 32), st.sampled_from(["", "", "", "0", " ", "Z", ":", ".", "-", "٣"]))
@example("9999-12-31T23:59:60Z", 0, "")
def test_the_quick_reading_agrees_with_the_full_one(text: str, at: int, put: str) -> None:
    if put:
        text = text[:at] + put + text[at + 1 :]
    try:
        expected = parse_rfc3339(text)
    except ValueError:
        assert quick(text) == ODD
    else:
        assert agrees(text, expected)
