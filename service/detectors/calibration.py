"""Oddness to probability: how rare it is in a source's past, and a threshold that keeps a false-alarm budget.

What the ensemble makes of its members is ranked against the source's own past, and a controller moves the
levels of 1 in 100 ... 1 in 100,000 so that in the long run runs of exceedances happen as often as their level
says (after adaptive conformal inference, Gibbs and Candès 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.detectors import policy, sketch
from service.detectors.base import Floats
from service.history.table import Column, StateTable
from service.kernels import borrowed, inlined, kernel, prefetch

Bins = npt.NDArray[np.uint16]
Bytes = npt.NDArray[np.uint8]
Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

# `docs/detection.md` tells what each is for.
_MEMORY_POINTS = 10_000.0
_PRIOR_POINTS = 200.0
_PRIOR_DECADES_PER_UNIT = 1.25
_LEVELS = 4  # exceedance at 1e-2, 1e-3, 1e-4, 1e-5
_STEP = 0.3
_GAP_POINTS = 24
_BELOW_START, _ABOVE_START = 1.5, 4.0
_LEAST_GAP = 0.25  # decades between neighbouring levels
_FLOOR_DECADES, _FLOOR_POINTS = 1.05, 200.0
_FLOOR_AT_START = math.log10(_FLOOR_POINTS)
_PENDING = 60
_ALIVE_POINTS = 300.0
_QUARANTINE_LEVEL = 1  # 1e-3
_ACCEPTED_SHARE, _ACCEPTED_FROM, _ACCEPTED_TO = 25.0, 50.0, 500.0
_REVERSIBLE_POINTS = 5000.0

# Columns of a source's row of numbers, after those of its sketch.
_QUANTILES = sketch.NUMBERS  # .. + 3: the raw surprise that stands for each level
_SINCE = _QUANTILES + _LEVELS  # .. + 3: points since the last exceedance of each level
_RUN, _WAITING, _MEAN_RUN, _NON_ZERO = range(_SINCE + _LEVELS, _SINCE + _LEVELS + 4)
# length of the present run at the quarantine level; values of it that wait to be learned; running mean
# length of ended runs; points with an oddness above 0
_NUMBERS = _NON_ZERO + 1

# Columns of what is known of an outage that was learned as the new normal: the lowest of its bins, the share
# that they and those above had before, points seen until then, and the length of the run while it lasts.
_LOWEST, _SHARE, _AT, _LENGTH = range(4)
_ACCEPTANCE = 4
_REFUSED = -1.0  # for a lowest bin: the present run is never to be learned

_BINS = 128  # up to 2^5.9: more than any ensemble's oddness, which ends at 30

BUDGET_COLUMNS = {
    "bins": Column(np.uint16, _BINS),
    "numbers": Column(np.float64, _NUMBERS),
    "pending": Column(np.uint8, _PENDING),  # bins of the values that wait
    "policy": Column(np.float64, policy.NUMBERS),
    "acceptance": Column(np.float32, _ACCEPTANCE),
}

_TRUST_POINTS = 1000.0  # after which a source's own estimate weighs as much as the reference
_APART = 1e-3  # decades: keeps the two sides of the budget apart
_LOWEST_SCORED = 2.32  # decades below the budget: score 0
_SQUEEZED = 0.5
_LN_10 = math.log(10.0)
_REFERENCE_DECADES = 1.5

_AHEAD = 6  # points whose rows are on their way from memory


@kernel
def _start(bins: Bins, row: Floats, prior: Bins) -> None:
    sketch.start(bins, row, prior)
    for level in range(_LEVELS):
        row[_QUANTILES + level] = level + 2.0
        row[_SINCE + level] = 1e9
    row[_MEAN_RUN] = 3.0


@inlined
def _memory(seen: float) -> float:
    """How many points back the sketch reaches: soon all of the prior is forgotten, later the distant past."""
    return float(min(_MEMORY_POINTS, max(30.0, 0.5 * seen + (200.0 if seen < 400.0 else 0.0))))


@inlined
def _levelled(row: Floats, raw: float) -> float:
    """The raw surprise on the scale of the levels' present places: piecewise linear, slope 1 beyond."""
    if raw <= 1.0:
        return raw
    low, low_level = 1.0, 1.0
    for level in range(_LEVELS):
        high = max(row[_QUANTILES + level], low + _LEAST_GAP)
        if raw < high:
            return float(low_level + (raw - low) / (high - low) * (level + 2.0 - low_level))
        low, low_level = high, level + 2.0
    return float(low_level + (raw - low))


@inlined
def _control(row: Floats, surprise: float) -> None:
    """Raise the levels that this point begins a run of exceedances at; let all sink by their due."""
    share = 0.01
    for level in range(_LEVELS):
        place = row[_QUANTILES + level] - _STEP * share
        row[_SINCE + level] += 1.0
        if surprise >= level + 2.0:
            if row[_SINCE + level] > _GAP_POINTS:
                place += _STEP
            row[_SINCE + level] = 0.0
        row[_QUANTILES + level] = min(max(place, level + 2.0 - _BELOW_START), level + 2.0 + _ABOVE_START)
        share *= 0.1


@kernel
def _release(bins: Bins, row: Floats, pending: Bytes) -> None:
    for i in range(int(row[_WAITING])):
        sketch.learn(bins, row, pending[i], _memory(row[sketch.SEEN]))
    row[_WAITING] = 0.0


@kernel
def _accepts(bins: Bins, row: Floats, acceptance: Singles, own: int) -> bool:
    """Whether an outage has lasted long enough to be learned, from bin `own` on; notes how to undo it."""
    enough = min(max(row[sketch.SEEN] / _ACCEPTED_SHARE, _ACCEPTED_FROM), _ACCEPTED_TO)
    if row[_RUN] <= enough or acceptance[_LOWEST] == _REFUSED:
        return False
    if acceptance[_LENGTH] == 0.0:
        acceptance[_LENGTH] = row[_RUN]
        acceptance[_AT] = row[sketch.SEEN]
        acceptance[_LOWEST], acceptance[_SHARE] = _BINS, 0.0
    if own < acceptance[_LOWEST]:
        weight = sketch.weight_above(bins, own - 1) - sketch.weight_above(bins, int(acceptance[_LOWEST]) - 1)
        acceptance[_SHARE] += weight / row[sketch.TOTAL]
        acceptance[_LOWEST] = own
    return True


@inlined
def _learn(bins: Bins, row: Floats, pending: Bytes, acceptance: Singles, value: float) -> int:
    """Learn the value, unless it is an exceedance that may belong to an outage.

    The exceedances of a run wait. If the run ends short, they are learned; if it goes on, it is an outage
    and they are dropped, until it has gone on so long that it is the new normal: the point at which that is
    so returns the run's length, all others 0.
    """
    own = sketch.bin_of(value, _BINS)
    memory = _memory(row[sketch.SEEN])
    if value > 0.0:
        row[_NON_ZERO] = min(row[_NON_ZERO] + 1.0, 1e9)
    since = row[_SINCE + _QUARANTINE_LEVEL]
    if row[_RUN] > 0.0 and since > _GAP_POINTS:
        row[_MEAN_RUN] += 0.1 * (row[_RUN] - row[_MEAN_RUN])
        _release(bins, row, pending)
        row[_RUN] = 0.0
        acceptance[_LENGTH] = 0.0
        if acceptance[_LOWEST] == _REFUSED:
            acceptance[_LOWEST] = 0.0
    # A stream that only now comes alive must not be held off.
    if since > 0.0 or row[_NON_ZERO] < _ALIVE_POINTS:
        sketch.learn(bins, row, own, memory)
        return 0
    row[_RUN] += 1.0
    if row[_RUN] <= min(float(_PENDING), 3.0 * row[_MEAN_RUN] + 2.0):
        pending[int(row[_WAITING])] = own
        row[_WAITING] += 1.0
        return 0
    row[_WAITING] = 0.0
    if not _accepts(bins, row, acceptance, own):
        return 0
    sketch.learn(bins, row, own, memory)
    return int(row[_RUN]) if acceptance[_LENGTH] == row[_RUN] else 0


@inlined
def _floored(seen: float, surprise: float) -> float:
    """Nobody can claim an event to be rarer than his experience is long."""
    if surprise <= _FLOOR_DECADES + _FLOOR_AT_START:  # nearly always: no logarithm needed
        return surprise
    return min(surprise, _FLOOR_DECADES + math.log10(seen + _FLOOR_POINTS))


@kernel
def reference_of(oddness: float) -> float:
    """-log10 of how rare such an oddness is in a usual source: 6.4 times its unit is 1 in 1,000."""
    return _REFERENCE_DECADES * math.log(1.0 + oddness)


@inlined
def oddness_of(reference: float) -> float:
    """The inverse of `reference_of`: tails of sources are fitted where they are straight."""
    return math.exp(reference / _REFERENCE_DECADES) - 1.0


@inlined
def _own_surprise(bins: Bins, row: Floats, prior: Bins, oddness: float) -> float:
    """-log10 of how rare such an oddness is in the source's own past, as its controller has it."""
    if row[sketch.WEIGHT] == 0.0:
        _start(bins, row, prior)
    sketch.refit_if_due(bins, row)
    return _floored(row[sketch.SEEN], _levelled(row, sketch.surprise(bins, row, oddness)))


@inlined
def trust_of(seen: float) -> float:
    """How much a source's own estimate weighs, 0 to 1, after so many points."""
    return seen / (seen + _TRUST_POINTS)


@inlined
def _shrunk(own: float, reference: float, seen: float) -> float:
    """The source's own estimate, and what is usual elsewhere where it has seen too little to tell."""
    trust = trust_of(seen)
    return trust * own + (1.0 - trust) * reference


@inlined
def _log_sum(a: float) -> float:
    """log10(1 + 10^a)."""
    return a if a > 12.0 else math.log(1.0 + math.exp(a * _LN_10)) / _LN_10


@inlined
def _placed(reference: float, exceeds: bool, level: float) -> float:
    """The surprise that is published: on its side of the budget, in the order of the reference.

    With p0 the budget and r the reference's probability it is that of p0 r / (p0 + r) above the budget and
    of p0 + r below. What would score less than nothing is squeezed together instead of cut off.
    """
    if exceeds:
        return level + _log_sum(reference - level) + _APART
    surprise = level - _log_sum(level - reference) - _APART
    lowest = max(level - _LOWEST_SCORED, 0.0)
    join = lowest + _SQUEEZED
    if surprise >= join:
        return surprise
    return lowest + _SQUEEZED * max(surprise, 0.0) / join


@kernel
def _advance(
    source: Ints,
    reference: Floats,
    evidence: Floats,
    budget: Floats,
    held: Bools,
    away: Bools,
    bins: Bins,
    numbers: Floats,
    pending: Bytes,
    policies: Floats,
    acceptance: Singles,
    prior: Bins,
    out: Floats,
    opening: Bools,
    accepted: Ints,
) -> None:
    bins, numbers, pending = borrowed(bins), borrowed(numbers), borrowed(pending)
    policies, acceptance, prior = borrowed(policies), borrowed(acceptance), borrowed(prior)
    points = source.shape[0]
    last, level = np.nan, 0.0
    for point in range(points):
        if point + _AHEAD < points:
            prefetch(bins, source[point + _AHEAD])
            prefetch(numbers, source[point + _AHEAD])
            prefetch(policies, source[point + _AHEAD])
            prefetch(pending, source[point + _AHEAD])
            prefetch(acceptance, source[point + _AHEAD])
        opening[point], accepted[point] = False, 0
        elsewhere = reference[point]
        if math.isnan(elsewhere):
            out[point] = np.nan
            continue
        if budget[point] != last:  # mostly all points have one budget
            last = budget[point]
            level = -math.log10(last)
        slot = source[point]
        counts, row, alarms = bins[slot], numbers[slot], policies[slot]
        value = oddness_of(elsewhere)
        own = _own_surprise(counts, row, prior, value)
        surprise = _shrunk(own, elsewhere, alarms[policy.POINTS])
        if held[point]:  # what was announced is neither an alarm nor the normal
            out[point] = _placed(elsewhere, surprise >= level, level)
            continue
        if away[point]:  # what was refused is always an alarm, and never the normal
            out[point], opening[point] = _placed(elsewhere, True, level), True
            continue
        has_evidence = not math.isnan(evidence[point])
        opening[point] = policy.opens(alarms, evidence[point], surprise, has_evidence, level, last)
        if opening[point]:
            surprise = max(surprise, level + _APART)
        out[point] = _placed(elsewhere, surprise >= level, level)
        _control(row, surprise)
        accepted[point] = _learn(counts, row, pending[slot], acceptance[slot], value)


class Calibrated(NamedTuple):
    """What is said of `n` points."""

    surprise: Floats  # (n,) -log10 p, NaN where there is none
    opening: Bools  # (n,) whether an incident opens
    accepted: Ints  # (n,) where an outage becomes the new normal, how many points it lasted; otherwise 0


class Refusal(StrEnum):
    """What there was not to be learned."""

    NOTHING = "nothing"
    KEPT_OUT = "kept_out"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Judgement:
    """How one point was judged: its surprises (-log10 p), and what it lacked to open an incident.

    `own` is by the source's past, `reference` by what is usual elsewhere; `trust` is the weight of the first.
    The gate looks at `value`, which is the evidence if `by_evidence` (of a young source with some of the
    surprise in it), else the surprise that they give together; it opens from `threshold` on, which would be
    `unloaded` without the `load` of recent openings, and not while `rest` more points are to pass.
    """

    reference: float
    own: float
    trust: float
    points: int
    by_evidence: bool
    value: float
    threshold: float
    unloaded: float
    load: float
    rest: int


class _Rows(NamedTuple):
    """Copies of a source's rows."""

    bins: Bins
    numbers: Floats
    policy: Floats


class BudgetCalibration:
    """Per source: which points are odder than the budget allows, and where incidents open."""

    def __init__(self) -> None:
        self.table = StateTable(BUDGET_COLUMNS)
        prior = sketch.prior_bins(_PRIOR_DECADES_PER_UNIT, _PRIOR_POINTS, _BINS)
        self._prior = prior.astype(np.uint16)

    def rows(self, slot: int) -> _Rows:
        """What is known of a source, to `judge` its next point by; a negative slot is a new source's."""
        columns = (self.table[name] for name in _Rows._fields)
        return _Rows(*(c[slot].copy() if slot >= 0 else np.zeros_like(c[0]) for c in columns))

    def judge(self, rows: _Rows, reference: float, evidence: float, gate: float) -> Judgement:
        """How `advance` judges a point of a source of which that is known; uses up the rows."""
        points, by_evidence, level = rows.policy[policy.POINTS], not math.isnan(evidence), -math.log10(gate)
        own = _own_surprise(rows.bins, rows.numbers, self._prior, oddness_of(reference))
        policy.pass_time(rows.policy, gate)
        threshold = policy.threshold_of(rows.policy, by_evidence, level)
        load, rest = float(rows.policy[policy.LOAD]), max(int(rows.policy[policy.REST]), 0)
        surprise = _shrunk(own, reference, points)
        value = policy.weighed(rows.policy, evidence, surprise, by_evidence, level)
        rows.policy[policy.LOAD] = 0.0
        return Judgement(
            reference=reference,
            own=own,
            trust=trust_of(points),
            points=int(points),
            by_evidence=by_evidence,
            value=value,
            threshold=threshold,
            unloaded=policy.threshold_of(rows.policy, by_evidence, level),
            load=load,
            rest=rest,
        )

    def advance(
        self,
        source: Ints,
        reference: Floats,
        evidence: Floats,
        budget: Floats,
        held: Bools,
        away: Bools,
    ) -> Calibrated:
        """What is said of each point, which then joins its source's past.

        `reference` is -log10 of how rare the point would be in a usual source, `evidence` what speaks for an
        incident (NaN: the surprise itself), `budget` each point's p0. Those `held` open nothing, those `away`
        from a level that was refused whatever their surprise; neither are learned.
        """
        n, table = len(source), self.table
        calibrated = Calibrated(np.empty(n), np.empty(n, np.bool_), np.empty(n, np.int64))
        _advance(
            source,
            reference,
            evidence,
            budget,
            held,
            away,
            table["bins"],
            table["numbers"],
            table["pending"],
            table["policy"],
            table["acceptance"],
            self._prior,
            *calibrated,
        )
        return calibrated

    def points(self, slot: int) -> int:
        """How many points of a source were judged and learned."""
        return int(self.table["policy"][slot, policy.POINTS])

    def release(self, slot: int) -> int:
        """Learn what waits whether it belongs to an outage; how many points that is."""
        row = self.table["numbers"][slot]
        waiting = int(row[_WAITING])
        _release(self.table["bins"][slot], row, self.table["pending"][slot])
        return waiting

    def refuse(self, slot: int) -> Refusal:
        """Do not learn the outage under way, however long it lasts; forget the one that was learned lately.

        Of what was learned the tail is cut back to the share that it had before. An outage that was forgotten
        counts as under way, for as long as its exceedances come.
        """
        table = self.table
        bins, row, acceptance = table["bins"][slot], table["numbers"][slot], table["acceptance"][slot]
        fresh = row[sketch.SEEN] - acceptance[_AT] <= _REVERSIBLE_POINTS
        refusal = Refusal.NOTHING if row[_RUN] == 0.0 else Refusal.KEPT_OUT
        if acceptance[_LOWEST] > 0.0 and fresh:
            sketch.cut_back(bins, row, int(acceptance[_LOWEST]), float(acceptance[_SHARE]))
            row[_SINCE + _QUARANTINE_LEVEL] = 0.0
            refusal = Refusal.FORGOTTEN
        if refusal is not Refusal.NOTHING:
            acceptance[:] = 0.0
            acceptance[_LOWEST] = _REFUSED
            row[_WAITING], row[_RUN] = 0.0, max(row[_RUN], _PENDING + 1.0)
        return refusal
