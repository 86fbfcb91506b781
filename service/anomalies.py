"""The anomaly records of a stretch of points, and why each was called one.

One point in some hundreds has a record. What it is written from is taken out of the columns for all of a
stretch at once, as plain Python values: a number out of an array costs as much as a clause of its sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service import explanation
from service.decision import Incident, Severity
from service.detectors.calibration import reference_of
from service.rarity import Rarity
from service.scored import ScoredPoints
from service.wire.batch import unescaped
from service.wire.encode import AnomalyRecord, anomaly_records
from service.wire.results import HALF_SURE_POINTS, SURE_POINTS

Ints = npt.NDArray[np.int64]

SEVERITIES = tuple(severity.name.lower() for severity in Severity)
INCIDENTS = tuple("" if i is Incident.NONE else i.name.lower() for i in Incident)


class Why(NamedTuple):
    """What a person is told of a point: by value, by value and detector, how rare, and in a sentence."""

    names: Sequence[str]
    expected: list[explanation.Expected]
    contributions: list[explanation.Contribution]
    rarity: Rarity
    sentence: str


class Told(NamedTuple):
    """A point's record among those read together, its place among the fresh ones, what is told of it."""

    record: int
    fresh: int
    explanation: str
    body: bytes


class _Point(NamedTuple):
    """One point and what was made of it, with a list entry for each of its values."""

    fresh: int
    record: int
    offset: int
    record_time_ms: int
    time_ms: int
    known: float
    oddness: float
    marked: bool
    score: float
    surprise: float
    severity: int
    incident: int
    incident_offset: int
    budget: float
    gap_ms: float
    seen: float
    accepted: int
    surprises: list[float]  # by detector
    source_id: str
    labels: dict[str, str]
    names: list[str]
    sent: list[str]
    rows: list[list[float]]
    shares: list[float]
    rates: list[bool]
    marks: list[list[float]]


class Anomalies:
    """Writes the records of one partition's points."""

    def __init__(
        self,
        place_name: str,
        model_version: str,
        detectors: Sequence[str],
        weights: Sequence[float],
        quiet_points: int,
    ) -> None:
        """`place_name` begins the ids; `weights` are the detectors' in the ensemble.

        `quiet_points` in a row end an incident.
        """
        self._place_name = place_name
        self._model_version = model_version
        self._detectors = detectors
        self._weights = weights
        self._quiet_points = quiet_points

    def of(self, scored: ScoredPoints) -> list[Told]:
        """What is told of a stretch, in its order."""
        points = list(_points(scored, scored.decided.told))
        records = [self._record(scored, point) for point in points]
        bodies = anomaly_records(records)
        return [
            Told(point.record, point.fresh, record.explanation, body)
            for point, record, body in zip(points, records, bodies, strict=True)
        ]

    def why(self, scored: ScoredPoints, j: int) -> Why:
        """What explains fresh point j of a stretch, which has a score."""
        (point,) = _points(scored, np.array([j]))
        return self._why(scored, point)

    def _why(self, scored: ScoredPoints, point: _Point, in_words: bool = True) -> Why:
        names, rows = point.names, point.rows
        expected = explanation.expected_ranges(names, rows, point.budget)
        shares = explanation.contributions(
            names, rows, self._detectors, point.surprises, self._weights, point.shares
        )
        rarity = Rarity.of(point.surprise, point.gap_ms, point.seen)
        sentence = ""
        if in_words:
            sentence = explanation.sentence(names, rows, shares, expected, _marks(point), point.rates)
        if (gone := scored.missing.get(point.fresh)) is not None:
            sentence, shares = explanation.missing(gone)
        return Why(names, expected, shares, rarity, f"{sentence}; {rarity.text}")

    def _record(self, scored: ScoredPoints, point: _Point) -> AnomalyRecord:
        incident, names = INCIDENTS[point.incident], point.names
        is_over = point.incident == Incident.RESOLVED
        _, expected, shares, rarity, told = self._why(scored, point, in_words=not is_over)
        settled, points = scored.settled.get(point.fresh, ()), point.accepted
        if settled:
            told = explanation.settled([(names[v], before, now) for v, before, now in settled])
        elif is_over:
            told = f"Back to normal: {self._quiet_points} points in a row within the budget."
        elif refused := scored.refused.get(point.fresh):
            told = explanation.refused([(names[v], before, now) for v, before, now in refused])
        if points:
            told = f"{told}; {explanation.accepted(point.source_id, points)}"
        new_normal = (points, [(names[v], before, now) for v, before, now in settled]) if points else None
        return AnomalyRecord(
            f"{self._place_name}-{point.offset}",
            f"{self._place_name}-{point.incident_offset}" if incident else None,
            incident or None,
            point.source_id,
            point.time_ms,
            point.record_time_ms,
            point.score,
            SEVERITIES[point.severity],
            told,
            self._model_version,
            list(zip(names, point.sent, strict=True)),
            expected,
            None if is_over else rarity,
            shares,
            point.labels,
            confidence=confidence_of(point.known),
            new_normal=new_normal,
        )


def confidence_of(known: float) -> float | None:
    """How sure a judgement on so many points is, as results have it; none where that need not be said."""
    if not known < SURE_POINTS:
        return None
    return math.floor(1000.0 * known / (known + HALF_SURE_POINTS)) / 1000.0


def _marks(point: _Point) -> explanation.Marks | None:
    """What the long memory noted of a point, if it did."""
    if not point.marked:
        return None
    is_rare = reference_of(point.oddness) >= -math.log10(point.budget)
    return explanation.Marks(point.marks, point.oddness, point.incident == Incident.OPENED and not is_rare)


def _points(scored: ScoredPoints, which: Ints) -> Iterator[_Point]:
    """Some of a stretch's fresh points."""
    batch, features, decided = scored.batch, scored.features, scored.decided
    points, pace = batch.points[scored.placed.fresh[which]], decided.pace
    first_row, stop_row = features.row_start[which], features.row_start[which + 1]
    numbers: list[npt.NDArray[Any]] = [
        which,
        *(points[field] for field in ("record", "offset", "record_time_ms", "time_ms")),
        *(column[which] for column in (features.known, features.oddness, features.marked)),
        *(column[which] for column in (decided.score, decided.surprise, decided.severity)),
        *(column[which] for column in (decided.incident, decided.incident_offset)),
        *(column[which] for column in (pace.budget, pace.gap_ms, pace.seen)),
        scored.accepted[which],
        scored.surprises[which],
    ]
    rows = _spans(first_row, stop_row)
    by_row = [column[rows].tolist() for column in (features.rows, features.shares, features.is_rate)]
    marks = features.marks[rows].tolist()
    values = batch.values[_spans(points["first_value"], points["stop_value"])].tolist()
    text_at = _reader(batch.text.data)
    spans = [points[field].tolist() for field in ("source_start", "source_stop", "first_label", "stop_label")]
    start = 0
    for own, width, source_start, source_stop, first_label, stop_label in zip(
        zip(*(column.tolist() for column in numbers), strict=True),
        (stop_row - first_row).tolist(),
        *spans,
        strict=True,
    ):
        stop = start + width
        labels = batch.labels[first_label:stop_label].tolist() if stop_label > first_label else ()
        yield _Point._make(
            (
                *own,
                text_at(source_start, source_stop),
                {text_at(*label[:2]): text_at(*label[2:]) for label in labels},
                [text_at(value[3], value[4]) for value in values[start:stop]],
                [text_at(value[1], value[2]) for value in values[start:stop]],
                *(column[start:stop] for column in by_row),
                marks[start:stop],
            )
        )
        start = stop


def _reader(text: memoryview) -> Callable[[int, int], str]:
    return lambda start, stop: unescaped(bytes(text[start:stop]))


def _spans(starts: Ints, stops: Ints) -> Ints:
    """The numbers from each start to before its stop, one after the other."""
    lengths = stops - starts
    before: Ints = np.repeat(starts - (lengths.cumsum() - lengths), lengths)
    return before + np.arange(len(before))
