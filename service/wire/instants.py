"""RFC 3339 and epoch milliseconds, one into the other, compiled; `timestamps` is the same in Python.

Civil dates after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.kernels import inlined

Text = npt.NDArray[np.uint8]

ODD = -1
"""The time of a text that only the strict reader can judge."""

MOST_INSTANT_BYTES = 24
_DAY_MS = 86_400_000
_U10, _U48, _U60, _U100, _U1000 = (np.uint32(n) for n in (10, 48, 60, 100, 1000))


@inlined
def _two(text: Text, at: int) -> int:
    """The number of two digits at `at`; far below 0 if they are none."""
    tens, ones = int(text[at]) - 48, int(text[at + 1]) - 48
    return 10 * tens + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else -10_000


@inlined
def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01; years from 1970 on."""
    if month <= 2:
        year -= 1
    era = year // 400
    of_era = year - 400 * era
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@inlined
def _month_days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@inlined
def read_instant(text: Text, at: int, stop: int) -> int:
    """Epoch milliseconds of an RFC 3339 date-time from 1970 on with capital T and Z, cut to milliseconds."""
    if stop - at < 20 or stop - at > 35:
        return ODD
    year = 100 * _two(text, at) + _two(text, at + 2)
    month, day = _two(text, at + 5), _two(text, at + 8)
    hour, minute, second = _two(text, at + 11), _two(text, at + 14), _two(text, at + 17)
    if year < 1970 or not 1 <= month <= 12 or not 1 <= day <= _month_days(year, month):
        return ODD
    if not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        return ODD
    if text[at + 4] != 45 or text[at + 7] != 45 or text[at + 10] != 84:
        return ODD
    if text[at + 13] != 58 or text[at + 16] != 58:
        return ODD
    at += 19
    fraction = 0
    if text[at] == 46:
        digits = 0
        at += 1
        while at < stop and 48 <= text[at] <= 57:
            if digits < 3:
                fraction = 10 * fraction + int(text[at]) - 48
            digits += 1
            at += 1
        if digits == 0 or digits > 9 or at == stop:
            return ODD
        for _ in range(digits, 3):
            fraction *= 10
    offset = 0
    if text[at] == 90:
        at += 1
    else:
        if (text[at] != 43 and text[at] != 45) or stop - at != 6 or text[at + 3] != 58:
            return ODD
        hours, minutes = _two(text, at + 1), _two(text, at + 4)
        if not (0 <= hours <= 23 and 0 <= minutes <= 59):
            return ODD
        offset = 60 * hours + minutes
        if text[at] == 45:
            offset = -offset
        at += 6
    if at != stop:
        return ODD
    minutes = (_days(year, month, day) * 24 + hour) * 60 + minute - offset
    time_ms = (minutes * 60 + second) * 1000 + fraction
    return time_ms if time_ms >= 0 else ODD


@inlined
def _put_two(out: Text, at: int, number: np.uint32) -> None:
    out[at] = _U48 + number // _U10
    out[at + 1] = _U48 + number % _U10


@inlined
def write_instant(out: Text, at: int, time_ms: int) -> int:
    """Write the instant in UTC, with milliseconds only where it has some; the place after it.

    Numbers without a sign, which divide in half the time.
    """
    days = np.uint32(time_ms // _DAY_MS)
    in_day = np.uint32(time_ms - np.int64(days) * _DAY_MS)
    days += np.uint32(719_468)
    era = days // np.uint32(146_097)
    of_era = days - era * np.uint32(146_097)
    year = (
        of_era - of_era // np.uint32(1460) + of_era // np.uint32(36_524) - of_era // np.uint32(146_096)
    ) // np.uint32(365)
    of_year = of_era - (np.uint32(365) * year + year // np.uint32(4) - year // np.uint32(100))
    shifted = (np.uint32(5) * of_year + np.uint32(2)) // np.uint32(153)
    day = of_year - (np.uint32(153) * shifted + np.uint32(2)) // np.uint32(5) + np.uint32(1)
    month = shifted + np.uint32(3) if shifted < _U10 else shifted - np.uint32(9)
    year += np.uint32(400) * era + np.uint32(month <= np.uint32(2))
    _put_two(out, at, year // _U100)
    _put_two(out, at + 2, year % _U100)
    out[at + 4] = 45
    _put_two(out, at + 5, month)
    out[at + 7] = 45
    _put_two(out, at + 8, day)
    out[at + 10] = 84
    seconds, fraction = in_day // _U1000, in_day % _U1000
    _put_two(out, at + 11, seconds // np.uint32(3600))
    out[at + 13] = 58
    _put_two(out, at + 14, seconds // _U60 % _U60)
    out[at + 16] = 58
    _put_two(out, at + 17, seconds % _U60)
    at += 19
    if fraction > np.uint32(0):
        out[at] = 46
        out[at + 1] = _U48 + fraction // _U100
        _put_two(out, at + 2, fraction % _U100)
        at += 4
    out[at] = 90
    return at + 1
