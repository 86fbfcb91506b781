"""The array types that the scorers share, and the stretches of a boolean column."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def stretches(flags: Bools) -> list[tuple[int, int]]:
    """First and last index of every run of true values, in order."""
    edges = np.diff(flags.astype(np.int8), prepend=0, append=0)
    first, behind = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(a), int(b) - 1) for a, b in zip(first, behind, strict=True)]


def probation(points: int) -> int:
    """How many points of a series count for nothing: its first 15 %, at most 750."""
    return min(points * 15 // 100, 750)
