"""The scoring of the Numenta Anomaly Benchmark (Lavin and Ahmad, 2015): scores and windows in, 0 to 100 out.

A detection inside a labelled window earns more the earlier it comes, and only the earliest counts; one
outside costs more the further it lies behind the last window. 0 is what a detector without any alarm gets,
100 the earliest possible detection of every window without a false alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.quality.arrays import Bools, Floats, Ints
from tests.benchmarks.quality.data import Labels


@dataclass(frozen=True, slots=True)
class Profile:
    """What a detection is worth, what a false alarm and a missed window cost."""

    name: str
    true_positive: float
    false_positive: float
    miss: float


PROFILES = (
    Profile("standard", 1.0, 0.11, 1.0),
    Profile("low_fp", 1.0, 0.22, 1.0),
    Profile("low_fn", 1.0, 0.11, 2.0),
)

_NONE = -1


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What an alarm on each point of a series would be worth, points in probation left out.

    Attributes:
        index: (m,) places of the points in the series.
        window: (m,) number of the window that the point lies in, -1 outside of all.
        weight: (m,) between -1 and 1, to be multiplied with the profile's true or false positive.
        windows: how many windows have a point that counts; each costs a miss until it is hit.
    """

    index: Ints
    window: Ints
    weight: Floats
    windows: int


def judge(labels: Labels) -> Judged:
    """The worth of each point's alarm."""
    n = len(labels.faulty)
    window = np.full(n, _NONE, np.int64)
    weight = np.full(n, -1.0)
    for number, (first, last) in enumerate(labels.windows):
        width = last - first + 1
        window[first : last + 1] = number
        inside = -(last - np.arange(first, last + 1) + 1) / width
        weight[first : last + 1] = _sigmoid(inside) / _sigmoid(np.array([-1.0]))
        behind = np.arange(last + 1, n)
        with np.errstate(divide="ignore"):
            past = (behind - last) / (width - 1)
        weight[last + 1 :] = np.where(past > 3.0, -1.0, _sigmoid(np.minimum(past, 3.0)))
    counts = np.arange(labels.judged_from, n)
    inside_judged = window[counts]
    windows = len(np.unique(inside_judged[inside_judged != _NONE]))
    return Judged(counts, inside_judged, weight[counts], windows)


def _sigmoid(position: Floats) -> Floats:
    """NAB's scaled sigmoid: 0.98 at the beginning of a window (-1), 0 at its end, -1 far behind."""
    return np.asarray(2.0 / (1.0 + np.exp(5.0 * position)) - 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Gains:
    """The points of many series by descending score, and what each adds as the threshold falls to it.

    `last` marks the points after which a threshold can lie: the next score is another one.
    """

    score: Floats
    series: Ints
    gain: Floats
    last: Bools


def gains(judged: Sequence[Judged], scores: Sequence[Floats], profile: Profile) -> Gains:
    """What the points add in turn; points with the score 0 or none are no alarms at any threshold."""
    parts = [_gains(one, score, profile) for one, score in zip(judged, scores, strict=True)]
    number = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    score = np.concatenate([part[0] for part in parts]) if parts else np.empty(0)
    gain = np.concatenate([part[1] for part in parts]) if parts else np.empty(0)
    order = np.argsort(-score, kind="stable")
    score = score[order]
    return Gains(score, number[order], gain[order], np.append(score[1:] != score[:-1], True)[: len(score)])


def _gains(judged: Judged, scores: Floats, profile: Profile) -> tuple[Floats, Floats]:
    """Descending scores above 0 of a series and what each point adds to its raw score."""
    score = np.nan_to_num(scores[judged.index], nan=0.0)
    order = np.argsort(-score, kind="stable")
    order = order[score[order] > 0.0]
    window, weight = judged.window[order], judged.weight[order]
    gain = np.where(window == _NONE, profile.false_positive * weight, 0.0)
    for number in np.unique(window[window != _NONE]).tolist():
        at = np.flatnonzero(window == number)
        best = np.maximum.accumulate(profile.true_positive * weight[at])
        gain[at] = np.diff(best, prepend=-profile.miss)
    return score[order], gain


def best(found: Gains, judged: Sequence[Judged], profile: Profile) -> tuple[float, float]:
    """The score at the best threshold, and that threshold; infinite where no alarm at all is best."""
    raw = np.cumsum(found.gain)
    places = np.flatnonzero(found.last)
    if len(places) == 0:
        return 0.0, float("inf")
    top = places[np.argmax(raw[places])]
    if raw[top] <= 0.0:
        return scaled(0.0, judged, profile), float("inf")
    return scaled(float(raw[top]), judged, profile), float(found.score[top])


def at_threshold(found: Gains, judged: Sequence[Judged], profile: Profile, threshold: float) -> float:
    """The score when every point at or above the threshold is an alarm."""
    return scaled(float(found.gain[found.score >= threshold].sum()), judged, profile)


def scaled(gained: float, judged: Sequence[Judged], profile: Profile) -> float:
    """What alarms gained over missing every window, on the scale of 0 to 100."""
    windows = sum(one.windows for one in judged)
    return 100.0 * gained / ((profile.true_positive + profile.miss) * windows) if windows else 0.0
