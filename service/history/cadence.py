"""When each source reports: its newest times, its usual gap, and how long it may be silent; decides nothing.

Gaps are measured by the points' own times. How long a source kept everybody waiting is measured by the time
of its partition (see `silence`), so that a batch of points that comes every hour is known to come every hour.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.history.table import Column
from service.kernels import inlined

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float32]

NEWEST, ARRIVED, OFFSET = range(3)
"""Of the newest point: its own time, the partition's time then, both in ms, and its place in the log."""

GAP, SEEN, LONGEST, PAUSES, LONG, PATIENCE, TOLD = range(7)
"""Usual gap, in ms; points so far; longest wait, in ms; shares of waits over four usual gaps, and of those
over half the longest; the silence in ms that is too long, 0 where none is; how a silence was told, or 0."""

ACCEPTED, ALONE = 0.5, 1.0
"""TOLD of a source whose silence was told and then said to be no matter, and of one that fell silent alone;
silences of many are numbered from 2 on."""

COLUMNS = {"times": Column(np.int64, 3), "numbers": Column(np.float32, 7)}

DAY_MS = 86_400_000
PAUSE = 4.0
"""Usual gaps: a longer one is a pause, which is no change of cadence."""

_MEMORY_GAPS = 1000.0
_KEPT_A_DAY = 0.9  # of the longest wait: nights and weekends are still known when they come again
_LEAST_GAPS = 30.0  # before a source is known to be regular
_MOST_PAUSES = 0.01  # of its waits; bursts that come at random have 0.018 and more,
_LEAST_LONG = 10.0  # unless so many of the last thousand waits were nearly the longest: then it is no chance
_YOUNG_GAPS = 60.0  # so many seen: twice as much patience; little is known of it
_GROWTH, _LATE_GROWTH = 4.0, 16.0
_WAITS = 2.0  # times the longest one lately


@inlined
def faded(longest: float, before_ms: int, now_ms: int) -> float:
    """What is left of a longest wait when a new day has begun."""
    days = now_ms // DAY_MS - before_ms // DAY_MS
    return longest * _KEPT_A_DAY ** min(days, 1000) if days > 0 else longest


@inlined
def learn(
    times: Ints,
    numbers: Numbers,
    time_ms: int,
    now_ms: int,
    offset: int,
    usual_gaps: float,
    at_least_ms: float,
) -> None:
    """Take up a point of its source that came at the partition's time `now_ms`.

    A silence that was told is learned only as far as it makes patience four times as long: an outage does not
    become the normal at once, and a source that flaps is told of less and less often. Where nothing is
    missing, because the points only came late, it may be 16 times: some deliver by the hour, or by the day.
    A silence that was accepted is learned in full.
    """
    gaps = numbers[SEEN]
    if gaps > 0.0:
        gap, pause_ms = max(float(time_ms - times[NEWEST]), 0.0), PAUSE * max(numbers[GAP], 1.0)
        came_late = gap <= pause_ms
        if gaps > 1.0:
            gap = min(gap, pause_ms)
        memory = min(gaps, _MEMORY_GAPS)
        waited = max(float(now_ms - times[ARRIVED]), 0.0)
        pause = 1.0 if gaps > 1.0 and waited > PAUSE * numbers[GAP] else 0.0
        numbers[PAUSES] += (pause - numbers[PAUSES]) / memory
        numbers[GAP] += (gap - numbers[GAP]) / memory
        if numbers[TOLD] > ACCEPTED:
            waited = min(waited, numbers[PATIENCE] * (_LATE_GROWTH if came_late else _GROWTH) / _WAITS)
        longest = faded(numbers[LONGEST], times[NEWEST], time_ms)
        if waited > longest:  # of a longer one, fewer were more than half
            numbers[LONG] *= max(2.0 * longest / waited - 1.0, 0.0)
            longest = waited
        numbers[LONGEST] = longest
        long = 1.0 if 2.0 * waited > numbers[LONGEST] else 0.0
        numbers[LONG] += (long - numbers[LONG]) / memory
    numbers[SEEN] = gaps + np.float32(1.0)
    often_long = numbers[LONG] * min(gaps, _MEMORY_GAPS) >= _LEAST_LONG
    regular = gaps >= _LEAST_GAPS and (numbers[PAUSES] <= _MOST_PAUSES or often_long)
    usual = usual_gaps * (1.0 + _YOUNG_GAPS / (gaps + 1.0)) * numbers[GAP]
    patience = max(usual, _WAITS * numbers[LONGEST], at_least_ms)
    numbers[PATIENCE] = patience if regular else 0.0
    numbers[TOLD] = 0.0
    times[NEWEST] = max(times[NEWEST], time_ms)
    times[ARRIVED] = now_ms
    times[OFFSET] = offset
