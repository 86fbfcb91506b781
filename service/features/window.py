"""What one value is against its window and its smoothed past: the features that results show.

Kernels on one value's rows of state. The window holds distances from one of the series' values, its anchor,
as 32-bit floats: half the memory of the values themselves, and as exact where it matters. An anchor that a
series has left far behind, such as a sensor's first reading, is given up for a nearer one.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.features import rolling
from service.features.rolling import Places, Ring
from service.kernels import inlined, kernel, prefetch

Floats = npt.NDArray[np.float64]


class Feature(IntEnum):
    """The columns of a value's feature row; the names are public, in results."""

    VALUE = 0
    MEAN = 1
    STD = 2
    Z_SCORE = 3
    MEDIAN = 4
    MAD = 5
    ROBUST_Z = 6
    EWMA = 7
    EWMA_Z = 8
    DIFFERENCE = 9
    DIFFERENCE_Z = 10


FEATURES = len(Feature)

LEVELS = (Feature.MEAN, Feature.MEDIAN, Feature.EWMA)
"""Those that are of the height of the value, of which more digits matter."""

# Columns of a value's row: of the window's distances the mean, the sum of squares, and the rank at which
# those nearest to the median begin; then of what the value is smoothed to.
_MEAN, _SQUARES, _NEAREST, _EWMA, _EWMA_SQUARE, _DIFFERENCE_SQUARE = range(6)
NUMBERS = _DIFFERENCE_SQUARE + 1

LARGEST = 1e140  # squares of larger numbers, summed over a window, would overflow
FURTHEST = 1e37  # from the anchor: of a 32-bit float's differences
_FAR = 4096.0  # standard deviations from the anchor: distances have four digits more than these
_MAD_TO_SIGMA = 1.4826


class Windows(NamedTuple):
    """What is kept of each series, a row each, and how it is looked at."""

    ring: Ring  # (rows, values of the past)
    order: Places  # (rows, window)
    numbers: Floats  # (rows, NUMBERS)
    ewma_gain: float
    long_memory: float  # points


@inlined
def distance(x: float, anchor: float) -> float:
    """From the anchor, as a ring can hold it."""
    return min(max(x - anchor, -FURTHEST), FURTHEST)


@inlined
def _scaled(deviation: float, scale: float, typical: float) -> float:
    """Deviation in units of scale; a series that never moved gets a scale of a millionth of its level."""
    return deviation / max(scale, 1e-9 + 1e-6 * abs(typical))


@inlined
def advance(
    sent: float,
    x: float,
    anchor: float,
    last: float,
    seen: int,
    judged: bool,
    slot: int,
    windows: Windows,
    past: Ring,
    out: Floats,
) -> None:
    """Write the features (FEATURES,) of one value, NaN if it is not to be judged; then learn it.

    The value as it was `sent` is shown, that within LARGEST reckoned with, which followed `last` and `seen`
    others. `past` (n + 1,) gets its ring's distances from the anchor: see `rolling.unroll`.
    """
    ring, order, s = windows.ring[slot], windows.order[slot], windows.numbers[slot]
    window = len(order)
    count = min(seen, window)
    gain = max(1.0 / (seen + 1), 1.0 / windows.long_memory)
    off = distance(x, anchor)
    rolling.unroll(off, seen, ring, past)
    mean = anchor + s[_MEAN]
    if seen == 0:
        ewma, difference, gap = x, 0.0, 0.0
    else:
        ewma = s[_EWMA] + windows.ewma_gain * (x - s[_EWMA])
        difference = x - last
        gap = ewma - mean
    # The point itself counts in these two scales: a first move after long rest is then bounded by
    # the square root of the history's length instead of being infinite.
    ewma_square = s[_EWMA_SQUARE] + gain * (gap * gap - s[_EWMA_SQUARE])
    difference_square = s[_DIFFERENCE_SQUARE] + gain * (difference * difference - s[_DIFFERENCE_SQUARE])
    out[Feature.VALUE] = sent
    if judged:
        std = math.sqrt(s[_SQUARES] / (count - 1))
        middle = rolling.median(ring, order, count)
        before = int(s[_NEAREST])
        mad, nearest = rolling.median_absolute_deviation(ring, order, count, middle, before)
        s[_NEAREST] = nearest
        out[Feature.MEAN] = mean
        out[Feature.STD] = std
        out[Feature.Z_SCORE] = _scaled(off - s[_MEAN], std, mean)
        out[Feature.MEDIAN] = anchor + middle
        out[Feature.MAD] = mad
        # With more than half the values equal the MAD is 0 and says nothing of the other half.
        scale = _MAD_TO_SIGMA * mad if mad > 0.0 else std
        out[Feature.ROBUST_Z] = _scaled(off - middle, scale, anchor + middle)
        out[Feature.EWMA] = ewma
        out[Feature.EWMA_Z] = _scaled(gap, math.sqrt(ewma_square), mean)
        out[Feature.DIFFERENCE] = difference
        out[Feature.DIFFERENCE_Z] = _scaled(difference, math.sqrt(difference_square), mean)
    else:
        out[Feature.VALUE + 1 :] = np.nan
    rolling.push(past, seen, ring, order)
    s[_MEAN], s[_SQUARES] = rolling.moments(past, window, seen, s[_MEAN], s[_SQUARES])
    s[_EWMA] = ewma
    s[_EWMA_SQUARE] = ewma_square
    s[_DIFFERENCE_SQUARE] = difference_square


@inlined
def is_far(seen: int, slot: int, windows: Windows) -> bool:
    """Whether a window has left its anchor too far behind; after `advance`, once a turn of the ring."""
    size, window, s = windows.ring.shape[1], windows.order.shape[1], windows.numbers[slot]
    return bool(seen % size == size - 1 and s[_MEAN] ** 2 * window > _FAR**2 * s[_SQUARES])


@kernel
def anchor_by(shift: float, seen: int, slot: int, windows: Windows, past: Ring) -> None:
    """Let the anchor be larger by so much."""
    ring, order, s = windows.ring[slot], windows.order[slot], windows.numbers[slot]
    rolling.shift(shift, FURTHEST, seen, ring, past, order)
    s[_MEAN], s[_SQUARES] = rolling.exact_moments(past[: min(seen + 1, len(order))])


@inlined
def ask_for(slot: int, windows: Windows) -> None:
    """Have a row brought from memory that will be looked at soon."""
    prefetch(windows.ring, slot)
    prefetch(windows.order, slot)
    prefetch(windows.numbers, slot)


@kernel
def forget(slot: int, windows: Windows) -> None:
    """Begin anew; what the ring holds is overwritten before it is looked at."""
    windows.numbers[slot, :] = 0.0
