"""In words what is odd about one value, by what really drove the score or opened the incident."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from service.features import changes
from service.features.deviations import ALONE, Deviation
from service.features.marks import Mark
from service.features.window import Feature

Row = Sequence[float]

_KINDS = tuple(Deviation)  # a walk over the class itself takes twice as long
_RESIDUALS = (Mark.RESIDUAL, Mark.SMOOTH_RESIDUAL)
_BESIDE_OTHERS = (Deviation.STEP, Deviation.LEVEL, Deviation.SMOOTHED, *_RESIDUALS)
_OF_THE_DAY = 0.9  # what differs from the same time of other days mostly differs from a moment ago as well
_RECURRENCES = (Deviation.RECURRENCE, Deviation.STEP_RECURRENCE)


class Odd(NamedTuple):
    """An odd value: its features and marks, and what it is judged by.

    `is_alone` says that its source has no other value, `oddness` how odd the point is, `by_evidence` that not
    the point is rare, but what the signs of change say together.
    """

    name: str
    features: Row
    marks: Row
    is_alone: bool
    oddness: float
    by_evidence: bool

    @property
    def value(self) -> str:
        return self.number(self.features[Feature.VALUE])

    def number(self, x: float) -> str:
        return number(x, self.features[Feature.STD])

    def times(self, kind: int) -> str:
        return f"{self.marks[kind]:.1f} times"


def told(odd: Odd) -> str:
    """What is odd about the value."""
    if odd.by_evidence and not math.isnan(odd.marks[Mark.SURPRISES]):
        return _of_sign(odd)
    if 0.0 < odd.oddness <= odd.marks[Mark.STANDSTILL]:
        times = odd.marks[Mark.REPEATS] + 1
        return f"{odd.name} has been {odd.value} {times:.0f} times in a row, far longer than it usually stays"
    kind = _strongest(odd)
    return _TOLD[kind](odd, kind)


def _strongest(odd: Odd) -> int:
    """The deviation with the largest part in the value's."""
    marks = odd.marks
    if odd.is_alone:
        return max(_KINDS, key=lambda kind: ALONE[kind] * marks[kind] ** 2)
    plain = [kind for kind in _BESIDE_OTHERS if kind not in _RESIDUALS or marks[Mark.RESIDUAL] > 0.0]
    usual = sum(marks[kind] ** 2 for kind in plain) / len(plain)
    again = sum(marks[kind] ** 2 for kind in _RECURRENCES) / len(_RECURRENCES)
    return max(_RECURRENCES if again > usual else plain, key=lambda kind: marks[kind])


def _of_sign(odd: Odd) -> str:
    """The sign of change that is the rarest."""
    surprises = odd.marks[Mark.SURPRISES :]
    sign = max(range(changes.SIGNS), key=lambda s: surprises[s] * (_OF_THE_DAY if s >= 4 else 1.0))
    size = odd.marks[Mark.SIZES + sign]
    name, far, side = odd.name, odd.number(abs(size)), "above" if size > 0 else "below"
    match sign:
        case 0:
            return f"{name} {'rose' if size > 0 else 'fell'} by {far} to {odd.value} in one step"
        case 1 | 2:
            return (
                f"the last {6 if sign == 1 else 24} values of {name} average {far} {side} their usual level"
            )
        case 3:
            way = "more" if size > 0 else "less"
            times = f"{math.exp(abs(size)):.1f} times"
            return f"the last {changes.SPAN} values of {name} spread {way} than usual, by {times}"
        case 4:
            return f"{name} {odd.value} is {far} {side} its usual value at this time of day"
    many = 6 if sign == 5 else 24
    return f"the last {many} values of {name} average {far} {side} what is usual at this time of day"


def _step(odd: Odd, kind: int) -> str:
    step = odd.features[Feature.DIFFERENCE]
    way = "rose" if step > 0 else "fell"
    far = odd.number(abs(step))
    return f"{odd.name} {way} by {far} to {odd.value} in one step, {odd.times(kind)} its usual step"


def _level(odd: Odd, kind: int) -> str:
    mean = odd.number(odd.marks[Mark.MEAN])
    far = f"{odd.times(kind)} as far as usual"
    return f"{odd.name} {odd.value} lies {far} from {mean}, the mean of its whole past"


def _smoothed(odd: Odd, kind: int) -> str:
    mean = odd.number(odd.marks[Mark.MEAN])
    return (
        f"{odd.name} has drifted: its latest points lie {odd.times(kind)} as far as usual from {mean}, "
        f"the mean of its whole past; the newest is {odd.value}"
    )


def _short(odd: Odd, kind: int) -> str:
    median = odd.number(odd.marks[Mark.SHORT_MEDIAN])
    what = "the last three values lie" if kind == Deviation.SHORT_OF_3 else "it lies"
    far = f"{odd.times(kind)} as far as usual"
    return f"{odd.name} is {odd.value}: {what} {far} from its level of late, {median}"


def _long(odd: Odd, kind: int) -> str:
    median = odd.number(odd.marks[Mark.LONG_MEDIAN])
    return (
        f"the last three values of {odd.name}, now {odd.value}, lie {odd.times(kind)} as far as usual from "
        f"{median}, its level in the long run"
    )


def _recurrence(odd: Odd, kind: int) -> str:
    what = "take a course that none of" if kind == Deviation.RECURRENCE else "move as nowhere in"
    end = " resembles" if kind == Deviation.RECURRENCE else ""
    return (
        f"the last few values of {odd.name}, now {odd.value}, {what} the 250 points before{end}: "
        f"{odd.times(kind)} as far as usual from the nearest"
    )


def _residual(odd: Odd, kind: int) -> str:
    since = " for some points now" if kind == Mark.SMOOTH_RESIDUAL else ""
    return (
        f"{odd.name} {odd.value} does not go with the other values{since}: "
        f"{odd.times(kind)} as far as usual from where they put it"
    )


_TOLD: dict[int, Callable[[Odd, int], str]] = {
    Deviation.STEP: _step,
    Deviation.LEVEL: _level,
    Deviation.SMOOTHED: _smoothed,
    Deviation.SHORT: _short,
    Deviation.SHORT_OF_3: _short,
    Deviation.LONG_OF_3: _long,
    Deviation.RECURRENCE: _recurrence,
    Deviation.STEP_RECURRENCE: _recurrence,
    Mark.RESIDUAL: _residual,
    Mark.SMOOTH_RESIDUAL: _residual,
}


def number(x: float, scale: float = math.nan) -> str:
    """As many decimals as two digits of `scale` have; four digits where it is unknown or far away."""
    if not (scale > 1e-9 and abs(x) < 1e15):
        return f"{x:.4g}"
    text = f"{x:.{max(0, 1 - math.floor(math.log10(scale)))}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
