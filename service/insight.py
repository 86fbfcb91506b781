"""Insight: the whole decision on one point, each step with its numbers, whether it fired or not.

Made for a single point when somebody asks (`DetectionPipeline.examine`); costs nothing while nobody does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from service.anomalies import Why
from service.decision import member_scores
from service.detectors.calibration import Judgement
from service.detectors.policy import REST_POINTS
from service.features.window import Feature
from service.outcomes import Outcome
from service.publication import Publication
from service.scored import ScoredPoints


class Gate(StrEnum):
    """What stands between a point and an incident, in this order."""

    ARRIVAL = "arrival"
    """It is late or a duplicate, so it was not looked at."""
    HISTORY = "history"
    """It was skipped."""
    EXPECTED = "expected"
    """Feedback announced it: until then nothing is an alarm."""
    THRESHOLD = "threshold"
    """The evidence, or the surprise, is too small."""
    LOAD = "load"
    """It would be enough, had there not been others lately."""
    REST = "rest"
    """The last opening was a moment ago."""
    OPEN = "open"
    """There is an incident open already, to which an anomaly belongs."""


class Passage(NamedTuple):
    """One gate, whether the point passed it, and why in words."""

    gate: Gate
    passed: bool
    told: str


@dataclass(frozen=True)
class Insight:
    """One point: what was published of it, and what that rested on.

    `judgement` is absent where the point got no score; `open_since` is the input offset of the incident that
    was open before it.
    """

    outcome: Outcome
    scored: ScoredPoints
    judgement: Judgement | None
    open_since: int | None
    publication: Publication
    detectors: tuple[tuple[str, float], ...]
    """Names and weights."""
    threshold: float
    lineage: str

    @cached_property
    def result(self) -> dict[str, Any]:
        """The point's result, as it is published."""
        result: dict[str, Any] = json.loads(self.outcome.result)
        return result

    @cached_property
    def why(self) -> Why | None:
        return self.publication.anomalies.why(self.scored, 0) if self.judgement is not None else None

    @property
    def offset(self) -> int:
        return int(self.scored.batch.points[0]["offset"])

    @property
    def budget(self) -> float:
        return float(self.scored.decided.pace.budget[0])

    @property
    def surprise(self) -> float:
        """-log10 of the published p."""
        return float(self.scored.decided.surprise[0])

    # Why it fired, or not.

    @cached_property
    def gates(self) -> list[Passage]:
        """Every gate that the point came to."""
        return list(self._gates())

    @property
    def held_by(self) -> list[Gate]:
        """The gates that kept it from opening an incident; none where it opened one."""
        return [passage.gate for passage in self.gates if not passage.passed]

    def _gates(self) -> Iterator[Passage]:
        status, reason = self.result["status"], self.result.get("reason", "")
        if status in ("late", "duplicate"):
            yield Passage(Gate.ARRIVAL, False, _ARRIVALS[status])
            return
        judged = self.judgement
        if judged is None:
            yield Passage(Gate.HISTORY, False, f"skipped: {reason.replace('_', ' ')}")
            return
        if self.scored.held[0]:
            yield Passage(Gate.EXPECTED, False, "feedback announced it as expected")
        what = "evidence" if judged.by_evidence else "surprise"
        enough = judged.value >= judged.unloaded
        yield Passage(Gate.THRESHOLD, enough, f"{what} {judged.value:.2f}, {judged.unloaded:.2f} opens")
        if enough and judged.load >= _SOME_LOAD:
            yield Passage(
                Gate.LOAD,
                judged.value >= judged.threshold,
                f"raised to {judged.threshold:.2f} by some {judged.load:.1f} openings not long ago",
            )
        if judged.rest:
            left = f"{judged.rest} of {REST_POINTS:.0f} points of rest after the last opening are left"
            yield Passage(Gate.REST, False, left)
        if self.open_since is not None:
            yield Passage(Gate.OPEN, False, f"the one opened at offset {self.open_since} goes on")

    @property
    def verdict(self) -> str:
        """What became of the point and why, in a sentence or two."""
        result = self.result
        if self.judgement is None:
            return f"Not judged: {self.gates[0].told}."
        is_anomaly, incident = result["isAnomaly"], result.get("incident")
        side = "above" if is_anomaly or "heldBy" in result else "not above"
        parts = [
            f"{'An anomaly' if is_anomaly else 'No anomaly'}: score {result['score']:.3g} is {side} "
            f"{self.threshold:g}."
        ]
        if incident == "opened":
            parts.append("It opened an incident.")
        elif incident is not None:
            parts.append(f"Its source's incident was {incident}.")
        else:
            kept = "; ".join(passage.told for passage in self.gates if not passage.passed)
            parts.append(f"No incident: {kept}.")
        return " ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        result, point = self.result, self.scored.batch.points[0]
        told: dict[str, Any] = {
            "sourceId": result["sourceId"],
            "timestamp": result["timestamp"],
            "offset": self.offset,
            "status": result["status"],
            "reason": result.get("reason"),
            "verdict": self.verdict,
            "lineage": self.lineage,
            "values": self._values(),
            "gates": [{"gate": g.gate, "passed": g.passed, "told": g.told} for g in self.gates],
            "detectedAtMs": int(point["record_time_ms"]),
        }
        if self.judgement is not None:
            told |= self._decision(self.judgement)
        return told

    # Parts of the JSON, which the table shows as well.

    def _values(self) -> list[dict[str, Any]]:
        batch, features = self.scored.batch, self.scored.features
        fresh = len(features) > 0
        expected = {e.value: e for e in self.why.expected} if self.why is not None else {}
        whole = float(np.nansum(features.shares)) if fresh else 0.0
        values = []
        for v, (name, sent) in enumerate(zip(batch.names(0), batch.sent(0), strict=True)):
            value: dict[str, Any] = {"name": name, "value": float(sent) if sent else None}
            if fresh and self.why is not None:
                row = features.rows[v]
                usual = expected.get(name)
                value["expected"] = usual and {
                    "lower": usual.lower, "typical": usual.typical, "upper": usual.upper
                }  # fmt: skip
                value["features"] = {
                    f.name.lower(): _number(row[f]) for f in Feature if f is not Feature.VALUE
                }
                value["share"] = float(features.shares[v]) / whole if whole > 0.0 else 0.0
            values.append(value)
        return values

    def _decision(self, judged: Judgement) -> dict[str, Any]:
        why, result, surprises = self.why, self.result, self.scored.surprises
        assert why is not None
        scores = member_scores(surprises, self.scored.decided.pace.budget)[0]
        parts = np.array([weight for _, weight in self.detectors]) * np.nan_to_num(surprises[0])
        whole = float(parts.sum())
        return {
            "detectors": [
                {
                    "name": name, "weight": weight, "surprise": _number(surprises[0, d]),
                    "score": _number(scores[d]), "share": float(parts[d]) / whole if whole > 0.0 else 0.0,
                }
                for d, (name, weight) in enumerate(self.detectors)
            ],
            "ensemble": {"surprise": judged.reference},
            "calibration": {
                "own": judged.own, "elsewhere": judged.reference, "trust": judged.trust,
                "points": judged.points, "surprise": self.surprise, "p": 10.0**-self.surprise,
                "budget": self.budget,
            },
            "score": result["score"], "threshold": self.threshold, "isAnomaly": result["isAnomaly"],
            "severity": result["severity"], "oncePer": why.rarity._asdict(),
            "confidence": {
                "value": result.get("confidence"), "points": float(self.scored.features.known[0]),
            },
            "incident": {
                "change": result.get("incident"), "openSince": self.open_since, "heldBy": self.held_by,
                "judgedBy": "evidence" if judged.by_evidence else "surprise", "value": judged.value,
                "threshold": judged.threshold, "unloaded": judged.unloaded, "load": judged.load,
                "restLeft": judged.rest, "missing": max(judged.threshold - judged.value, 0.0),
            },
            "contributions": [
                {"value": c.value, "detector": c.detector, "share": c.share} for c in why.contributions
            ],
            "explanation": result.get("explanation"),
        }  # fmt: skip


_ARRIVALS = {
    "late": "late: older than the newest point of its source",
    "duplicate": "a duplicate: of the time of its source's newest point, or with an id seen a moment ago",
}
_SOME_LOAD = 0.05
"""Below, recent openings raise the threshold by less than a hundredth."""


def _number(x: float) -> float | None:
    return None if math.isnan(x) else float(x)
