"""DetectionPipeline: the points of one partition in, results and anomaly records out.

Everything here is a pure function of the records that came before: no randomness that is not seeded, no
network, no log. A batch of any size, and one point at a time, give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, field_validator, model_validator

from service.absence import Absence, AbsenceConfig, Teller
from service.clock import Clock, SystemClock
from service.decision import Decision, DecisionConfig, promised_by
from service.detectors.calibration import BudgetCalibration
from service.detectors.model import Model
from service.detectors.registry import EnsembleConfig, make_ensemble
from service.features.config import FeatureConfig
from service.features.engine import FeatureBatch, FeatureEngine
from service.features.window import Feature
from service.feedback import Answer, Feedback
from service.history.sources import Placement, Sources
from service.history.table import Array, Copied, StateTable
from service.insight import Insight
from service.outcomes import Outcome, Outcomes
from service.publication import Obeyed, Publication
from service.scored import ScoredPoints
from service.settling import Settling
from service.wire.batch import PointBatch
from service.wire.data_point import Control, DataPoint, Forget, InvalidRecord
from service.wire.decode import InputLimits, decode
from service.wire.reader import Others, ReadBatch

Ints = npt.NDArray[np.int64]

STATE_VERSION = 14
"""Raised whenever the same input would give other results; part of every model version."""

LEAN = {"recurrence_values": 0, "joint_values": 8, "signs_of_change": False}
"""The features of the lean profile."""


class DetectionConfig(DecisionConfig):
    """Everything that results depend on, `detection` in the configuration."""

    profile: Literal["default", "lean"] = "default"
    """`lean` keeps less of every source, for a million of them: it sets what is not set otherwise."""
    features: FeatureConfig = FeatureConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    absence: AbsenceConfig = AbsenceConfig()
    max_sources: int = Field(1_000_000, ge=1, le=100_000_000)
    """Sources of one partition with history in memory; the least recently seen make room."""
    max_values_per_source: int = Field(1024, ge=1, le=65_536)
    """Different value names of one source; a point with more is skipped."""
    result_features: tuple[str, ...] = ("mean", "std", "z_score")
    """Features that results show beside each value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _take_profile(cls, settings: Any) -> Any:
        if not isinstance(settings, dict) or settings.get("profile") != "lean":
            return settings
        features = settings.get("features", {})
        return {**settings, "features": {**LEAN, **features}} if isinstance(features, dict) else settings

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
        born: int = 0,
    ) -> None:
        """`born` is the offset of the first record of its history."""
        self.config = config or DetectionConfig()
        self.model_version = self.config.model_version() + (f"-{model.digest[:12]}" if model else "")
        # What a state is a function of: this and the records from there on.
        self.lineage = f"{self.model_version}@{born}" if born else self.model_version
        self._features = FeatureEngine(self.config.features)
        self.ensemble = make_ensemble(self.config.ensemble, executor)
        self._calibration = BudgetCalibration()
        self._decision = Decision(self.config)
        self._absence = Absence(self.config.absence)
        long_memory = self._features.long_memory
        histories = [self._calibration.table, long_memory.source_table]
        self._settling = Settling()
        series_tables = (self._features.table, long_memory.table, self._settling.values)
        feedback_table = Feedback.new_table()
        source_tables = (
            *histories,
            self._decision.table,
            self._absence.table,
            feedback_table,
            self._settling.sources,
        )
        self.sources = Sources(
            self.config.max_sources,
            self.config.max_values_per_source,
            source_tables=source_tables,
            series_tables=series_tables,
            others=long_memory.kinds,
            is_watched=self._absence.is_watched,
        )
        place_name = f"{topic}-{partition}"
        self._feedback = Feedback(
            place_name,
            feedback_table,
            self.sources,
            self._calibration,
            self._decision,
            self._settling,
            self._absence,
            histories,
        )
        self.publication = Publication(
            place_name=place_name,
            model_version=self.lineage,
            result_features=self.config.result_features,
            detectors=[detector.name for detector in self.ensemble.detectors],
            weights=self.ensemble.weights,
            resolve_after_points=self.config.resolve_after_points,
            teller=Teller(place_name, self.lineage, self._decision),
            threshold=self.config.threshold,
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
    def silent_sources(self) -> int:
        """Sources that have fallen silent against their own cadence."""
        return self._absence.silent()

    @property
    def state_bytes(self) -> int:
        """Memory of the per-source state."""
        return sum(table.nbytes for table, _ in self._saved().values()) + self.sources.nbytes

    @property
    def saved_bytes(self) -> int:
        """Of the large arrays of `state`."""
        return sum(rows * table.row_bytes for table, rows in self._saved().values())

    def bytes_per_source(self, values: int) -> int:
        """State of one source of so many values, without the room that tables keep for growth."""
        return self.sources.bytes_of(values)

    def state(self, copied: Copied = np.copy) -> dict[str, Array]:
        """Everything that a later result depends on, as copies, the large ones by `copied`: see `restore`."""
        parts = {
            "sources": self.sources.state(),
            **{name: table.arrays(rows, copied) for name, (table, rows) in self._saved().items()},
            "absence": self._absence.state(),
            "cohorts": self._features.long_memory.cohorts.state(),
            "anomalies": self._feedback.state(),
            "ensemble": self.ensemble.state(),
            "counts": {"judged": np.array([self.judged]), "promised": np.array([self.promised])},
        }
        return {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def _saved(self) -> dict[str, tuple[StateTable, int]]:
        """Every table with how many of its rows were ever in use."""
        sources, long_memory = self.sources, self._features.long_memory
        return {
            "calibration": (self._calibration.table, sources.slots),
            "decision": (self._decision.table, sources.slots),
            "cadence": (self._absence.table, sources.slots),
            "feedback": (self._feedback.table, sources.slots),
            "settled": (self._settling.sources, sources.slots),
            "levels": (self._settling.values, sources.series),
            "joined": (long_memory.source_table, sources.slots),
            "features": (self._features.table, sources.series),
            "long_memory": (long_memory.table, sources.series),
            "signs": (long_memory.signs, sources.used(1)),
            "relations": (long_memory.relations, sources.used(2)),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` of a pipeline of the same `model_version` gave: later results are its bytes.

        Raises:
            ValueError: the state is of another configuration, or a part is missing.
        """

        def part(name: str) -> dict[str, Array]:
            prefix = f"{name}/"
            return {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}

        self.sources.restore(part("sources"))
        for name, (table, _) in self._saved().items():
            table.restore(part(name))
        self._absence.restore(part("absence"))
        self._features.long_memory.cohorts.restore(part("cohorts"))
        self._feedback.restore(part("anomalies"))
        self._settling.restored()
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
        offsets = np.array([record.offset for record in records], np.int64)
        times = np.array([record.record_time_ms for record in records], np.int64)
        outcomes = self.process_read(ReadBatch(offsets, times, batch, others))
        if records:
            self._next_offset = records[-1].offset + 1
        return [outcomes.of(i) for i in range(len(records))]

    def process_read(self, read: ReadBatch) -> Outcomes:
        """Score and learn what was read together, in its order; dead letters are left out."""
        return self.publication.of(read, self.score(read))

    def score(self, read: ReadBatch) -> list[ScoredPoints | Obeyed]:
        """Score and learn what was read together; `publication` writes what it gives."""
        steps: list[ScoredPoints | Obeyed] = []
        batch, start = read.points, 0
        for record, content in read.others.items():
            if isinstance(content, InvalidRecord):
                continue
            stop = int(np.searchsorted(batch.points["record"], record))
            steps += self.advance(batch.part(start, stop))
            offset, time_ms = int(read.offset[record]), int(read.record_time_ms[record])
            steps.append(Obeyed(record, offset, time_ms, content, self._obey(content, offset)))
            start = stop
        steps += self.advance(batch.part(start, len(batch.points)))
        return steps

    def _obey(self, content: Control | Forget, offset: int) -> Answer:
        if isinstance(content, Forget):
            known = self.sources.forget(content.source_id)
            return Answer("forgotten", None if known else "unknown_source")
        return self._feedback.obey(content, offset)

    def examine(self, read: ReadBatch) -> Insight:
        """Score and learn a single point, and tell everything that its decision rested on.

        Raises:
            ValueError: it is no point.
        """
        if len(read.points.points) != 1 or read.records != 1:
            raise ValueError("not one data point")
        try:
            slot = self.sources.slot_of(read.points.source_id(0))
        except KeyError:
            slot = -1
        rows, open_since = self._calibration.rows(slot), self._decision.open_since(slot)
        (scored,) = self.advance(read.points)
        outcome = self.publication.of(read, [scored]).of(0)
        reference, budget = self.ensemble.combine(scored.surprises), scored.decided.pace.budget
        judgement = None
        if len(reference) and not np.isnan(reference[0]):
            gate = float(self._decision.gates(budget)[0])
            evidence = float(scored.features.evidence[0])
            judgement = self._calibration.judge(rows, float(reference[0]), evidence, gate)
        members = tuple(
            (d.name, w) for d, w in zip(self.ensemble.detectors, self.ensemble.weights, strict=True)
        )
        return Insight(
            outcome,
            scored,
            judgement,
            open_since,
            self.publication,
            members,
            self.config.threshold,
            self.lineage,
        )

    def advance(self, batch: PointBatch) -> Iterator[ScoredPoints]:
        """Score and learn the points of a batch, in few stretches."""
        start = 0
        while start < len(batch.points):
            placed = self.sources.place(batch, start)
            yield self._score(batch, placed)
            start = placed.stop

    def _score(self, batch: PointBatch, placed: Placement) -> ScoredPoints:
        time_ms, record_time_ms, offset = (
            placed.of_fresh(batch.points[field]) for field in ("time_ms", "record_time_ms", "offset")
        )
        features = self._features.advance(placed, time_ms)
        surprises = self.ensemble.members(features)
        reference = self.ensemble.combine(surprises)
        gap_ms, seen, silences = self._absence.advance(
            placed.source,
            time_ms,
            record_time_ms,
            offset,
            self._feedback.expected_until,
            self.sources.source_id,
        )
        stated = self._decision.pace(gap_ms, seen)
        budget, held = self._feedback.budgets(placed.source, time_ms, stated.budget)
        pace = replace(stated, budget=budget)
        gate = self._decision.gates(budget)
        away, refused = self._settling.away(placed, features, seen)
        surprise, opening, accepted = self._calibration.advance(
            placed.source, reference, features.evidence, gate, held, away
        )
        decided = self._decision.advance(placed.source, offset, pace, surprise, opening, held)
        settled = self._settling.advance(placed, features, decided)
        accepted[list(settled)] = decided.lasted[list(settled)]
        self._feedback.remember(batch, placed.fresh[decided.told])
        judged, self.promised = promised_by(decided.score, budget, self.promised)
        self.judged += judged
        missing = self._missing(batch, placed, features, decided.told)
        return ScoredPoints(
            batch, placed, features, surprises, decided, held, accepted, settled, refused, missing, silences
        )

    def _missing(
        self, batch: PointBatch, placed: Placement, features: FeatureBatch, told: Ints
    ) -> dict[int, str]:
        """Of the points that are told of: the value that makes them odd because it has stopped coming."""
        places = features.missing[told].tolist()
        return {
            j: self.sources.names(batch.source_id(int(placed.fresh[j])))[place]
            for j, place in zip(told.tolist(), places, strict=True)
            if place >= 0
        }
