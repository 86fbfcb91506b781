"""How a point's values fit together: each value's regression on all others, from one correlation matrix.

With w the values' distances from their means in their own units and S their exponentially weighted
covariance, the residual of value i given all others is (P w)_i / sqrt(P_ii), P the inverse of S. S is
shrunk towards independence (after Ledoit and Wolf 2004) as if it were made of some 36 independent points:
streams wander, and among many values some always seem to belong together.
Kernels on the state of one source; its values are numbered from 0 as they stand in its block.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from service.features.deviations import LONG_MEMORY_POINTS
from service.kernels import inlined, kernel

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]

_INDEPENDENT_POINTS = 36.0
_RIDGE = 1e-3
_REFIT_EVERY = 20
_REFIT_ALWAYS_BELOW = 50
_SMOOTHING = 0.1
_JUDGED_FROM = 120
_LARGEST = 20.0

# Columns of a value's row: its smoothed residual, the mean squares of the residual and of the smoothed one.
SMOOTH, SQUARE, SMOOTH_SQUARE = range(3)
NUMBERS = 3


@inlined
def bounded(w: float) -> float:
    return min(max(w, -_LARGEST), _LARGEST)


@kernel
def _invert(matrix: Floats, k: int) -> None:
    """Invert the symmetric positive definite (k, k) corner in place, by Gauss-Jordan without pivots."""
    for p in range(k):
        pivot = 1.0 / matrix[p, p]
        matrix[p, p] = 1.0
        for j in range(k):
            matrix[p, j] *= pivot
        for i in range(k):
            if i != p:
                factor = matrix[i, p]
                matrix[i, p] = 0.0
                for j in range(k):
                    matrix[i, j] -= factor * matrix[p, j]


@kernel
def _refit(covariance: Rows, precision: Rows, k: int, seen: int, work: Floats) -> None:
    share = _INDEPENDENT_POINTS / (_INDEPENDENT_POINTS + k) * (1.0 - k / (k + seen + 1.0))
    for i in range(k):
        for j in range(k):
            work[i, j] = share * covariance[i, j]
        work[i, i] = covariance[i, i] + _RIDGE
    _invert(work, k)
    for i in range(k):
        for j in range(k):
            precision[i, j] = work[i, j]


@inlined
def relate(
    w: Floats,
    k: int,
    seen: int,
    covariance: Rows,
    precision: Rows,
    numbers: Floats,
    work: Floats,
    out: Floats,
) -> bool:
    """Learn the signed distances w (k,) and write each value's two residuals, in their own units, to `out`.

    `covariance` and `precision` are the values' rows (k, at least k); `out` is (k, 2); `work` has room for
    (k, k). False while too few points were seen: then `out` means nothing.
    """
    gain = max(1.0 / (seen + 1), 1.0 / LONG_MEMORY_POINTS)
    narrow = np.float32(gain)
    for i in range(k):
        for j in range(k):
            covariance[i, j] += narrow * (np.float32(w[i] * w[j]) - covariance[i, j])
    if seen < _REFIT_ALWAYS_BELOW or seen % _REFIT_EVERY == 0:
        _refit(covariance, precision, k, seen, work)
    for i in range(k):
        total = 0.0
        for j in range(k):
            total += precision[i, j] * w[j]
        # A value that came later has no precision of its own yet.
        residual = total / math.sqrt(precision[i, i]) if precision[i, i] > 0.0 else 0.0
        s = numbers[i]
        s[SMOOTH] += _SMOOTHING * (residual - s[SMOOTH])
        s[SQUARE] += gain * (residual * residual - s[SQUARE])
        s[SMOOTH_SQUARE] += gain * (s[SMOOTH] * s[SMOOTH] - s[SMOOTH_SQUARE])
        out[i, 0] = abs(residual) / (math.sqrt(s[SQUARE]) + 1e-9)
        out[i, 1] = abs(s[SMOOTH]) / (math.sqrt(s[SMOOTH_SQUARE]) + 1e-9)
    return seen >= _JUDGED_FROM
