"""What was made of records, as the bytes that are published; changes no state.

Results of points are written by a kernel; what comes now and then (anomaly records, explanations, answers to
instructions) in Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.absence import Teller, Told
from service.anomalies import INCIDENTS, SEVERITIES, Anomalies
from service.decision import Incident, member_scores
from service.features.window import LEVELS, Feature
from service.feedback import Answer, Closed
from service.history.sources import Arrival
from service.scored import ScoredPoints
from service.wire import encode
from service.wire.batch import PointBatch, escaped, unescaped
from service.wire.data_point import Control, Forget
from service.wire.reader import ReadBatch
from service.wire.results import ResultWriter, Scores, Verdict


class Outcome(NamedTuple):
    """What one record gives: a result, and an anomaly record where there is something to tell."""

    source_id: str
    status: str
    result: bytes
    anomaly: bytes | None = None
    severity: str = "low"
    incident: str | None = None
    is_anomaly: bool = False


STATUSES = ("scored", "skipped", "late", "duplicate", "forgotten", "applied", "rejected")
"""What a result can say of its record."""

NO_RESULT = len(STATUSES)
"""In place of a status: the record is a dead letter."""

_ANSWERED = (STATUSES.index("applied"), STATUSES.index("rejected"))


_BACKSLASH = b"\\"


class Stretch(NamedTuple):
    """The results of some points, one after the other in `body`, each up to its stop.

    `record` says which of the records read together each is of; the points are their rows in the batch.
    """

    batch: PointBatch
    points: npt.NDArray[Any]  # (n,) POINT
    body: npt.NDArray[np.uint8]
    stops: npt.NDArray[np.int64]  # (n,)

    @property
    def has_escapes(self) -> bool:
        """Whether a key may have to be written otherwise than it stands in the text."""
        return _BACKSLASH in self.batch.text.tobytes()

    @property
    def record(self) -> npt.NDArray[np.int64]:
        record: npt.NDArray[np.int64] = self.points["record"]
        return record


class Outcomes:
    """What `n` records give, by their place among those that were read together.

    A dead letter has the status `NO_RESULT` and nothing else. `anomalies` holds the anomaly records, whose
    severity and incident change stand in the columns; `silences` those of sources that fell silent or came
    back, each with the record that made it visible. Results of points lie in `stretches`, answers to
    instructions in `answers`; `keys` and `results` take them apart for whoever wants them one by one.
    """

    def __init__(self, records: int) -> None:
        self.stretches: list[Stretch] = []
        self.answers: dict[int, tuple[bytes, bytes]] = {}  # key and result
        self.anomalies: dict[int, bytes] = {}
        self.silences: list[tuple[int, Told]] = []
        self.status = np.full(records, NO_RESULT, np.uint8)
        self.severity = np.zeros(records, np.uint8)
        self.incident = np.zeros(records, np.uint8)
        self.anomalous = np.zeros(records, np.bool_)

    def __len__(self) -> int:
        return len(self.status)

    @property
    def told(self) -> npt.NDArray[np.bool_]:
        """Which results are published where only those of anomalies are: answers to control records, too."""
        told: npt.NDArray[np.bool_] = self.anomalous | np.isin(self.status, _ANSWERED)
        return told

    def key(self, record: int) -> bytes:
        """The source of one record that has a result."""
        for stretch in self.stretches:
            at = int(np.searchsorted(stretch.record, record))
            if at < len(stretch.points) and stretch.record[at] == record:
                start, stop = stretch.points[at]["source_start"], stretch.points[at]["source_stop"]
                return stretch.batch.text_at(start, stop).encode()
        return self.answers[record][0]

    @cached_property
    def keys(self) -> list[bytes]:
        """The source of each record, as published keys have it; empty for a dead letter."""
        keys = [b""] * len(self)
        for stretch in self.stretches:
            text, points = stretch.batch.text.tobytes(), stretch.points
            starts, stops = points["source_start"].tolist(), points["source_stop"].tolist()
            parts = [text[a:b] for a, b in zip(starts, stops, strict=True)]
            if _BACKSLASH in text:
                parts = [unescaped(part).encode() for part in parts]
            _put_in(keys, stretch.record.tolist(), parts)
        for record, (key, _) in self.answers.items():
            keys[record] = key
        return keys

    @cached_property
    def results(self) -> list[bytes]:
        """The result of each record; empty for a dead letter."""
        results = [b""] * len(self)
        for stretch in self.stretches:
            body, stops = stretch.body.tobytes(), stretch.stops.tolist()
            parts = [body[a:b] for a, b in zip([0, *stops], stops, strict=False)]
            _put_in(results, stretch.record.tolist(), parts)
        for record, (_, answer) in self.answers.items():
            results[record] = answer
        return results

    def of(self, record: int) -> Outcome:
        """One record's, for a person to look at."""
        return Outcome(
            self.keys[record].decode(),
            STATUSES[self.status[record]],
            self.results[record],
            self.anomalies.get(record),
            SEVERITIES[self.severity[record]],
            INCIDENTS[self.incident[record]] or None,
            bool(self.anomalous[record]),
        )


class Obeyed(NamedTuple):
    """A record that is no point, where it stood and what was done about it."""

    record: int
    offset: int
    record_time_ms: int
    content: Control | Forget
    answer: Answer


_VERDICT_OF_ARRIVAL = np.zeros(len(Arrival), np.uint8)
for _arrival, _verdict in (
    (Arrival.FRESH, Verdict.SCORED),
    (Arrival.LATE, Verdict.LATE),
    (Arrival.DUPLICATE, Verdict.DUPLICATE),
    (Arrival.TOO_WIDE, Verdict.TOO_MANY_NAMES),
):
    _VERDICT_OF_ARRIVAL[_arrival] = _verdict
_STATUS_OF_VERDICT = np.full(len(Verdict), STATUSES.index("skipped"), np.uint8)
for _verdict in (Verdict.SCORED, Verdict.LATE, Verdict.DUPLICATE):
    _STATUS_OF_VERDICT[_verdict] = STATUSES.index(_verdict.name.lower())


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
        self._shown = [Feature[name.upper()].value for name in result_features]
        self._teller = teller
        self._threshold = threshold
        self.anomalies = Anomalies(place_name, model_version, detectors, weights, resolve_after_points)
        levels = {name: Feature[name.upper()] in LEVELS for name in result_features}
        self._writer = ResultWriter(SEVERITIES, INCIDENTS, levels, detectors)

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
        verdict = _VERDICT_OF_ARRIVAL[placed.arrival]
        fresh = placed.fresh - placed.start
        verdict[fresh] = _verdicts(scored)
        row = np.zeros(len(points), np.int64)
        row[fresh] = np.arange(len(fresh))
        told = np.zeros((len(fresh), 2), np.int64)
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
            features.rows[:, self._shown],
            told,
            np.frombuffer(told_text, np.uint8),
        )
        outcomes.stretches.append(Stretch(batch, points, *self._writer.write(batch, placed.start, scores)))
        outcomes.status[points["record"]] = _STATUS_OF_VERDICT[verdict]
        scored_records = points["record"][fresh]
        outcomes.severity[scored_records] = decided.severity
        outcomes.incident[scored_records] = decided.incident
        outcomes.anomalous[scored_records] = decided.anomalous
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


def _put_in(whole: list[bytes], places: list[int], parts: list[bytes]) -> None:
    """Set what stands at the places, which ascend: at once where none is left out."""
    if places and places[-1] - places[0] + 1 == len(places):
        whole[places[0] : places[-1] + 1] = parts
    else:
        for place, part in zip(places, parts, strict=True):
            whole[place] = part
