"""Which days are off: weekends, and the holidays of a file; knows no zones, a day is a number since 1970."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.kernels import inlined

Days = npt.NDArray[np.int64]

_FIRST = date(1970, 1, 1)  # a Thursday
_SATURDAY = 5


@inlined
def is_off(day: int, holidays: Days) -> bool:
    """Whether a day is a Saturday, a Sunday or among the ascending `holidays`."""
    if (day + 3) % 7 >= _SATURDAY:
        return True
    low, high = 0, len(holidays)
    while low < high:
        middle = (low + high) // 2
        if holidays[middle] < day:
            low = middle + 1
        else:
            high = middle
    return low < len(holidays) and holidays[low] == day


def days_since_epoch(days: Sequence[date]) -> Days:
    return np.array([(day - _FIRST).days for day in days], np.int64)


def read_holidays(path: Path) -> list[date]:
    """The dates of a file: an ISO date at the beginning of each line, then anything; `#` begins a comment.

    Raises:
        ValueError: the file cannot be read, or a line has no date.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {str(path)!r}: {error}") from None
    days = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split(maxsplit=1)
        if not words:
            continue
        try:
            days.append(date.fromisoformat(words[0]))
        except ValueError:
            raise ValueError(f"{path}, line {number}: {words[0]!r} is no date like 2026-12-25") from None
    return days
