"""Durations as people write them (`250ms`, `30s`, `5m`, `2h`, `1d`), as float seconds; knows no setting."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.ASCII)


def parse_duration(value: object) -> float:
    """The seconds that `value` stands for: text with a unit, or a number of seconds (as text too).

    A bare number as text is taken because environment variables carry only text.

    Raises:
        ValueError: it is neither, or it is negative or not finite.
    """
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        number, unit = match.groups()
        seconds = float(number) * _SECONDS[unit or "s"]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(
            f"not a duration: {str(value)[:32]!r}; write 250ms, 30s, 5m, 2h, 1d or a number of seconds"
        )
    return seconds


Duration = Annotated[float, BeforeValidator(parse_duration)]
