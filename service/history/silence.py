"""The kernels that find sources which have fallen silent: the partition's clock, and who is overdue by it.

Each point moves the clock; when the earliest deadline has passed, all sources are looked through, at a place
that follows from the points alone. So any split into batches finds the same silences at the same points.

The clock has two hands, taken from the last seven points, no two in a row of one source: the third smallest
of their own times, and of their records' Kafka times. One source cannot move it alone, and neither can many
whose clocks are ahead, as long as three of seven points are right. What the second hand moves at once beyond
what the partition lets pass without a point is not counted: nobody was there to be heard. A source is overdue
when both hands say so, which neither a backfill nor points that come late in one batch bring about.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.history.cadence import (
    ALONE,
    ARRIVED,
    GAP,
    LONGEST,
    NEWEST,
    OFFSET,
    PATIENCE,
    SEEN,
    TOLD,
    Numbers,
    faded,
    learn,
)
from service.history.table import Array
from service.kernels import borrowed, inlined, kernel, prefetch

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RECENT = 7
_HAND = 2  # the third smallest
_GROWTH = 1.05  # of the longest step, whenever a longer one comes
_SCANS_PER_ROW = 4  # so many points a row of the table are scored between two looks at all of them
_NAMED = 3  # of those that fell silent together
_FOR_EVER = 2**62

# The partition's numbers.
(
    _LAST_SLOT,  # plus one
    _RECORD_TIME,  # where the second hand stood
    _ALIVE,  # the time that counts
    _LONGEST_STEP,
    _NEXT_ALIVE,  # nobody is overdue before either of these
    _NEXT_EVENT,
    _SINCE_SCAN,
    _ROWS,
    _GROUP,  # number of the latest silence of many; those in it are TOLD as that
    _GROUP_OPENED,  # offset that opened it, plus one; 0 where none is open
    _GROUP_ALIVE,  # what the clock said then
    _GROUP_MEMBERS,
    _GROUP_LEFT,
    _GROUP_GAP,
    _GROUP_SEEN,
    _AT,
) = range(16)
NUMBERS = 16

_GROUPS = 1_000_000

SILENT, BACK, TOGETHER, NAMED, TOGETHER_BACK = range(5)
"""What can happen at a point; those `NAMED` follow the `TOGETHER` that they belong to."""

EVENT = np.dtype(
    [
        ("what", np.int64),
        ("point", np.int64),
        ("slot", np.int64),
        ("opened", np.int64),  # offset that names the incident
        ("newest_ms", np.int64),
        ("now_ms", np.int64),
        ("gap_ms", np.float64),
        ("longest_ms", np.float64),
        ("seen", np.float64),
        ("many", np.int64),
        ("among", np.int64),
    ]
)


class Clock(NamedTuple):
    """The partition's clock and open silence: (2, RECENT) as they came, in order, and (NUMBERS,)."""

    recent: Ints
    ascending: Ints
    numbers: Ints


class Limits(NamedTuple):
    """How long a silence must last, in usual gaps and in ms, and how many at once are one event."""

    usual_gaps: float
    at_least_ms: float
    together: int


@inlined
def _replace(ascending: Ints, old: int, new: int) -> None:
    """Put `new` in the place of one `old`."""
    at = 0
    while ascending[at] != old:
        at += 1
    while at + 1 < len(ascending) and ascending[at + 1] < new:
        ascending[at] = ascending[at + 1]
        at += 1
    while at > 0 and ascending[at - 1] > new:
        ascending[at] = ascending[at - 1]
        at -= 1
    ascending[at] = new


@inlined
def _tick(clock: Clock, slot: int, time_ms: int, record_time_ms: int, floor_ms: float) -> bool:
    """Move the clock by a point; false if it was its source's turn already."""
    numbers = clock.numbers
    if numbers[_LAST_SLOT] == slot + 1:
        return False
    numbers[_LAST_SLOT] = slot + 1
    at = numbers[_AT]
    numbers[_AT] = at + 1 if at + 1 < RECENT else 0
    _replace(clock.ascending[0], clock.recent[0, at], time_ms)
    _replace(clock.ascending[1], clock.recent[1, at], record_time_ms)
    clock.recent[0, at], clock.recent[1, at] = time_ms, record_time_ms
    now, before = clock.ascending[1, _HAND], numbers[_RECORD_TIME]
    step = now - before
    if before == 0 or -step > floor_ms:  # the first, or the clock had been wrong
        numbers[_RECORD_TIME] = now
    elif step > 0:
        longest = faded(float(numbers[_LONGEST_STEP]), before, now)
        limit = max(longest, floor_ms)
        numbers[_LONGEST_STEP] = int(_GROWTH * limit if step > limit else max(longest, float(step)))
        numbers[_ALIVE] += min(step, int(limit))
        numbers[_RECORD_TIME] = now
    return True


@kernel
def _note(
    events: Array, count: int, what: int, point: int, slot: int, times: Ints, own: Numbers, now: int
) -> int:
    """Write down what happened to one source; how many events there are now."""
    event = events[count]
    event.what, event.point, event.slot = what, point, slot
    event.opened, event.newest_ms, event.now_ms = times[OFFSET], times[NEWEST], now
    event.gap_ms, event.longest_ms, event.seen = own[GAP], own[LONGEST], own[SEEN]
    event.many = event.among = 0
    return count + 1


@kernel
def _end_group(events: Array, count: int, point: int, slot: int, clock: Clock) -> int:
    """If nearly all that fell silent together are back (or forgotten), say so."""
    numbers = clock.numbers
    if numbers[_GROUP_OPENED] == 0 or 10 * numbers[_GROUP_LEFT] > numbers[_GROUP_MEMBERS]:
        return count
    event = events[count]
    event.what, event.point, event.slot = TOGETHER_BACK, point, slot
    event.opened, event.seen = numbers[_GROUP_OPENED] - 1, float(numbers[_GROUP_SEEN])
    event.newest_ms = event.now_ms = clock.ascending[0, _HAND]
    event.gap_ms, event.longest_ms = float(numbers[_GROUP_GAP]), 0.0
    event.many, event.among = numbers[_GROUP_MEMBERS] - numbers[_GROUP_LEFT], numbers[_GROUP_MEMBERS]
    numbers[_GROUP_OPENED] = 0
    return count + 1


@inlined
def _arrive(
    events: Array, count: int, point: int, slot: int, times: Ints, own: Numbers, clock: Clock, time_ms: int
) -> int:
    """A source that was told to be silent is heard again."""
    if own[TOLD] == ALONE:
        return _note(events, count, BACK, point, slot, times, own, time_ms)
    if own[TOLD] == clock.numbers[_GROUP]:
        clock.numbers[_GROUP_LEFT] -= 1
        return _end_group(events, count, point, slot, clock)
    return count


@inlined
def _look(times: Ints, numbers: Numbers, expected: Floats, clock: Clock) -> tuple[bool, int, int]:
    """Whether a source is overdue; how many are at least halfway there, and how many are watched."""
    event, alive = clock.ascending[0, _HAND], clock.numbers[_ALIVE]
    group, since = clock.numbers[_GROUP], clock.numbers[_GROUP_ALIVE]
    next_alive = next_event = _FOR_EVER
    overdue, halfway, watched, left = False, 0, 0, 0
    for slot in range(clock.numbers[_ROWS]):
        patience = numbers[slot, PATIENCE]
        if patience <= 0.0:
            continue
        if numbers[slot, TOLD] > 0.0:
            left += numbers[slot, TOLD] == group
            continue
        watched += 1
        if event < expected[slot]:
            next_event = min(next_event, int(expected[slot]))
            continue
        waited, behind = alive - times[slot, ARRIVED], event - times[slot, NEWEST]
        if waited <= patience:
            next_alive = min(next_alive, times[slot, ARRIVED] + int(patience))
        elif behind <= patience:
            next_event = min(next_event, times[slot, NEWEST] + int(patience))
        else:
            overdue = True
        if 2 * min(waited, behind) > patience and times[slot, ARRIVED] > since:
            halfway += 1
    clock.numbers[_NEXT_ALIVE], clock.numbers[_NEXT_EVENT] = next_alive, next_event
    clock.numbers[_GROUP_LEFT] = left
    return overdue, halfway, watched


@kernel
def _tell_each(
    events: Array, count: int, point: int, times: Ints, numbers: Numbers, expected: Floats, clock: Clock
) -> int:
    """Every overdue source on its own, but for those that belong to a silence of many."""
    event, alive, partition = clock.ascending[0, _HAND], clock.numbers[_ALIVE], clock.numbers
    for slot in range(partition[_ROWS]):
        own = numbers[slot]
        waited, behind = alive - times[slot, ARRIVED], event - times[slot, NEWEST]
        if own[PATIENCE] <= 0.0 or own[TOLD] > 0.0 or min(waited, behind) <= own[PATIENCE]:
            continue
        if event < expected[slot]:
            continue
        if partition[_GROUP_OPENED] > 0 and times[slot, ARRIVED] <= partition[_GROUP_ALIVE]:
            own[TOLD] = partition[_GROUP]
            partition[_GROUP_MEMBERS] += 1
            partition[_GROUP_LEFT] += 1
        else:
            own[TOLD] = ALONE
            count = _note(events, count, SILENT, point, slot, times[slot], own, event)
    return count


@kernel
def _tell_together(
    events: Array,
    count: int,
    point: int,
    offset: int,
    watched: int,
    times: Ints,
    numbers: Numbers,
    expected: Floats,
    clock: Clock,
) -> int:
    """All that are at least halfway to being overdue, as one."""
    event, alive, partition = clock.ascending[0, _HAND], clock.numbers[_ALIVE], clock.numbers
    partition[_GROUP] = max(partition[_GROUP] % _GROUPS, 1) + 1
    first, members, gaps = count, 0, 0.0
    for slot in range(partition[_ROWS]):
        own = numbers[slot]
        waited, behind = alive - times[slot, ARRIVED], event - times[slot, NEWEST]
        if own[PATIENCE] <= 0.0 or own[TOLD] > 0.0 or 2 * min(waited, behind) <= own[PATIENCE]:
            continue
        if event < expected[slot]:
            continue
        own[TOLD] = partition[_GROUP]
        if members <= _NAMED:
            what = TOGETHER if members == 0 else NAMED
            count = _note(events, count, what, point, slot, times[slot], own, event)
        members += 1
        events[first].newest_ms = min(events[first].newest_ms, times[slot, NEWEST])
        gaps = max(gaps, float(own[SEEN]))
    events[first].opened, events[first].seen = offset, gaps
    events[first].many, events[first].among = members, watched
    partition[_GROUP_OPENED], partition[_GROUP_ALIVE] = offset + 1, alive
    partition[_GROUP_MEMBERS] = partition[_GROUP_LEFT] = members
    partition[_GROUP_GAP], partition[_GROUP_SEEN] = int(events[first].gap_ms), int(gaps)
    return count


@kernel
def advance(
    source: Ints,
    time_ms: Ints,
    record_time_ms: Ints,
    offset: Ints,
    times: Ints,
    numbers: Numbers,
    expected: Floats,
    clock: Clock,
    limits: Limits,
    gap_ms: Floats,
    seen: Floats,
    events: Array,
) -> int:
    """Take up points (n,) in order: each one's usual gap, how many its source has shown, and the events.

    `expected` (slots,) says until when, in event time, the source's silence is none.
    Returns how many events were written.
    """
    times, numbers, events = borrowed(times), borrowed(numbers), borrowed(events)
    clock = Clock(borrowed(clock.recent), borrowed(clock.ascending), borrowed(clock.numbers))
    partition, count, points = clock.numbers, 0, source.shape[0]
    for point in range(points):
        if point + 6 < points:
            prefetch(times, source[point + 6])
            prefetch(numbers, source[point + 6])
        slot = source[point]
        own = numbers[slot]
        partition[_ROWS] = max(partition[_ROWS], slot + 1)
        partition[_SINCE_SCAN] += 1
        moved = _tick(clock, slot, time_ms[point], record_time_ms[point], 0.5 * limits.at_least_ms)
        if own[TOLD] > 0.0:
            count = _arrive(events, count, point, slot, times[slot], own, clock, time_ms[point])
        now = partition[_ALIVE]
        learn(times[slot], own, time_ms[point], now, offset[point], limits.usual_gaps, limits.at_least_ms)
        gap_ms[point], seen[point] = own[GAP], own[SEEN]
        if own[PATIENCE] > 0.0:
            partition[_NEXT_ALIVE] = min(partition[_NEXT_ALIVE], now + int(own[PATIENCE]))
        if not moved or limits.together == 0:
            continue
        due = now > partition[_NEXT_ALIVE] or clock.ascending[0, _HAND] > partition[_NEXT_EVENT]
        if due and _SCANS_PER_ROW * partition[_SINCE_SCAN] >= partition[_ROWS]:
            partition[_SINCE_SCAN] = 0
            overdue, halfway, watched = _look(times, numbers, expected, clock)
            if overdue and halfway >= limits.together:
                count = _tell_together(
                    events, count, point, offset[point], watched, times, numbers, expected, clock
                )
            elif overdue:
                count = _tell_each(events, count, point, times, numbers, expected, clock)
            count = _end_group(events, count, point, slot, clock)
    return count


def room_for(points: int, rows: int, together: int) -> int:
    """Most events that so many points can bring about."""
    return min(points * together, points + rows) + points * (3 + _NAMED)


def new_clock() -> Clock:
    """A clock that has seen no point."""
    numbers = np.zeros(NUMBERS, np.int64)
    numbers[_NEXT_ALIVE] = numbers[_NEXT_EVENT] = _FOR_EVER
    return Clock(np.zeros((2, RECENT), np.int64), np.zeros((2, RECENT), np.int64), numbers)
