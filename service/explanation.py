"""Why a point was called anomalous: who contributed, what would have been normal, one sentence with numbers.

Works on one anomalous point at a time and a handful of numbers, for which plain Python is quickest.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

from service import oddities
from service.features.window import Feature
from service.oddities import Odd, number

Row = Sequence[float]
"""The features of one value, (FEATURES,)."""

# The feature that each statistical detector looks at; the others see all of them together.
_LOOKS_AT = {
    "zscore": Feature.Z_SCORE,
    "robust_z": Feature.ROBUST_Z,
    "ewma": Feature.EWMA_Z,
    "difference": Feature.DIFFERENCE_Z,
}
_LONG_MEMORY = "deviation"
_ALL = (Feature.Z_SCORE, Feature.ROBUST_Z, Feature.EWMA_Z, Feature.DIFFERENCE_Z)
_FAR_OUT, _FARTHER_OUT = 1.5, 3.0  # times the reach of what is normal
_TOLD = ("zscore", "ewma", "difference")  # what a detector that sees all of them is told by


class Expected(NamedTuple):
    """The range in which a value would have been normal."""

    value: str
    lower: float
    typical: float
    upper: float


class Contribution(NamedTuple):
    """A share of one value, as one detector sees it."""

    value: str
    detector: str
    share: float


@lru_cache(maxsize=1024)
def usual_reach(budget: float) -> float:
    """How many standard deviations a value may be off before a share `budget` of normal ones is further."""
    return NormalDist().inv_cdf(1.0 - budget / 2.0)


def expected_ranges(names: Sequence[str], rows: Sequence[Row], budget: float) -> list[Expected]:
    """Per value with history: mean, and mean ± the reach of the budget; one row for each name."""
    reach = usual_reach(budget)
    ranges = []
    for name, row in zip(names, rows, strict=True):
        mean, std = row[Feature.MEAN], row[Feature.STD]
        if not math.isnan(mean):
            ranges.append(Expected(name, mean - reach * std, mean, mean + reach * std))
    return ranges


def contributions(
    names: Sequence[str],
    rows: Sequence[Row],
    detectors: Sequence[str],
    surprises: Sequence[float],
    weights: Sequence[float],
    parts: Sequence[float] = (),
) -> list[Contribution]:
    """Shares by value and detector, largest first, adding up to 1.

    Shares below 1 % are left out, except where hardly any is larger: the ten largest always stand. A
    detector's part is its weighted surprise; it is split by the squares of what the detector looks at, over
    the values that have a history; `parts` are the values' in the oddness of long memory.
    """
    known = [v for v, row in enumerate(rows) if not math.isnan(row[Feature.MEAN])]
    shares: dict[tuple[int, int], float] = {}
    for d, (detector, surprise) in enumerate(zip(detectors, surprises, strict=True)):
        part = weights[d] * surprise
        if not part > 0.0:
            continue
        if len(known) == 1:
            shares[known[0], d] = part
            continue
        if detector == _LONG_MEMORY:
            squares = [parts[v] for v in known]
        elif detector in _LOOKS_AT:
            squares = [_square(rows[v][_LOOKS_AT[detector]]) for v in known]
        else:
            squares = [sum([_square(rows[v][column]) for column in _ALL]) for v in known]
        total = sum(squares)
        for v, square in zip(known, squares, strict=True):
            share = part * (square / total if total > 0.0 else 1.0 / len(known))
            if share > 0.0:
                shares[v, d] = share
    whole = sum(shares.values())
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    kept = [item for i, item in enumerate(ordered) if i < 10 or item[1] >= 0.01 * whole]
    whole = sum(share for _, share in kept)
    return [Contribution(names[v], detectors[d], share / whole) for (v, d), share in kept]


def _square(z: float) -> float:
    """At most a million, where the share is clear anyway; 0 for NaN."""
    return min(z * z, 1e6) if z == z else 0.0


class Marks(NamedTuple):
    """What the long memory found odd: see `FeatureBatch`; `rows` of the values in their order."""

    rows: Sequence[Row]
    oddness: float
    by_evidence: bool


def sentence(
    names: Sequence[str],
    rows: Sequence[Row],
    shares: Sequence[Contribution],
    expected: Sequence[Expected],
    marks: Marks | None = None,
    rates: Sequence[bool] = (),
) -> str:
    """One sentence on the value that contributed most, as the detector that saw most of it puts it.

    `rates` says which values are counters, judged by their rate.
    """
    if not shares:
        return "The combination of values is unusual for this source."
    by_value: dict[str, float] = {}
    for share in shares:
        by_value[share.value] = by_value.get(share.value, 0.0) + share.share
    name = max(by_value, key=lambda value: by_value[value])
    kind = next(share.detector for share in shares if share.value == name)
    v = list(names).index(name)
    row, called = rows[v], f"the rate of {name}" if any(rates) and rates[v] else name
    limits = next((e for e in expected if e.value == name), None)
    if limits is None:
        return f"{called} {number(row[Feature.VALUE])} is unusual for this source."
    if kind == _LONG_MEMORY and marks is not None and not _is_plain(row, limits, marks.by_evidence):
        odd = Odd(called, row, marks.rows[v], len(rows) == 1, marks.oddness, marks.by_evidence)
        return _with_others(oddities.told(odd), name, by_value)
    if kind not in _LOOKS_AT:
        kind = max(_TOLD, key=lambda told: _square(row[_LOOKS_AT[told]]))
    text = _describe(called, kind, row, limits)
    return _with_others(text, name, by_value)


def _with_others(text: str, name: str, by_value: dict[str, float]) -> str:
    others = sum(1 for value, share in by_value.items() if value != name and share >= 0.2)
    return f"{text}; {others} other value{'s' * (others > 1)} moved with it" if others else text


def _is_plain(row: Row, limits: Expected, by_evidence: bool) -> bool:
    """Whether the value is so far out that nothing else need be said."""
    reach = (_FAR_OUT if not by_evidence else _FARTHER_OUT) * (limits.upper - limits.typical)
    return abs(row[Feature.VALUE] - limits.typical) > reach


def missing(name: str) -> tuple[str, list[Contribution]]:
    """The sentence on a point that is odd because a value has stopped coming, and its contributions."""
    sentence = f"{name} has stopped coming, while the source goes on"
    return sentence, [Contribution(name, _LONG_MEMORY, 1.0)]


def accepted(source_id: str, points: int) -> str:
    """The end of a sentence on a point with which an outage became the new normal."""
    undo = f"anomalyd feedback {shlex.quote(source_id)} confirmed"
    return f"after {points} such points accepted as the new normal (undo: {undo})"


Moved = tuple[str, float, float]
"""A value's name, its level before and its level now."""


def settled(moves: Sequence[Moved]) -> str:
    """What is told of an incident that is over because its source has settled elsewhere."""
    name, before, now = max(moves, key=_share_moved)
    levels = f"{name} is about {_level(now, before)} now and was {_level(before, now)} before"
    return f"Quiet at a new level: {levels}{_more(moves)}"


def refused(moves: Sequence[Moved]) -> str:
    """What is told of a point at a level that is not to become normal."""
    name, before, now = max(moves, key=_share_moved)
    levels = f"{_level(now, before)} than to {_level(before, now)}, where it was before"
    return f"{name} is still nearer to {levels}; this was confirmed to be no new normal{_more(moves)}"


def _share_moved(move: Moved) -> float:
    _, before, now = move
    return abs(now - before) / (abs(now) + abs(before))


def _level(x: float, other: float) -> str:
    return number(x, 0.1 * abs(x - other))


def _more(moves: Sequence[Moved]) -> str:
    others = len(moves) - 1
    return f"; {others} other value{'s' * (others > 1)} moved with it" if others else ""


def _describe(name: str, kind: str, row: Row, limits: Expected) -> str:
    x, mean, std = row[Feature.VALUE], limits.typical, row[Feature.STD]
    z, step = row[Feature.Z_SCORE], row[Feature.DIFFERENCE]
    outside = x > limits.upper or x < limits.lower

    def shown(quantity: float) -> str:
        return number(quantity, std)

    if outside and std <= 1e-6 * abs(mean) + 1e-9:
        left = abs(x - mean)
        return f"{name} {number(x, left)} left the {number(mean, left)} at which it had stood still"
    if kind == "difference" and not outside:
        times = abs(row[Feature.DIFFERENCE_Z])
        way = "rose" if step > 0 else "fell"
        return (
            f"{name} {way} by {shown(abs(step))} to {shown(x)} in one step, "
            f"{times:.1f} times its usual step; "
            f"between {shown(limits.lower)} and {shown(limits.upper)} it is normal at rest"
        )
    if kind == "ewma" and not outside:
        smoothed = row[Feature.EWMA]
        way = "above" if smoothed > mean else "below"
        return (
            f"{name} has drifted: its latest points average {shown(smoothed)}, "
            f"{abs(row[Feature.EWMA_Z]):.1f} times the usual wander {way} {shown(mean)}; "
            f"the newest is {shown(x)}"
        )
    if not outside:
        return (
            f"{name} {shown(x)} is within its usual {shown(mean)} ± {shown(std)}, "
            "but moves as it has not before"
        )
    side, limit = ("above", limits.upper) if x > mean else ("below", limits.lower)
    other_side = "below" if side == "above" else "above"
    many = f"{abs(z):.1f}" if abs(z) < 1000 else "over 1000"
    return (
        f"{name} {shown(x)} is {many} standard deviations {side} its usual "
        f"{shown(mean)} ± {shown(std)}; {other_side} {shown(limit)} would have been normal"
    )
