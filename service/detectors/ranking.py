"""Oddness to surprise: each member of the ensemble is ranked among all points of the partition.

That makes members comparable, whatever their unit, and leaves the order within a source as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from service.detectors import sketch
from service.detectors.base import Array, Floats
from service.history.table import Column, StateTable
from service.kernels import borrowed, inlined, kernel

Bins = npt.NDArray[np.uint32]

_MEMORY_POINTS = 200_000.0
_PRIOR_POINTS = 50.0
_COLUMNS = {
    "bins": Column(np.uint32, sketch.BINS),
    "fit": Column(np.float64, sketch.NUMBERS),
    "curve": Column(np.float64, 2 * sketch.BINS),
}
_REDRAW_SHARE = 64  # of the points seen so far
_REDRAW_AT_MOST = 1024
_LARGEST_SURPRISE = 30.0


@inlined
def _bounded(surprise: float) -> float:
    """Ordered at the top, but no single member outweighs all others."""
    return surprise / (1.0 + surprise / _LARGEST_SURPRISE)


@kernel
def _redraw_after(seen: int) -> int:
    """How many points share a curve, once `seen` were counted: 1 below 128, later up to 1,024."""
    points = 1
    while points < _REDRAW_AT_MOST and 2 * points * _REDRAW_SHARE <= seen:
        points *= 2
    return points


@kernel
def _redraw(bins: Bins, fit: Floats, curve: Floats, points: int) -> None:
    """Take up the last `points` points, which were counted with one weight, and draw the curve anew."""
    memory = min(_MEMORY_POINTS, 100.0 + fit[sketch.SEEN])
    fit[sketch.WEIGHT] *= (memory / (memory - 1.0)) ** points
    sketch.refit(bins, fit)
    sketch.draw_curve(bins, fit, curve)
    sketch.halve_if_full(bins, fit)


@kernel
def _start(bins: Bins, fit: Floats, curve: Floats, prior: Bins) -> None:
    sketch.start(bins, fit, prior)
    sketch.refit(bins, fit)
    sketch.draw_curve(bins, fit, curve)


@kernel
def _rank(
    oddness: Floats, ranked: npt.NDArray[np.bool_], bins: Bins, fit: Floats, curve: Floats, out: Floats
) -> None:
    """Surprises (n, d) of the oddness (d, n), member by member: each point is ranked, then counted.

    Between two redraws, which lie at fixed counts of points, ranking is a look into the curve.
    """
    bins, fit, curve = borrowed(bins), borrowed(fit), borrowed(curve)
    for member in range(oddness.shape[0]):
        if not ranked[member]:
            out[:, member] = oddness[member]
            continue
        seen = int(fit[member, sketch.SEEN])
        weight = np.uint32(fit[member, sketch.WEIGHT])
        points = _redraw_after(seen)
        for point in range(oddness.shape[1]):
            value = oddness[member, point]
            if math.isnan(value):
                out[point, member] = np.nan
                continue
            out[point, member] = _bounded(sketch.magnitude(curve[member], value))
            bins[member, sketch.bin_of(value, bins.shape[1])] += weight
            seen += 1
            if seen % points == 0:
                fit[member, sketch.SEEN] = seen
                _redraw(bins[member], fit[member], curve[member], points)
                weight = np.uint32(fit[member, sketch.WEIGHT])
                points = _redraw_after(seen)
        fit[member, sketch.SEEN] = seen


@kernel
def _rank_only(oddness: Floats, ranked: npt.NDArray[np.bool_], curve: Floats, out: Floats) -> None:
    for member in range(oddness.shape[0]):
        if not ranked[member]:
            out[:, member] = oddness[member]
            continue
        for point in range(oddness.shape[1]):
            value = oddness[member, point]
            out[point, member] = value
            if not math.isnan(value):
                out[point, member] = _bounded(sketch.magnitude(curve[member], value))


class MemberRanking:
    """One sketch a detector over all points of the partition: oddness to surprise, -log10 p."""

    def __init__(self, ranked: Sequence[bool]) -> None:
        """One flag a detector: whether it is ranked, or its oddness is a surprise already."""
        members = len(ranked)
        self._ranked = np.array(ranked, np.bool_)
        self._table = StateTable(_COLUMNS, rows=members)
        prior = sketch.prior_bins(1.0, _PRIOR_POINTS)
        for row in range(members):
            _start(self._table["bins"][row], self._table["fit"][row], self._curves[row], prior)

    @property
    def _curves(self) -> Floats:
        return self._table["curve"].reshape(len(self._table), 2, sketch.BINS)

    def advance(self, oddness: Floats) -> Floats:
        """Surprise (n, members) of each oddness (members, n) among those before it, which it joins."""
        out = np.empty(oddness.shape[::-1])
        _rank(oddness, self._ranked, self._table["bins"], self._table["fit"], self._curves, out)
        return out

    def peek(self, oddness: Floats) -> Floats:
        """The surprises of `advance` without learning anything."""
        out = np.empty(oddness.shape[::-1])
        _rank_only(oddness, self._ranked, self._curves, out)
        return out

    def state(self) -> dict[str, Array]:
        return self._table.arrays(len(self._table))

    def restore(self, state: Mapping[str, Array]) -> None:
        members = len(state.get("fit", ()))
        if members != len(self._table):
            raise ValueError(
                f"saved ranking is of {members} detectors, there are {len(self._table)} detectors"
            )
        self._table.restore(state)
