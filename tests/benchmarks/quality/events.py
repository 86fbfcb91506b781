"""Event F1: labelled stretches hit against false alarms, at the best threshold for a whole set.

An event is hit when an alarm falls in [start, end + 10 points]. Anywhere else alarms count one false alarm
per 10 points: the first, then the first that comes at least 10 points after the last one counted. A point is
an alarm when its score is at or above the threshold. Average precision stands here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.quality.arrays import Bools, Floats, Ints
from tests.benchmarks.quality.data import Labels

GRACE_POINTS = 10
"""After its end an event can still be hit for so long; false alarms nearer than this count once."""


@dataclass(frozen=True, slots=True)
class EventF1:
    """The best threshold of a set and what it gives."""

    f1: float
    threshold: float
    events: int
    hits: int
    false_alarms: int


@dataclass(frozen=True, slots=True, eq=False)
class _Outside:
    """Points of all series away from events, by place; series lie so far apart that they do not touch."""

    place: Ints
    score: Floats

    def false_alarms(self, threshold: float, at_most: float) -> int:
        """How many; counting ends above `at_most`."""
        place = self.place[self.score >= threshold]
        count = at = 0
        while at < len(place):
            count += 1
            if count > at_most:
                break
            at = int(np.searchsorted(place, place[at] + GRACE_POINTS))
        return count


def event_f1(series: Iterable[tuple[Labels, Floats]]) -> EventF1:
    """The best F1 over one threshold for all series; a missing score is the lowest.

    The best threshold is the highest score of some event: above it nothing more is hit, and below it, down to
    the next event's, only false alarms are gained.
    """
    tops: list[float] = []
    places, scores = [], []
    offset = 0
    for labels, score in series:
        known = np.nan_to_num(score, nan=-np.inf)
        outside = np.ones(len(known), np.bool_)
        outside[: labels.judged_from] = False
        for first, last in labels.windows:
            behind = last + GRACE_POINTS + 1
            outside[first:behind] = False
            if last >= labels.judged_from:
                tops.append(float(known[max(first, labels.judged_from) : behind].max()))
        places.append(np.flatnonzero(outside) + offset)
        scores.append(known[outside])
        offset += len(known) + GRACE_POINTS
    if not tops:
        return EventF1(0.0, float("inf"), 0, 0, 0)
    return _best(np.array(tops), _Outside(np.concatenate(places), np.concatenate(scores)))


def _best(tops: Floats, outside: _Outside) -> EventF1:
    """Thresholds from the highest down; false alarms need counting only as far as a better F1 allows."""
    events = len(tops)
    best = EventF1(0.0, float("inf"), events, 0, 0)
    for threshold in np.unique(tops)[::-1].tolist():
        if threshold == -np.inf:
            break
        hits = int((tops >= threshold).sum())
        at_most = 2 * hits / best.f1 - hits - events if best.f1 else np.inf
        false_alarms = outside.false_alarms(threshold, at_most)
        f1 = 2 * hits / (hits + false_alarms + events)
        if f1 > best.f1:
            best = EventF1(f1, threshold, events, hits, false_alarms)
    return best


def mean_average_precision(series: Sequence[tuple[Labels, Floats]]) -> float:
    """The mean over the series that have a label where they are judged; NaN if none has."""
    found = []
    for labels, score in series:
        faulty = labels.faulty[labels.judged_from :]
        if faulty.any():
            found.append(average_precision(faulty, score[labels.judged_from :]))
    return float(np.mean(found)) if found else float("nan")


def average_precision(labels: Bools, score: Floats) -> float:
    """Precision summed over the steps of recall; equal scores are one step, missing ones the last."""
    known = np.nan_to_num(score, nan=-np.inf)
    order = np.argsort(-known, kind="stable")
    hits = np.cumsum(labels[order])
    last = np.append(known[order][1:] != known[order][:-1], True)
    hits, alarms = hits[last], np.flatnonzero(last) + 1
    return float(np.sum(np.diff(hits, prepend=0) * hits / alarms) / labels.sum())
