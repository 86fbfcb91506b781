"""Counters: values that only grow, but for resets, are judged by their rate.

A request count says nothing by its level and little by its step where points come irregularly. Once a value
has grown for long enough, what all features see of it is its increase per second of the points' own time.
Kernels on one value's row of state; a row of zeros is a value that was not seen yet.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from service.kernels import borrowed, inlined, kernel, prefetch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Growths = npt.NDArray[np.uint16]
Bools = npt.NDArray[np.bool_]

# Columns of a value's row: the last number and its time in milliseconds plus one, 0 for none, and the last
# rate; and of its row of growth: steps that did not fall, _COUNTER once it is one, and how many of them rose.
_LAST, _TIME, _RATE = range(3)
NUMBERS = 3
_STEPS, _RISES = range(2)
GROWTHS = 2
_COUNTER = np.uint16(2**16 - 1)

_KNOWN_STEPS = 128
_RISING_SHARE = 0.5  # of the steps: what mostly rests and seldom rises is a level
_NEAR_0 = 0.1  # of the last number: a fall to below is a reset, any other shows that it is no counter


_AHEAD = 8  # values whose rows are on their way from memory


@inlined
def _is_reset(x: float, last: float) -> bool:
    return 0.0 <= x <= _NEAR_0 * last


@inlined
def _per_second(x: float, time: float, numbers: Floats) -> float:
    """The increase per second; as before where no time passed."""
    elapsed_s = (time - numbers[_TIME]) / 1000.0
    return float((x - numbers[_LAST]) / elapsed_s if elapsed_s > 0.0 else numbers[_RATE])


@inlined
def _grows(x: float, last: float, growth: Growths) -> bool:
    """Count a step of what is no counter yet; whether it now is one."""
    if x < 0.0 or x < last:  # no reset before it is known: a saw's teeth would be resets, too
        growth[:] = 0
        return False
    growth[_STEPS] += 1
    growth[_RISES] += np.uint16(x > last)
    if growth[_STEPS] < _KNOWN_STEPS:
        return False
    if growth[_RISES] >= _RISING_SHARE * growth[_STEPS]:
        return True
    growth[_STEPS] //= np.uint16(2)
    growth[_RISES] //= np.uint16(2)
    return False


@inlined
def judged_by(x: float, time: float, numbers: Floats, growth: Growths) -> tuple[float, bool]:
    """What features are to see of a value, and whether in another unit than of the one before.

    `time` is in milliseconds, plus one. A reset gives the last rate once more: what the counter had before it
    is lost, and what it has since is of an unknown time.
    """
    is_first, last = numbers[_TIME] == 0.0, numbers[_LAST]
    seen, changed = x, False
    if growth[_STEPS] == _COUNTER:
        if x >= last:
            numbers[_RATE] = _per_second(x, time, numbers)
        elif not _is_reset(x, last):
            growth[:] = 0
            changed = True
        seen = x if changed else numbers[_RATE]
    elif not is_first and _grows(x, last, growth):
        growth[_STEPS] = _COUNTER
        numbers[_RATE] = seen = _per_second(x, time, numbers)
        changed = True
    numbers[_LAST], numbers[_TIME] = x, time
    return seen, changed


@kernel
def advance(
    row_start: Ints,
    series: Ints,
    values: Floats,
    time_ms: Ints,
    numbers: Floats,
    growth: Growths,
    out: Floats,
    changed: Bools,
    is_rate: Bools,
) -> None:
    """What features see of the values (m,) of points at these times (n,), which are learned.

    `changed` (m,) says where a value's history begins anew, `is_rate` (m,) what is a rate.
    """
    numbers, growth = borrowed(numbers), borrowed(growth)
    for point in range(time_ms.shape[0]):
        for row in range(row_start[point], row_start[point + 1]):
            if row + _AHEAD < len(series):
                prefetch(numbers, series[row + _AHEAD])
                prefetch(growth, series[row + _AHEAD])
            out[row], changed[row], is_rate[row] = values[row], False, False
            if not math.isnan(values[row]):
                own = growth[series[row]]
                time = float(time_ms[point]) + 1.0
                out[row], changed[row] = judged_by(values[row], time, numbers[series[row]], own)
                is_rate[row] = own[_STEPS] == _COUNTER
