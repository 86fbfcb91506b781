"""RFC 3339 text in its most frequent forms into epoch milliseconds, quickly; the rest is `timestamps`'."""

from __future__ import annotations

from functools import lru_cache

from service.wire.timestamps import parse_rfc3339

_SECONDS_MS = {f"{second:02d}": second * 1000 for second in range(60)}
_FRACTION_MS = {f".{ms:03d}": ms for ms in range(1000)}


def text_time_ms(text: str) -> int:
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
