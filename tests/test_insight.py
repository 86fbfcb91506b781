"""What is told of one point is what was decided, and asking changes nothing."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.insight import Gate, Insight
from service.outcomes import Outcome
from service.pipeline import DetectionConfig, DetectionPipeline
from service.wire.limits import InputLimits
from service.wire.reader import ReadBatch, RecordBatch, read

CONFIG = DetectionConfig.model_validate({"false_alarms": 0.01, "features": {"min_history_points": 10}})
START_MS = 1_767_225_600_000
POINTS = 1200


@lru_cache(maxsize=1)
def lines() -> list[bytes]:
    """Two sources, of one and of two values, with faults, a late point and a duplicate."""
    rng, made = np.random.default_rng(5), []
    for i in range(POINTS // 2):
        x = float(rng.normal()) + (12.0 if i % 90 in (60, 61, 75) else 0.0) + (6.0 if i > 500 else 0.0)
        for source, values in (("one", {"x": x}), ("two", {"x": x, "y": float(rng.normal())})):
            time_ms = START_MS + 60_000 * (i - 2 if i == 300 else i - 1 if i == 400 else i)
            made.append(json.dumps({"sourceId": source, "timestamp": time_ms, "values": values}).encode())
    return made


def batch(start: int, stop: int) -> ReadBatch:
    values, n = lines()[start:stop], stop - start
    offset, time_ms = np.arange(start, stop), np.full(n, START_MS + 10**9)
    return read(RecordBatch(values, [None] * n, {}, offset, time_ms), InputLimits())


@lru_cache(maxsize=1)
def whole() -> list[Outcome]:
    outcomes = DetectionPipeline(CONFIG).process_read(batch(0, POINTS))
    return [outcomes.of(i) for i in range(POINTS)]


@lru_cache(maxsize=1)
def insights() -> list[Insight]:
    """Every point of the stream, looked into."""
    pipeline = DetectionPipeline(CONFIG)
    return [pipeline.examine(batch(i, i + 1)) for i in range(POINTS)]


def test_a_point_that_is_looked_into_is_published_as_ever() -> None:
    assert [insight.outcome for insight in insights()] == whole()


@settings(max_examples=10)
@given(st.integers(0, POINTS - 1))
def test_looking_into_one_point_of_a_batch_changes_neither_it_nor_what_follows(at: int) -> None:
    pipeline = DetectionPipeline(CONFIG)
    pipeline.score(batch(0, at))
    assert pipeline.examine(batch(at, at + 1)).as_json() == insights()[at].as_json()
    after = pipeline.process_read(batch(at + 1, POINTS))
    assert [after.of(i) for i in range(len(after))] == whole()[at + 1 :]


def test_an_incident_opens_exactly_where_no_gate_holds() -> None:
    opened = [insight.outcome.incident == "opened" for insight in insights()]
    assert [insight.held_by == [] for insight in insights()] == opened
    assert any(opened)


def test_every_gate_holds_a_point_now_and_then() -> None:
    assert {gate for insight in insights() for gate in insight.held_by} == set(Gate) - {Gate.EXPECTED}


def test_what_feedback_announced_is_held_by_that() -> None:
    pipeline = DetectionPipeline(CONFIG)
    pipeline.score(batch(0, 1004))
    control = {"sourceId": "one", "control": {"feedback": "expected", "until": START_MS + 60_000 * 600}}
    values, place = [json.dumps(control).encode()], np.array([POINTS])
    pipeline.score(read(RecordBatch(values, [None], {}, place, place), InputLimits()))
    insight = pipeline.examine(batch(1004, 1005))
    assert insight.held_by[0] is Gate.EXPECTED
    assert insight.result["heldBy"] == "expected"
    assert insight.verdict.startswith("No anomaly: score 0.")
    assert "is above 0.8. No incident: feedback announced it as expected" in insight.verdict


def test_what_the_gate_looks_at_is_what_was_decided_with() -> None:
    for insight in insights():
        if insight.judgement is None:
            assert insight.result["status"] != "scored"
            continue
        judged, told = insight.judgement, insight.as_json()
        assert judged.by_evidence == (told["sourceId"] == "one")
        assert judged.unloaded <= judged.threshold
        assert told["incident"]["missing"] == pytest.approx(max(judged.threshold - judged.value, 0.0))
        assert told["calibration"]["p"] == pytest.approx(10.0**-insight.surprise)
        assert sum(d["share"] for d in told["detectors"]) == pytest.approx(1.0)
        assert sum(v["share"] for v in told["values"]) == pytest.approx(1.0)
        assert sum(c["share"] for c in told["contributions"]) == pytest.approx(1.0)


def test_the_surprise_of_the_source_and_of_all_give_the_published_side_of_the_budget() -> None:
    for insight in insights():
        if insight.judgement is None or insight.outcome.incident == "opened":
            continue
        judged = insight.judgement
        blended = judged.trust * judged.own + (1.0 - judged.trust) * judged.reference
        assert (blended >= -math.log10(insight.budget)) == insight.outcome.is_anomaly


def test_the_verdict_says_what_became_of_the_point() -> None:
    def told(**wanted: Any) -> str:
        def fits(insight: Insight) -> bool:
            return all(insight.result.get(name) == value for name, value in wanted.items())

        return next(insight.verdict for insight in insights() if fits(insight))

    assert told(status="late").startswith("Not judged: late: older than the newest point")
    assert told(status="duplicate").startswith("Not judged: a duplicate")
    assert told(status="skipped") == "Not judged: skipped: insufficient history."
    assert "It opened an incident." in told(incident="opened")
    assert "Its source's incident was updated." in told(incident="updated")
    assert "No anomaly" in told(isAnomaly=False)
    assert "opens" in told(isAnomaly=False)


def test_the_whole_of_it_can_be_written_as_json() -> None:
    for insight in insights():
        told = json.loads(json.dumps(insight.as_json(), allow_nan=False))
        assert told["offset"] == insight.offset
        assert told["verdict"]
        if insight.judgement is not None:
            assert told["confidence"]["value"] == insight.result.get("confidence")


def test_only_a_single_point_can_be_looked_into() -> None:
    with pytest.raises(ValueError, match="not one data point"):
        DetectionPipeline(CONFIG).examine(batch(0, 2))
