"""DetectionPipeline: the points of one partition in, results and anomaly records out.

Everything here is a pure function of the records that came before: no randomness that is not seeded, no
network, no log. A batch of any size, and one point at a time, give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
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
from service.wire import encode
from service.wire.batch import PointBatch
from service.wire.data_point import Control, DataPoint, Forget, InvalidRecord
from service.wire.decode import InputLimits, decode

STATE_VERSION = 1
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


@dataclass(frozen=True, slots=True)
class ScoredPoints:
    """The columns of one stretch of points: where they belong, what they are, what was made of them."""

    placed: Placement
    features: FeatureBatch
    surprises: npt.NDArray[np.float64]
    decided: DecisionBatch


@dataclass(frozen=True, slots=True)
class _Columns:
    """What results are written from, as lists: reading an array number by number is ten times slower."""

    score: list[float]
    anomalous: list[bool]
    severity: list[int]
    incident: list[int]
    detectors: list[list[float]]
    row_start: list[int]
    shown: list[list[float]]

    @classmethod
    def of(cls, scored: ScoredPoints, shown: list[int]) -> _Columns:
        decided = scored.decided
        return cls(
            decided.score.tolist(),
            decided.anomalous.tolist(),
            decided.severity.tolist(),
            decided.incident.tolist(),
            member_scores(scored.surprises, decided.budget).tolist(),
            scored.features.row_start.tolist(),
            scored.features.rows[:, shown].tolist(),
        )


STATUSES = ("scored", "skipped", "late", "duplicate", "forgotten", "applied", "rejected")
"""What a result can say of its record."""

_SEVERITIES = tuple(severity.name.lower() for severity in Severity)
_INCIDENTS = tuple(None if i is Incident.NONE else i.name.lower() for i in Incident)


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
        self._shown = [(f, Feature[f.upper()].value) for f in self.config.result_features]
        self._detector_names = [detector.name for detector in self.ensemble.detectors]
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
        return sum(table.nbytes for table in self._tables)

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
        outcomes: list[Outcome] = []
        start = 0
        for i, record in enumerate(records):
            if not isinstance(record.content, DataPoint):
                outcomes += self._points(records[start:i])
                outcomes.append(self._instruction(record.content))
                start = i + 1
        outcomes += self._points(records[start:])
        if records:
            self._next_offset = records[-1].offset + 1
        return outcomes

    def _instruction(self, content: Control | Forget) -> Outcome:
        if isinstance(content, Forget):
            known = self.sources.forget(content.source_id)
            status, reason = "forgotten", None if known else "unknown_source"
        else:
            status, reason = "rejected", "unsupported_control"
        result = encode.unscored_result(content.source_id, content.time_ms, status, reason)
        return Outcome(content.source_id, status, result)

    def _points(self, records: Sequence[Record]) -> list[Outcome]:
        if not records:
            return []
        points = [record.content for record in records if isinstance(record.content, DataPoint)]
        batch = PointBatch.of(points)
        offset = np.array([record.offset for record in records], np.int64)
        outcomes: list[Outcome] = []
        for scored in self.advance(batch, offset):
            outcomes += self._outcomes(records, points, scored)
        return outcomes

    def advance(self, batch: PointBatch, offset: npt.NDArray[np.int64]) -> Iterator[ScoredPoints]:
        """Score and learn the points of a batch with their input offsets (n,), in few stretches."""
        start = 0
        while start < len(batch):
            placed = self.sources.place(batch, start)
            yield self._score(placed, batch.time_ms, offset)
            start = placed.stop

    def _score(
        self, placed: Placement, time_ms: npt.NDArray[np.int64], offset: npt.NDArray[np.int64]
    ) -> ScoredPoints:
        features = self._features.advance(placed)
        surprises = self.ensemble.members(features)
        oddness = self.ensemble.combine(surprises)
        surprise = self._calibration.advance(placed.source, oddness)
        decided = self._decision.advance(placed.source, time_ms[placed.fresh], offset[placed.fresh], surprise)
        judged = ~np.isnan(decided.score)
        self.judged += int(judged.sum())
        self.promised += float(decided.budget[judged].sum())
        return ScoredPoints(placed, features, surprises, decided)

    def _outcomes(
        self, records: Sequence[Record], points: Sequence[DataPoint], scored: ScoredPoints
    ) -> list[Outcome]:
        placed = scored.placed
        columns = _Columns.of(scored, [column for _, column in self._shown])
        outcomes = []
        fresh = 0
        for i, arrival in enumerate(placed.arrival.tolist(), placed.start):
            if not arrival:
                outcomes.append(self._fresh(records[i], points[i], scored, columns, fresh))
                fresh += 1
            elif arrival == Arrival.TOO_WIDE:
                outcomes.append(_unscored(points[i], "skipped", "too_many_value_names"))
            else:
                outcomes.append(_unscored(points[i], "late" if arrival == Arrival.LATE else "duplicate"))
        return outcomes

    def _fresh(
        self, record: Record, point: DataPoint, scored: ScoredPoints, columns: _Columns, j: int
    ) -> Outcome:
        score = columns.score[j]
        if math.isnan(score):
            return _unscored(point, "skipped", _why_unscored(point, bool(scored.features.has_history[j])))
        severity = _SEVERITIES[columns.severity[j]]
        incident = _INCIDENTS[columns.incident[j]]
        told, anomaly = None, None
        if incident is not None:
            told, anomaly = self._anomaly(record, point, scored, j, severity, incident)
        rows = columns.shown[columns.row_start[j] : columns.row_start[j + 1]]
        result = encode.scored_result(
            point.source_id,
            point.time_ms,
            score,
            columns.anomalous[j],
            severity,
            incident,
            zip(point.names, point.values, rows, strict=True),
            self.config.result_features,
            zip(self._detector_names, columns.detectors[j], strict=True),
            told,
            point.labels,
            point.id,
        )
        return Outcome(point.source_id, "scored", result, anomaly, severity, incident, columns.anomalous[j])

    def _anomaly(
        self,
        record: Record,
        point: DataPoint,
        scored: ScoredPoints,
        j: int,
        severity: str,
        incident: str,
    ) -> tuple[str, bytes]:
        """The explanation, and the record for the anomalies topic."""
        decided, ensemble, features = scored.decided, self.ensemble, scored.features
        rows = features.rows[features.row_start[j] : features.row_start[j + 1]]
        expected = explanation.expected_ranges(point.names, rows, float(decided.budget[j]))
        shares = explanation.contributions(
            point.names, rows, self._detector_names, scored.surprises[j], ensemble.weights
        )
        if incident == "resolved":
            quiet = self.config.resolve_after_points
            told = f"Back to normal: {quiet} points in a row within the budget."
        else:
            told = explanation.sentence(point.names, rows, shares, expected)
        body = encode.anomaly_record(
            f"{self._place_name}-{record.offset}",
            f"{self._place_name}-{int(decided.incident_offset[j])}",
            incident,
            point.source_id,
            point.time_ms,
            record.record_time_ms,
            float(decided.score[j]),
            severity,
            zip(point.names, point.values, strict=True),
            [(e.value, e.lower, e.typical, e.upper) for e in expected],
            [(c.value, c.detector, c.share) for c in shares],
            told,
            point.labels,
            self.model_version,
        )
        return told, body


def _why_unscored(point: DataPoint, has_history: bool) -> str:
    if has_history:
        return "detectors_not_trained"
    return "no_values" if all(map(math.isnan, point.values)) else "insufficient_history"


def _unscored(point: DataPoint, status: str, reason: str | None = None) -> Outcome:
    result = encode.unscored_result(point.source_id, point.time_ms, status, reason, point.labels, point.id)
    return Outcome(point.source_id, status, result)
