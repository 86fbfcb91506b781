"""DetectionPipeline: the points of one partition in, results and anomaly records out.

Everything here is a pure function of the records that came before: no randomness that is not seeded, no
network, no log. A batch of any size, and one point at a time, give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, field_validator

from service import explanation
from service.clock import Clock, SystemClock
from service.decision import Decision, DecisionBatch, DecisionConfig, Incident, Severity, member_scores
from service.detectors.calibration import BudgetCalibration
from service.detectors.model import Model
from service.detectors.registry import EnsembleConfig, make_ensemble
from service.features.engine import Feature, FeatureBatch, FeatureConfig, FeatureEngine
from service.history.sources import Arrival, Placement, Sources
from service.history.table import Array
from service.wire import encode
from service.wire.batch import PointBatch, escaped, unescaped
from service.wire.data_point import Control, DataPoint, Forget, InvalidRecord
from service.wire.decode import InputLimits, decode
from service.wire.reader import Others, ReadBatch
from service.wire.results import ResultWriter, Scores, Verdict

STATE_VERSION = 2
"""Raised whenever the same input would give other results; part of every model version."""


class DetectionConfig(DecisionConfig):
    """Everything that results depend on, `detection` in the configuration."""

    features: FeatureConfig = FeatureConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    max_sources: int = Field(1_000_000, ge=1, le=100_000_000)
    """Sources of one partition with history in memory; the least recently seen make room."""
    max_values_per_source: int = Field(1024, ge=1, le=65_536)
    """Different value names of one source; a point with more is skipped."""
    result_features: tuple[str, ...] = ("mean", "std", "z_score")
    """Features that results show beside each value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("result_features")
    @classmethod
    def _known_features(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = [feature.name.lower() for feature in Feature if feature is not Feature.VALUE]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"{', '.join(unknown)}: not among {', '.join(known)}")
        if len(set(names)) < len(names):
            raise ValueError(f"each feature once, got {', '.join(names)}")
        return names

    def model_version(self) -> str:
        """A name for these settings and this code's arithmetic: equal names, equal results."""
        canonical = json.dumps([STATE_VERSION, self.model_dump(mode="json")], sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class Record(NamedTuple):
    """One input record that could be read, with its place in the log and its Kafka timestamp."""

    content: DataPoint | Control | Forget
    offset: int
    record_time_ms: int


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

_SEVERITIES = tuple(severity.name.lower() for severity in Severity)
_INCIDENTS = tuple("" if i is Incident.NONE else i.name.lower() for i in Incident)


class Outcomes:
    """What `n` records give, by their place among those that were read together.

    A dead letter has the status `NO_RESULT` and nothing else. `anomalies` holds the anomaly records, whose
    severity and incident change stand in the columns.
    """

    def __init__(self, records: int) -> None:
        self.keys: list[bytes] = [b""] * records
        self.results: list[bytes] = [b""] * records
        self.anomalies: dict[int, bytes] = {}
        self.status = np.full(records, NO_RESULT, np.uint8)
        self.severity = np.zeros(records, np.uint8)
        self.incident = np.zeros(records, np.uint8)
        self.anomalous = np.zeros(records, np.bool_)

    def __len__(self) -> int:
        return len(self.keys)

    def of(self, record: int) -> Outcome:
        """One record's, for a person to look at."""
        return Outcome(
            self.keys[record].decode(),
            STATUSES[self.status[record]],
            self.results[record],
            self.anomalies.get(record),
            _SEVERITIES[self.severity[record]],
            _INCIDENTS[self.incident[record]] or None,
            bool(self.anomalous[record]),
        )


@dataclass(frozen=True, slots=True)
class ScoredPoints:
    """The columns of one stretch of points: where they belong, what they are, what was made of them."""

    batch: PointBatch
    placed: Placement
    features: FeatureBatch
    surprises: npt.NDArray[np.float64]
    decided: DecisionBatch


class Obeyed(NamedTuple):
    """A record that is no point, and what was done about it."""

    record: int
    content: Control | Forget
    status: str
    reason: str | None


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


class DetectionPipeline:
    """History, features, detectors, calibration and decision for one partition."""

    def __init__(
        self,
        config: DetectionConfig | None = None,
        *,
        topic: str = "data-points",
        partition: int = 0,
        model: Model | None = None,
        clock: Clock | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.config = config or DetectionConfig()
        self.model_version = self.config.model_version() + (f"-{model.digest[:12]}" if model else "")
        self._place_name = f"{topic}-{partition}"
        self._features = FeatureEngine(self.config.features)
        self.ensemble = make_ensemble(self.config.ensemble, executor)
        self._calibration = BudgetCalibration()
        self._decision = Decision(self.config)
        self._tables = (self._calibration.table, self._decision.table, self._features.table)
        self.sources = Sources(
            self.config.max_sources,
            self.config.max_values_per_source,
            source_tables=[self._calibration.table, self._decision.table],
            series_tables=[self._features.table],
        )
        self._shown = [Feature[name.upper()].value for name in self.config.result_features]
        self._detector_names = [detector.name for detector in self.ensemble.detectors]
        self._writer = ResultWriter(
            _SEVERITIES, _INCIDENTS, self.config.result_features, self._detector_names
        )
        if model is not None:
            self.ensemble.restore(model.arrays)
        self._clock = clock or SystemClock()
        self._next_offset = 0
        self.judged = 0
        """Points that got a score."""
        self.promised = 0.0
        """The sum of their budgets: how many of them may be false alarms."""

    @property
    def state_bytes(self) -> int:
        """Memory of the per-source state."""
        return sum(table.nbytes for table in self._tables) + self.sources.nbytes

    def bytes_per_source(self, values: int) -> int:
        """State of one source of so many values, without the room that tables keep for growth."""
        *per_source, per_value = self._tables
        return sum(table.row_bytes for table in per_source) + values * per_value.row_bytes

    def state(self) -> dict[str, Array]:
        """Everything that a later result depends on, as copies: see `restore`."""
        slots, series = self.sources.slots, self.sources.series
        parts = {
            "sources": self.sources.state(),
            "calibration": self._calibration.table.arrays(slots),
            "decision": self._decision.table.arrays(slots),
            "features": self._features.table.arrays(series),
            "ensemble": self.ensemble.state(),
            "counts": {"judged": np.array([self.judged]), "promised": np.array([self.promised])},
        }
        return {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` of a pipeline of the same `model_version` gave: later results are its bytes.

        Raises:
            ValueError: the state is of another configuration, or a part is missing.
        """

        def part(name: str) -> dict[str, Array]:
            prefix = f"{name}/"
            return {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}

        self.sources.restore(part("sources"))
        self._calibration.table.restore(part("calibration"))
        self._decision.table.restore(part("decision"))
        self._features.table.restore(part("features"))
        self.ensemble.restore(part("ensemble"))
        counts = part("counts")
        self.judged, self.promised = int(counts["judged"][0]), float(counts["promised"][0])

    def process(self, data_point: dict[str, Any]) -> dict[str, Any]:
        """Score one point and learn it: the result that the stream would publish, as a dict.

        The clock is asked only for a point without a timestamp, as Kafka's is in the stream.

        Raises:
            ValueError: the point is not one that the stream would take; the message says why.
        """
        now_ms = int(self._clock.now() * 1000)
        read = decode(json.dumps(data_point).encode(), None, None, now_ms, InputLimits())
        if isinstance(read, InvalidRecord):
            raise ValueError(f"{read.reason}: {read.detail}")
        outcome = self.process_batch([Record(read, self._next_offset, now_ms)])[0]
        result: dict[str, Any] = json.loads(outcome.result)
        return result

    def process_batch(self, records: Sequence[Record]) -> list[Outcome]:
        """Score and learn the records in order; one outcome each."""
        points = [record.content for record in records if isinstance(record.content, DataPoint)]
        places = [i for i, record in enumerate(records) if isinstance(record.content, DataPoint)]
        batch = PointBatch.of(points)
        batch.points["record"] = places
        batch.points["offset"] = [records[i].offset for i in places]
        batch.points["record_time_ms"] = [records[i].record_time_ms for i in places]
        others: Others = {i: r.content for i, r in enumerate(records) if not isinstance(r.content, DataPoint)}
        outcomes = self.process_read(ReadBatch(len(records), batch, others))
        if records:
            self._next_offset = records[-1].offset + 1
        return [outcomes.of(i) for i in range(len(records))]

    def process_read(self, read: ReadBatch) -> Outcomes:
        """Score and learn what was read together, in its order; dead letters are left out."""
        return self.publish(read, self.score(read))

    def score(self, read: ReadBatch) -> list[ScoredPoints | Obeyed]:
        """The first half of `process_read`: score and learn."""
        steps: list[ScoredPoints | Obeyed] = []
        batch, start = read.points, 0
        for record, content in read.others.items():
            if isinstance(content, InvalidRecord):
                continue
            stop = int(np.searchsorted(batch.points["record"], record))
            steps += self.advance(batch.part(start, stop))
            steps.append(self._obey(record, content))
            start = stop
        steps += self.advance(batch.part(start, len(batch.points)))
        return steps

    def publish(self, read: ReadBatch, steps: Sequence[ScoredPoints | Obeyed]) -> Outcomes:
        """The second half of `process_read`: write what was made of the records; changes no state."""
        outcomes = Outcomes(read.records)
        _fill_in_keys(read.points, outcomes.keys)
        for step in steps:
            if isinstance(step, ScoredPoints):
                self._write(step, outcomes)
            else:
                source_id = step.content.source_id
                outcomes.keys[step.record] = source_id.encode()
                outcomes.results[step.record] = encode.instruction_result(
                    source_id, step.content.time_ms, step.status, step.reason
                )
                outcomes.status[step.record] = STATUSES.index(step.status)
        return outcomes

    def _obey(self, record: int, content: Control | Forget) -> Obeyed:
        if isinstance(content, Forget):
            known = self.sources.forget(content.source_id)
            return Obeyed(record, content, "forgotten", None if known else "unknown_source")
        return Obeyed(record, content, "rejected", "unsupported_control")

    def advance(self, batch: PointBatch) -> Iterator[ScoredPoints]:
        """Score and learn the points of a batch, in few stretches."""
        start = 0
        while start < len(batch.points):
            placed = self.sources.place(batch, start)
            yield self._score(batch, placed)
            start = placed.stop

    def _score(self, batch: PointBatch, placed: Placement) -> ScoredPoints:
        features = self._features.advance(placed)
        surprises = self.ensemble.members(features)
        oddness = self.ensemble.combine(surprises)
        surprise = self._calibration.advance(placed.source, oddness)
        time_ms, offset = (batch.points[field][placed.fresh] for field in ("time_ms", "offset"))
        decided = self._decision.advance(placed.source, time_ms, offset, surprise)
        judged = ~np.isnan(decided.score)
        self.judged += int(judged.sum())
        self.promised += float(decided.budget[judged].sum())
        return ScoredPoints(batch, placed, features, surprises, decided)

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
        for j in np.flatnonzero(decided.incident).tolist():
            record = int(batch.points[placed.fresh[j]]["record"])
            why, outcomes.anomalies[record] = self._anomaly(scored, j)
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
            member_scores(scored.surprises, decided.budget),
            features.row_start,
            features.rows[:, self._shown],
            told,
            np.frombuffer(told_text, np.uint8),
        )
        body, stops = self._writer.write(batch, placed.start, scores)
        records = points["record"].tolist()
        _put_in(outcomes.results, records, [body[a:b] for a, b in zip([0, *stops], stops, strict=False)])
        outcomes.status[records] = _STATUS_OF_VERDICT[verdict]
        scored_records = points["record"][fresh]
        outcomes.severity[scored_records] = decided.severity
        outcomes.incident[scored_records] = decided.incident
        outcomes.anomalous[scored_records] = decided.anomalous

    def _anomaly(self, scored: ScoredPoints, j: int) -> tuple[str, bytes]:
        """The explanation of fresh point j of a stretch, and its record for the anomalies topic."""
        batch, i = scored.batch, int(scored.placed.fresh[j])
        decided, ensemble, features = scored.decided, self.ensemble, scored.features
        point, names = batch.points[i], batch.names(i)
        incident = _INCIDENTS[decided.incident[j]]
        rows = features.rows[features.row_start[j] : features.row_start[j + 1]].tolist()
        expected = explanation.expected_ranges(names, rows, float(decided.budget[j]))
        shares = explanation.contributions(
            names, rows, self._detector_names, scored.surprises[j].tolist(), ensemble.weights
        )
        if incident == "resolved":
            quiet = self.config.resolve_after_points
            told = f"Back to normal: {quiet} points in a row within the budget."
        else:
            told = explanation.sentence(names, rows, shares, expected)
        body = encode.anomaly_record(
            f"{self._place_name}-{int(point['offset'])}",
            f"{self._place_name}-{int(decided.incident_offset[j])}",
            incident,
            batch.source_id(i),
            int(point["time_ms"]),
            int(point["record_time_ms"]),
            float(decided.score[j]),
            _SEVERITIES[decided.severity[j]],
            zip(names, batch.sent(i), strict=True),
            [(e.value, e.lower, e.typical, e.upper) for e in expected],
            [(c.value, c.detector, c.share) for c in shares],
            told,
            batch.labels_of(i),
            self.model_version,
        )
        return told, body


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


def _fill_in_keys(batch: PointBatch, keys: list[bytes]) -> None:
    """The source of each point's record, as published keys have it."""
    text = batch.text.tobytes()
    starts, stops = batch.points["source_start"].tolist(), batch.points["source_stop"].tolist()
    records = batch.points["record"].tolist()
    _put_in(keys, records, [text[a:b] for a, b in zip(starts, stops, strict=True)])
    if b"\\" in text:
        for record in records:
            if b"\\" in keys[record]:
                keys[record] = unescaped(keys[record]).encode()
