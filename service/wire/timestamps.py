"""RFC 3339 text and epoch milliseconds, one into the other; knows nothing of messages."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_TIME_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last instant that RFC 3339 can write

_RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


def parse_rfc3339(text: str) -> int:
    """Epoch milliseconds of an RFC 3339 date-time; finer fractions are cut off, never rounded.

    A leap second (`:60`) counts as the first instant of the next minute.

    Raises:
        ValueError: the text is not an RFC 3339 date-time with a zone, or names no real instant.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 date-time with a zone: {text[:64]!r}")
    year, month, day, hour, minute, second = (int(g) for g in match.groups()[:6])
    fraction, zulu, sign, zone_hours, zone_minutes = match.groups()[6:]
    leap = second == 60
    zone = UTC
    if zulu is None:
        if int(zone_hours) > 23 or int(zone_minutes) > 59:
            raise ValueError(f"zone out of range: {text[:64]!r}")
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
        zone = timezone(-offset if sign == "-" else offset)
    moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=zone)
    milliseconds = (moment - EPOCH) // timedelta(milliseconds=1)
    if leap:
        return milliseconds + 1000
    return milliseconds + (int(fraction.ljust(3, "0")[:3]) if fraction else 0)


@lru_cache(maxsize=4096)
def _date(day: int) -> str:
    """The date so many days after the epoch; the points of a day share it."""
    return (EPOCH + timedelta(days=day)).date().isoformat()


def format_rfc3339(time_ms: int) -> str:
    """The instant in UTC, with milliseconds only where it has some: `2026-01-01T00:00:00Z`."""
    seconds, fraction = divmod(time_ms, 1000)
    day, seconds = divmod(seconds, 86_400)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    text = f"{_date(day)}T{hour:02d}:{minute:02d}:{second:02d}"
    return f"{text}.{fraction:03d}Z" if fraction else f"{text}Z"
