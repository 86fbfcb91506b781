"""What was made of records, as the bytes that are published; changes no state.

Results of points are written by a kernel; what comes now and then (anomaly records, explanations, answers to
instructions) in Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.absence import Teller
from service.anomalies import INCIDENTS, SEVERITIES, Anomalies
from service.decision import Incident, member_scores
from service.features.window import LEVELS, Feature
from service.feedback import Answer, Closed
from service.outcomes import Outcomes, Stretch
from service.scored import ScoredPoints
from service.verdicts import STATUSES, Noted, Places, Said, note
from service.wire import encode
from service.wire.batch import escaped
from service.wire.data_point import Control, Forget
from service.wire.reader import ReadBatch
from service.wire.results import ResultWriter, Scores, Verdict


class Obeyed(NamedTuple):
    """A record that is no point, where it stood and what was done about it."""

    record: int
    offset: int
    record_time_ms: int
    content: Control | Forget
    answer: Answer


class Publication:
    """Writes what one pipeline makes of its records."""

    def __init__(
        self,
        *,
        place_name: str,
        model_version: str,
        result_features: Sequence[str],
        detectors: Sequence[str],
        weights: Sequence[float],
        resolve_after_points: int,
        teller: Teller,
        threshold: float,
    ) -> None:
        """`place_name` begins the ids of anomalies; `weights` are the detectors' in the ensemble."""
        self._place_name = place_name
        self._model_version = model_version
        self._teller = teller
        self._threshold = threshold
        self.anomalies = Anomalies(place_name, model_version, detectors, weights, resolve_after_points)
        features = {name: Feature[name.upper()] for name in result_features}
        shown = {name: (feature.value, feature in LEVELS) for name, feature in features.items()}
        self._writer = ResultWriter(SEVERITIES, INCIDENTS, shown, detectors)

    def of(self, read: ReadBatch, steps: Sequence[ScoredPoints | Obeyed]) -> Outcomes:
        """What the records give, once all of them were scored or obeyed."""
        outcomes = Outcomes(read.records)
        for step in steps:
            if isinstance(step, ScoredPoints):
                self._write(step, outcomes)
            else:
                self._answer(step, outcomes)
        return outcomes

    def _answer(self, step: Obeyed, outcomes: Outcomes) -> None:
        """The result of a record that is no point, and what it ended."""
        record, answer = step.record, step.answer
        source_id, time_ms = step.content.source_id, step.content.time_ms
        body = encode.instruction_result(
            source_id, time_ms, answer.status, answer.reason, answer.detail, answer.members
        )
        outcomes.answers[record] = source_id.encode(), body
        outcomes.status[record] = STATUSES.index(answer.status)
        if answer.ended is not None:
            ended = self._teller.tell(answer.ended, step.offset, step.record_time_ms, answer.told)
            outcomes.silences.append((record, ended))
        if answer.closed is not None:
            outcomes.severity[record] = answer.closed.severity
            outcomes.incident[record] = Incident.RESOLVED
            outcomes.anomalies[record] = self._closing(step, answer.closed)

    def _closing(self, step: Obeyed, closed: Closed) -> bytes:
        """The record for the anomalies topic of an incident that a control record ended."""
        record = encode.AnomalyRecord(
            f"{self._place_name}-{step.offset}",
            f"{self._place_name}-{closed.incident_offset}",
            INCIDENTS[Incident.RESOLVED],
            step.content.source_id,
            step.content.time_ms,
            step.record_time_ms,
            math.nan,
            SEVERITIES[closed.severity],
            closed.told,
            self._model_version,
        )
        (body,) = encode.anomaly_records([record])
        return body

    def _write(self, scored: ScoredPoints, outcomes: Outcomes) -> None:
        """Everything that the points of a stretch publish."""
        batch, placed = scored.batch, scored.placed
        features, decided = scored.features, scored.decided
        points = batch.points[placed.start : placed.stop]
        verdict, row = np.empty(len(points), np.uint8), np.zeros(len(points), np.int64)
        said = Said(_verdicts(scored), decided.severity, decided.incident, decided.anomalous)
        noted = Noted(outcomes.status, outcomes.severity, outcomes.incident, outcomes.anomalous)
        places = Places.of(len(points))
        note(points, placed.arrival, said, verdict, row, places, noted)
        told = np.zeros((len(placed.fresh), 2), np.int64)
        told_text = bytearray()
        for record, j, why, body in self.anomalies.of(scored):
            outcomes.anomalies[record] = body
            told[j, 0] = len(told_text)
            told_text += escaped(why).encode()
            told[j, 1] = len(told_text)
        scores = Scores(
            verdict,
            row,
            decided.score,
            decided.anomalous,
            decided.severity,
            decided.incident,
            scored.held & (decided.score > self._threshold),
            scored.accepted,
            features.known,
            member_scores(scored.surprises, decided.pace.budget),
            features.row_start,
            features.rows,
            told,
            np.frombuffer(told_text, np.uint8),
        )
        outcomes.stretches.append(Stretch(batch, places, *self._writer.write(batch, placed.start, scores)))
        for silent in scored.silences:
            at = batch.points[placed.fresh[silent.point]]
            record_of_it = self._teller.tell(silent, int(at["offset"]), int(at["record_time_ms"]))
            outcomes.silences.append((int(at["record"]), record_of_it))


def _verdicts(scored: ScoredPoints) -> npt.NDArray[np.uint8]:
    """What is said of each fresh point."""
    verdicts = np.zeros(len(scored.decided.score), np.uint8)
    unscored = np.isnan(scored.decided.score)
    if unscored.any():
        placed = scored.placed
        empty = np.logical_and.reduceat(np.isnan(placed.values), placed.row_start[:-1])
        why = np.where(empty, Verdict.NO_VALUES, Verdict.NO_HISTORY)
        verdicts[unscored] = np.where(scored.features.has_history, Verdict.NOT_TRAINED, why)[unscored]
    return verdicts
