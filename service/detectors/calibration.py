"""Oddness to probability: how rare a detector's score is, and a threshold that keeps a false-alarm budget.

Two users of the same sketch. Each member of the ensemble is ranked against the whole partition, which
makes members comparable and leaves the order within a source as it is. What the ensemble makes of them is
ranked against the source's own past, and a controller moves the levels of 1 in 100 ... 1 in 100,000 so that
in the long run runs of exceedances happen as often as their level says (after adaptive conformal inference,
Gibbs and Candès 2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from service.detectors import sketch
from service.detectors.base import Array, Floats
from service.history.table import Column, StateTable
from service.kernels import kernel

_POOLED_MEMORY_POINTS = 200_000.0
_POOLED_PRIOR_POINTS = 50.0
_LARGEST_SURPRISE = 30.0


@kernel
def _bounded(surprise: float) -> float:
    """Ordered at the top, but no single member outweighs all others."""
    return surprise / (1.0 + surprise / _LARGEST_SURPRISE)


@kernel
def _rank_pooled(
    oddness: Floats, bins: npt.NDArray[np.uint32], fit: Floats, memory: float, out: Floats
) -> None:
    """Column by column: surprises (n, d) of the oddness (n, d), point by point, then learned."""
    for column in range(oddness.shape[1]):
        for point in range(oddness.shape[0]):
            value = oddness[point, column]
            if math.isnan(value):
                out[point, column] = np.nan
                continue
            sketch.refit_if_due(bins[column], fit[column])
            out[point, column] = _bounded(sketch.magnitude(bins[column], fit[column], value))
            kept = min(memory, 100.0 + fit[column, sketch.SEEN])
            sketch.learn(bins[column], fit[column], value, kept)


@kernel
def _rank_only(oddness: Floats, bins: npt.NDArray[np.uint32], fit: Floats, out: Floats) -> None:
    for column in range(oddness.shape[1]):
        sketch.refit_if_due(bins[column], fit[column])
        for point in range(oddness.shape[0]):
            value = oddness[point, column]
            out[point, column] = value
            if not math.isnan(value):
                out[point, column] = _bounded(sketch.magnitude(bins[column], fit[column], value))


class MemberCalibration:
    """One sketch a detector over all points of the partition: oddness to surprise, -log10 p."""

    def __init__(self, members: int) -> None:
        self._table = StateTable(sketch.SKETCH_COLUMNS, rows=members)
        prior = sketch.prior_bins(1.0, _POOLED_PRIOR_POINTS)
        for row in range(members):
            sketch.start(self._table["bins"][row], self._table["fit"][row], prior)

    def advance(self, oddness: Floats) -> Floats:
        """Surprise (n, members) of each point among those before it, which then is learned; NaN stays."""
        out = np.empty_like(oddness)
        _rank_pooled(oddness, self._table["bins"], self._table["fit"], _POOLED_MEMORY_POINTS, out)
        return out

    def peek(self, oddness: Floats) -> Floats:
        """The surprises of `advance` without learning anything."""
        out = np.empty_like(oddness)
        _rank_only(oddness, self._table["bins"], self._table["fit"].copy(), out)
        return out

    def state(self) -> dict[str, Array]:
        return self._table.arrays(len(self._table))

    def restore(self, state: Mapping[str, Array]) -> None:
        members = len(state.get("fit", ()))
        if members != len(self._table):
            raise ValueError(
                f"saved calibration is of {members} detectors, there are {len(self._table)} detectors"
            )
        self._table.restore(state)


# The budget's constants; `docs/detection.md` tells what each is for.
_MEMORY_POINTS = 10_000.0
_PRIOR_POINTS = 200.0
_PRIOR_DECADES_PER_UNIT = 1.25
_LEVELS = 4  # exceedance at 1e-2, 1e-3, 1e-4, 1e-5
_STEP = 0.3
_GAP_POINTS = 24
_BELOW_START, _ABOVE_START = 1.5, 4.0
_LEAST_GAP = 0.25  # decades between neighbouring levels
_FLOOR_DECADES, _FLOOR_POINTS = 1.05, 200.0
_PENDING = 60
_ALIVE_POINTS = 300.0
_QUARANTINE_LEVEL = 1  # 1e-3

_QUANTILES = 0  # .. 3: the raw surprise that stands for each level
_SINCE = 4  # .. 7: points since the last exceedance of each level
_RUN = 8  # length of the present run at the quarantine level
_WAITING = 9  # values of it that wait to be learned
_MEAN_RUN = 10  # running mean length of ended runs
_NON_ZERO = 11
_GATE_WIDTH = 12

BUDGET_COLUMNS = {
    **sketch.SKETCH_COLUMNS,
    "gate": Column(np.float64, _GATE_WIDTH),
    "pending": Column(np.float32, _PENDING),
}


@kernel
def _start(bins: npt.NDArray[np.uint32], fit: Floats, gate: Floats, prior: npt.NDArray[np.uint32]) -> None:
    sketch.start(bins, fit, prior)
    for level in range(_LEVELS):
        gate[_QUANTILES + level] = level + 2.0
        gate[_SINCE + level] = 1e9
    gate[_MEAN_RUN] = 3.0


@kernel
def _memory(seen: float) -> float:
    """How many points back the sketch reaches: soon all of the prior is forgotten, later the distant past."""
    return float(min(_MEMORY_POINTS, max(30.0, 0.5 * seen + (200.0 if seen < 400.0 else 0.0))))


@kernel
def _levelled(gate: Floats, raw: float) -> float:
    """The raw surprise on the scale of the levels' present places: piecewise linear, slope 1 beyond."""
    if raw <= 1.0:
        return raw
    low, low_level = 1.0, 1.0
    for level in range(_LEVELS):
        high = max(gate[_QUANTILES + level], low + _LEAST_GAP)
        if raw < high:
            return float(low_level + (raw - low) / (high - low) * (level + 2.0 - low_level))
        low, low_level = high, level + 2.0
    return float(low_level + (raw - low))


@kernel
def _control(gate: Floats, surprise: float) -> None:
    """Raise the levels that this point begins a run of exceedances at; let all sink by their due."""
    share = 0.01
    for level in range(_LEVELS):
        place = gate[_QUANTILES + level] - _STEP * share
        gate[_SINCE + level] += 1.0
        if surprise >= level + 2.0:
            if gate[_SINCE + level] > _GAP_POINTS:
                place += _STEP
            gate[_SINCE + level] = 0.0
        gate[_QUANTILES + level] = min(max(place, level + 2.0 - _BELOW_START), level + 2.0 + _ABOVE_START)
        share *= 0.1


@kernel
def _release(
    bins: npt.NDArray[np.uint32], fit: Floats, gate: Floats, pending: npt.NDArray[np.float32]
) -> None:
    for i in range(int(gate[_WAITING])):
        sketch.learn(bins, fit, pending[i], _memory(fit[sketch.SEEN]))
    gate[_WAITING] = 0.0


@kernel
def _learn(
    bins: npt.NDArray[np.uint32], fit: Floats, gate: Floats, pending: npt.NDArray[np.float32], value: float
) -> None:
    """Learn the value, unless it is an exceedance that may belong to an outage.

    The exceedances of a run wait. If the run ends short, they are learned; if it goes on, it is an outage
    and they are dropped, until it has gone on so long that it is the new normal.
    """
    memory = _memory(fit[sketch.SEEN])
    if value > 0.0:
        gate[_NON_ZERO] = min(gate[_NON_ZERO] + 1.0, 1e9)
    since = gate[_SINCE + _QUARANTINE_LEVEL]
    if gate[_RUN] > 0.0 and since > _GAP_POINTS:
        gate[_MEAN_RUN] += 0.1 * (gate[_RUN] - gate[_MEAN_RUN])
        _release(bins, fit, gate, pending)
        gate[_RUN] = 0.0
    # A stream that only now comes alive must not be held off.
    if since > 0.0 or gate[_NON_ZERO] < _ALIVE_POINTS:
        sketch.learn(bins, fit, value, memory)
        return
    gate[_RUN] += 1.0
    if gate[_RUN] <= min(float(_PENDING), 3.0 * gate[_MEAN_RUN] + 2.0):
        pending[int(gate[_WAITING])] = value
        gate[_WAITING] += 1.0
        return
    gate[_WAITING] = 0.0
    if gate[_RUN] > min(max(fit[sketch.SEEN] / 25.0, 50.0), 500.0):
        sketch.learn(bins, fit, value, memory)


@kernel
def _advance(
    source: npt.NDArray[np.int64],
    oddness: Floats,
    bins: npt.NDArray[np.uint32],
    fit: Floats,
    gate: Floats,
    pending: npt.NDArray[np.float32],
    prior: npt.NDArray[np.uint32],
    out: Floats,
) -> None:
    for point in range(source.shape[0]):
        value = oddness[point]
        if math.isnan(value):
            out[point] = np.nan
            continue
        slot = source[point]
        if fit[slot, sketch.WEIGHT] == 0.0:
            _start(bins[slot], fit[slot], gate[slot], prior)
        # Nobody can claim an event to be rarer than his experience is long.
        most = _FLOOR_DECADES + math.log10(fit[slot, sketch.SEEN] + _FLOOR_POINTS)
        sketch.refit_if_due(bins[slot], fit[slot])
        surprise = min(_levelled(gate[slot], sketch.surprise(bins[slot], fit[slot], value)), most)
        out[point] = surprise
        _control(gate[slot], surprise)
        _learn(bins[slot], fit[slot], gate[slot], pending[slot], value)


class BudgetCalibration:
    """Per source: the ensemble's oddness to a surprise whose exceedances keep to their stated rate."""

    def __init__(self) -> None:
        self.table = StateTable(BUDGET_COLUMNS)
        self._prior = sketch.prior_bins(_PRIOR_DECADES_PER_UNIT, _PRIOR_POINTS)

    def advance(self, source: npt.NDArray[np.int64], oddness: Floats) -> Floats:
        """Surprise (n,), -log10 p, of each point in its source's own past, which it then joins."""
        out = np.empty(len(source))
        table = self.table
        _advance(
            source, oddness, table["bins"], table["fit"], table["gate"], table["pending"], self._prior, out
        )
        return out
