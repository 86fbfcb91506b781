"""From a calibrated surprise to what is said of a point: score, anomaly, severity, incident.

The budget p0 is the share of normal points that may be called anomalous. With p the probability that a
normal point is at least this odd, score = clip(1 - 0.2 (p / p0)^log10(2), 0, 1): 0.8 is exactly the
budget, 0.9 ten times rarer, 0.95 a hundred times.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from service.history.table import Column, StateTable
from service.kernels import borrowed, inlined, kernel, prefetch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

_PERIODS_MS = {"hour": 3_600_000.0, "day": 86_400_000.0, "week": 7 * 86_400_000.0}
_PER_PERIOD = re.compile(r"\s*(\d+(?:\.\d+)?)\s+per\s+(hour|day|week)\s*")

LARGEST_BUDGET, SMALLEST_BUDGET = 0.1, 1e-9
AT_BUDGET = 0.8
"""The score of a point that is exactly as rare as the budget allows."""
_LARGEST_GATE = 0.5


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """A false-alarm budget: `per_point`, or `per_ms` of a source's own time if that is above 0."""

    per_point: float
    per_ms: float
    text: str

    @classmethod
    def parse(cls, value: object) -> FalseAlarms:
        """A number per point (`0.001`) or a count per source and period (`2 per day`).

        Raises:
            ValueError: neither, or a number outside (0, 0.1].
        """
        if isinstance(value, FalseAlarms):
            return value
        if isinstance(value, str) and (match := _PER_PERIOD.fullmatch(value)):
            count = float(match[1])
            if count <= 0:
                raise ValueError(f"must be more than 0 per {match[2]}, got {value!r}")
            return cls(0.0, count / _PERIODS_MS[match[2]], value.strip())
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except ValueError:
            number = math.nan
        if isinstance(value, bool) or not 0 < number <= LARGEST_BUDGET:
            raise ValueError(
                f"must be a number per point above 0 and up to {LARGEST_BUDGET}, "
                f"or a text like '2 per day', got {value!r}"
            )
        return cls(number, 0.0, repr(number))

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema()
        )


Share = Annotated[float, Field(gt=0, lt=1)]


class SeverityConfig(BaseModel):
    """Scores above which an anomaly is more than `low`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    medium: Share = 0.8
    high: Share = 0.9
    critical: Share = 0.95

    @model_validator(mode="after")
    def _ascending(self) -> SeverityConfig:
        if not self.medium <= self.high <= self.critical:
            raise ValueError("medium, high and critical must not descend")
        return self


class DecisionConfig(BaseModel):
    """What is called an anomaly, how bad it is, and when an incident is over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: Share = 0.8
    """Score above which a point is an anomaly; 0.8 is exactly the false-alarm budget."""
    false_alarms: FalseAlarms = FalseAlarms.parse(0.001)
    """The budget: false alarms per point and source, or per source and time (`2 per day`)."""
    severity: SeverityConfig = SeverityConfig()
    resolve_after_points: int = Field(24, ge=1, le=100_000)
    """Points in a row that must be no anomaly before an incident is resolved."""


class Severity(IntEnum):
    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class Incident(IntEnum):
    """What a point changes about its source's incident."""

    NONE = 0
    OPENED = 1
    UPDATED = 2
    RESOLVED = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """How often points come and may alarm, for `n` points and with each of them.

    `budget` is each point's p0, `gap_ms` its source's mean time from point to point (0 for its first), `seen`
    how many points of its source there were.
    """

    budget: Floats
    gap_ms: Floats
    seen: Floats


@dataclass(frozen=True, slots=True)
class DecisionBatch:
    """What was decided on `n` scored points; `score` is NaN where nothing could be.

    `surprise` is -log10 p; `incident_offset` the input offset that opened the incident that the point
    belongs to, -1 without one; `severity` on a resolving point is the incident's worst, `lasted` how many
    points it had, otherwise 0. `told` are the places of the points that have an anomaly record.
    """

    score: Floats
    surprise: Floats
    pace: Pace
    anomalous: npt.NDArray[np.bool_]
    severity: Bytes
    incident: Bytes
    incident_offset: Ints
    lasted: Ints
    told: Ints


_OPENED_AT, _CALM, _WORST, _POINTS = range(4)  # incident, per source


# -log2 of a fifth: the exponent from which on a score is 0.
_NO_SCORE = math.log2(5.0)
_AHEAD = 6  # points whose rows are on their way from memory


@inlined
def _score(exponent: float) -> float:
    """1 - 0.2 * 2^exponent, at least 0; most points are so usual that the power need not be taken."""
    return 0.0 if exponent >= _NO_SCORE else 1.0 - 0.2 * 2.0**exponent


@kernel
def score_of(surprise: float, budget: float) -> float:
    """The score of contracts for a surprise of -log10 p under the budget p0."""
    return _score(-math.log10(budget) - surprise)


@kernel
def member_scores(surprises: Floats, budget: Floats) -> Floats:
    """Scores (n, members) of the members' own surprises under each point's budget; NaN stays."""
    scores = np.empty_like(surprises)
    last, level = np.nan, 0.0
    for point in range(surprises.shape[0]):
        if budget[point] != last:  # mostly all points have one budget
            last = budget[point]
            level = -math.log10(last)
        for member in range(surprises.shape[1]):
            surprise = surprises[point, member]
            scores[point, member] = surprise if math.isnan(surprise) else _score(level - surprise)
    return scores


@kernel
def _decide(
    source: Ints,
    offset: Ints,
    surprise: Floats,
    opening: Bools,
    budget: Floats,
    held: Bools,
    incidents: Ints,
    threshold: float,
    steps: Floats,
    resolve_after: int,
    score: Floats,
    anomalous: npt.NDArray[np.bool_],
    severity: Bytes,
    incident: Bytes,
    incident_offset: Ints,
    lasted: Ints,
    told: Ints,
) -> int:
    """Fill the columns of a batch; how many places `told` got."""
    incidents, records = borrowed(incidents), 0
    for point in range(source.shape[0]):
        if point + _AHEAD < source.shape[0]:
            prefetch(incidents, source[point + _AHEAD])
        slot = source[point]
        anomalous[point] = False
        severity[point] = Severity.LOW
        incident[point] = Incident.NONE
        lasted[point] = 0
        state = incidents[slot]
        is_open = state[_OPENED_AT] > 0  # stored plus one: a cleared row is no incident
        incident_offset[point] = state[_OPENED_AT] - 1
        if math.isnan(surprise[point]):
            score[point] = np.nan
            continue
        score[point] = score_of(surprise[point], budget[point])
        for step in range(steps.shape[0]):
            if score[point] > steps[step]:
                severity[point] = step + 1
        anomalous[point] = score[point] > threshold and not held[point]
        state[_POINTS] += 1
        if opening[point] and not is_open:
            incident[point] = Incident.OPENED
            state[_OPENED_AT] = offset[point] + 1
            incident_offset[point] = offset[point]
            state[_CALM] = 0
            state[_WORST] = severity[point]
            state[_POINTS] = 1
        elif is_open and anomalous[point]:
            incident[point] = Incident.UPDATED
            state[_CALM] = 0
            state[_WORST] = max(state[_WORST], severity[point])
        elif is_open:
            state[_CALM] += 1
            if state[_CALM] >= resolve_after:
                incident[point] = Incident.RESOLVED
                severity[point] = state[_WORST]
                lasted[point] = state[_POINTS]
                state[_OPENED_AT] = 0
        if anomalous[point] or incident[point] != Incident.NONE:
            told[records] = point
            records += 1
    return records


@kernel
def promised_by(score: Floats, budget: Floats, before: float) -> tuple[int, float]:
    """How many points got a score, and the sum of their budgets and what was promised before.

    Added one after the other, as the sum of any split into batches must be.
    """
    judged, promised = 0, before
    for point in range(len(score)):
        if not math.isnan(score[point]):
            judged += 1
            promised += budget[point]
    return judged, promised


class Decision:
    """Holds each source's open incident."""

    def __init__(self, config: DecisionConfig) -> None:
        self._config = config
        severity = config.severity
        self._steps = np.array([severity.medium, severity.high, severity.critical])
        self.table = StateTable({"incident": Column(np.int64, 4)})

    def pace(self, gap_ms: Floats, seen: Floats) -> Pace:
        """The budgets of points whose sources usually report every `gap_ms`, and have so many times."""
        false_alarms = self._config.false_alarms
        budget = np.full(len(gap_ms), false_alarms.per_point)
        if false_alarms.per_ms > 0.0:
            budget = np.clip(false_alarms.per_ms * gap_ms, SMALLEST_BUDGET, LARGEST_BUDGET)
        return Pace(budget, gap_ms, seen)

    def open_since(self, slot: int) -> int | None:
        """The input offset that opened the incident that a source has open; a negative slot has none."""
        opened_at = int(self.table["incident"][slot, _OPENED_AT]) if slot >= 0 else 0
        return opened_at - 1 if opened_at else None

    def severity_of(self, score: float) -> Severity:
        """How bad a score is."""
        return Severity(int((score > self._steps).sum()))

    def gates(self, budget: Floats) -> Floats:
        """How rare (n,) a point must be to pass the threshold: at 0.8 as its budget, at 0.9 a tenth of it."""
        times = ((1.0 - self._config.threshold) / (1.0 - AT_BUDGET)) ** math.log2(10.0)
        gates: Floats = np.clip(budget * times, SMALLEST_BUDGET, _LARGEST_GATE)
        return gates

    def reopen(self, slot: int, offset: int, worst: Severity) -> bool:
        """Let the incident that this input offset opened go on; false if another is open."""
        incident = self.table["incident"][slot]
        if incident[_OPENED_AT] > 0:
            return False
        incident[:_POINTS] = offset + 1, 0, worst
        return True

    def close(self, slot: int) -> tuple[int, Severity] | None:
        """End the open incident of a source, if any: the offset that opened it and its worst severity."""
        incident = self.table["incident"][slot]
        if incident[_OPENED_AT] == 0:
            return None
        closed = int(incident[_OPENED_AT]) - 1, Severity(incident[_WORST])
        incident[_OPENED_AT] = 0
        return closed

    def advance(
        self,
        source: Ints,
        offset: Ints,
        pace: Pace,
        surprise: Floats,
        opening: Bools,
        held: Bools,
    ) -> DecisionBatch:
        """Decide on the points (n,) in order; `surprise` is -log10 p, NaN where there is none.

        Those `held` are no anomalies, whatever their score.
        """
        n, config = len(source), self._config
        batch = DecisionBatch(
            score=np.empty(n),
            surprise=surprise,
            pace=pace,
            anomalous=np.empty(n, np.bool_),
            severity=np.empty(n, np.uint8),
            incident=np.empty(n, np.uint8),
            incident_offset=np.empty(n, np.int64),
            lasted=np.empty(n, np.int64),
            told=np.empty(n, np.int64),
        )
        records = _decide(
            source,
            offset,
            surprise,
            opening,
            pace.budget,
            held,
            self.table["incident"],
            config.threshold,
            self._steps,
            config.resolve_after_points,
            batch.score,
            batch.anomalous,
            batch.severity,
            batch.incident,
            batch.incident_offset,
            batch.lasted,
            batch.told,
        )
        return replace(batch, told=batch.told[:records])
