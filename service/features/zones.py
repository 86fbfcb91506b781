"""Local time of many instants at once: a zone's offsets from UTC, looked up instead of computed each time."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_STRIDE = timedelta(days=7)  # no zone changes its offset twice in a week


def zone(name: str) -> ZoneInfo:
    """The zone of that name.

    Raises:
        ValueError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone") from None


def _offset_ms(place: ZoneInfo, instant: datetime) -> int:
    offset = instant.astimezone(place).utcoffset()
    assert offset is not None, "a zone has an offset at any time"
    return int(offset.total_seconds() * 1000)


@lru_cache(maxsize=8)
def _changes(name: str) -> tuple[Ints, Ints]:
    """The instants (ms) from which on a zone's offsets (ms) hold; the first holds before, too."""
    place = zone(name)
    starts, offsets = [0], [_offset_ms(place, _FIRST)]
    at = _FIRST
    while at < _LAST:
        then = at + _STRIDE
        if (offset := _offset_ms(place, then)) != offsets[-1]:
            seconds = range(int(_STRIDE.total_seconds()) + 1)
            since = bisect_right(
                seconds, False, key=lambda s: _offset_ms(place, at + timedelta(seconds=s)) != offsets[-1]
            )
            starts.append(int((at + timedelta(seconds=since)).timestamp() * 1000))
            offsets.append(offset)
        at = then
    return np.array(starts, np.int64), np.array(offsets, np.int64)


def offsets_ms(name: str, time_ms: Ints) -> Ints | int:
    """What to add to these instants (n,), in ms, for the zone's local time."""
    if name == "UTC":
        return 0
    starts, offsets = _changes(name)
    found: Ints = offsets[np.maximum(np.searchsorted(starts, time_ms, side="right") - 1, 0)]
    return found
