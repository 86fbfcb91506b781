"""Weights that fade, in whole numbers: newer ones are heavier, and all are halved before they get too large.

What a weight is more than a whole number, or a half of an odd one, is made up for by the next: added to a
phase that runs through [0, 1) evenly and rounded down, it is right in the mean. So small integers hold a
past that fades by a fifty-thousandth at each point.
"""

from __future__ import annotations

from service.kernels import inlined

_GOLDEN = 2_654_435_769  # 2^32 by the golden ratio: its multiples fill [0, 2^32) as evenly as any
_FRACTION = 2.0**-32


@inlined
def whole(weight: float, turn: int) -> int:
    """One of the two whole numbers next to the weight, which is their mean over the turns 0, 1, 2, ..."""
    return int(weight + ((turn * _GOLDEN) & 0xFFFF_FFFF) * _FRACTION)
