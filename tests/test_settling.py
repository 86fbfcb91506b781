"""Where values settle after an incident: said, and refused by whoever does not take it for the new normal."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.outcomes import Outcome
from service.pipeline import DetectionPipeline, Record
from service.wire.anomaly import Anomaly
from service.wire.data_point import Control, DataPoint
from tests.streams import a_point
from tests.test_feedback import Log, clean
from tests.wire.published import read

KNOWN, SHIFT = 2000, 20.0


def shifted(n: int, seed: int) -> list[float]:
    return [SHIFT + x for x in clean(n, seed)]


def ends(outcomes: list[Outcome]) -> list[tuple[dict[str, Any], Anomaly]]:
    """The results and records with which incidents end."""
    return [
        (read(outcome.result), Anomaly.parse(outcome.anomaly or b""))
        for outcome in outcomes
        if outcome.incident == "resolved"
    ]


@pytest.fixture
def settled() -> tuple[Log, dict[str, Any], Anomaly]:
    """A source that has settled at another level, and how that was told."""
    log = Log()
    log.feed(*clean(KNOWN))
    (result, anomaly), *_ = ends(log.feed(*shifted(300, 3)))
    return log, result, anomaly


def test_an_incident_that_ends_at_a_new_level_says_so_and_how_to_undo_it(
    settled: tuple[Log, dict[str, Any], Anomaly],
) -> None:
    _, result, anomaly = settled
    assert anomaly.new_normal is not None
    assert 50 < anomaly.new_normal.after_points == result["newNormalAfter"] < 250
    level = anomaly.new_normal.levels["value"]
    assert level.before == pytest.approx(0.0, abs=0.5)
    assert level.now == pytest.approx(SHIFT, abs=1.0)
    assert anomaly.explanation == result["explanation"]
    assert anomaly.explanation.startswith("Quiet at a new level: value is about ")
    assert "anomalyd feedback pump-7 confirmed" in anomaly.explanation


def test_an_incident_that_ends_where_it_began_says_nothing_of_a_new_normal() -> None:
    log = Log()
    log.feed(*clean(KNOWN))
    ((result, anomaly),) = ends(log.feed(*shifted(30, 3), *clean(100, 4)))
    assert anomaly.explanation.startswith("Back to normal")
    assert anomaly.new_normal is None
    assert "newNormalAfter" not in result


@pytest.mark.parametrize("points_a_day", [96, 288])
def test_a_daily_wave_is_no_new_level(points_a_day: int) -> None:
    log = Log()
    rng = np.random.default_rng(9)
    phase = 2 * np.pi * np.arange(30 * points_a_day) / points_a_day
    values = 10.0 * np.sin(phase) + rng.normal(size=len(phase))
    spikes = rng.integers(10 * points_a_day, len(phase), 40)
    values[spikes] += rng.choice([-30.0, 30.0], 40)
    told = [anomaly for _, anomaly in ends(log.feed(*values.tolist()))]
    assert len(told) >= 4
    assert [anomaly for anomaly in told if anomaly.new_normal is not None] == []


def test_a_refused_level_alarms_for_as_long_as_it_lasts_and_its_incident_goes_on(
    settled: tuple[Log, dict[str, Any], Anomaly],
) -> None:
    log, _, anomaly = settled
    answer, _ = log.say(feedback="confirmed", by="jo")
    assert answer["changed"]["outage"] == "forgotten"
    assert answer["changed"]["reopened"] == anomaly.incident_id
    during = log.feed(*shifted(700, 5))
    assert all(outcome.is_anomaly and outcome.incident == "updated" for outcome in during)
    assert all(read(outcome.result)["score"] > 0.8 for outcome in during)
    one = Anomaly.parse(during[-1].anomaly or b"")
    assert one.incident_id == anomaly.incident_id
    assert one.explanation.startswith("value is still nearer to 20")
    back = log.feed(*clean(200, 6))
    (_, end), *_ = ends(back)
    assert (end.incident_id, end.new_normal) == (anomaly.incident_id, None)
    assert not any(outcome.is_anomaly for outcome in back[100:])


def test_a_level_that_is_refused_stays_so_for_5_000_points() -> None:
    log = Log()
    log.feed(*clean(KNOWN), *shifted(300, 3))
    log.say(feedback="confirmed")
    during = log.feed(*shifted(5200, 5))
    assert all(outcome.is_anomaly for outcome in during[:4999])
    assert sum(outcome.is_anomaly for outcome in during[5000:]) < 10


@pytest.mark.parametrize("feedback", ["false_alarm", "new_normal"])
def test_what_was_refused_can_be_allowed_again(
    settled: tuple[Log, dict[str, Any], Anomaly], feedback: str
) -> None:
    log, _, anomaly = settled
    log.say(feedback="confirmed")
    log.feed(*shifted(20, 5))
    answer, end = log.say(feedback=feedback)
    assert (answer["incident"], answer["incidentId"]) == ("resolved", anomaly.incident_id)
    assert end is not None
    assert sum(outcome.is_anomaly for outcome in log.feed(*shifted(200, 6))) < 5


def test_a_source_that_came_back_has_nothing_left_to_refuse(
    settled: tuple[Log, dict[str, Any], Anomaly],
) -> None:
    log, _, _ = settled
    log.feed(*clean(400, 5))
    answer, _ = log.say(feedback="confirmed")
    assert "reopened" not in answer["changed"]
    assert sum(outcome.is_anomaly for outcome in log.feed(*clean(300, 6))) < 5


def test_a_word_on_an_earlier_incident_refuses_nothing(settled: tuple[Log, dict[str, Any], Anomaly]) -> None:
    log, _, anomaly = settled
    log.say(feedback="confirmed", anomalyId=anomaly.incident_id)
    log.feed(*clean(300, 5), *shifted(300, 6))
    answer, _ = log.say(feedback="confirmed", anomalyId=anomaly.incident_id)
    assert "reopened" not in answer["changed"]


def test_of_several_values_those_that_moved_are_named() -> None:
    rng, pipeline = np.random.default_rng(4), DetectionPipeline()
    values = rng.normal(size=(2400, 3))
    values[2000:, 1] += SHIFT
    points = [a_point("rig", 60 * i, {"a": a, "b": b, "c": c}) for i, (a, b, c) in enumerate(values.tolist())]
    told = ends(pipeline.process_batch([Record(point, i, 60 * i) for i, point in enumerate(points)]))
    moved = [anomaly.new_normal.levels for _, anomaly in told if anomaly.new_normal is not None]
    assert [list(levels) for levels in moved] == [["b"]]


WORDS = ("confirmed", "false_alarm")


def log_of_shifts() -> list[DataPoint | Control]:
    """Two sources that change their levels and come back, and words on them."""
    rng = np.random.default_rng(8)
    log: list[DataPoint | Control] = []
    level = 0.0
    for i in range(1500):
        if i >= 600 and i % 150 == 0:
            level = SHIFT - level
        log.append(a_point("one", 60 * (i + 1), level + float(rng.normal())))
        log.append(a_point("two", 60 * (i + 1), {"a": float(rng.normal()), "b": level + float(rng.normal())}))
        if i > 700 and rng.random() < 0.01:
            log.append(
                Control(("one", "two")[i % 2], 60_000 * i, {"feedback": WORDS[int(rng.random() < 0.3)]})
            )
    return log


def test_the_log_of_the_next_test_has_everything_that_can_happen() -> None:
    outcomes = DetectionPipeline().process_batch(
        [Record(content, i, i) for i, content in enumerate(log_of_shifts())]
    )
    answers = [json.loads(outcome.result).get("changed", {}) for outcome in outcomes]
    assert any(answer.get("reopened") for answer in answers)
    told = [json.loads(outcome.anomaly) for outcome in outcomes if outcome.anomaly]
    assert any("newNormal" in one for one in told)
    assert any("still nearer" in one["explanation"] for one in told)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(0, 3020), max_size=5), st.booleans())
def test_any_split_and_any_restart_settle_and_refuse_the_same(cuts: list[int], restart: bool) -> None:
    records = [Record(content, i, i) for i, content in enumerate(log_of_shifts())]
    whole = DetectionPipeline().process_batch(records)
    pipeline, parts = DetectionPipeline(), []
    for start, stop in pairwise([0, *sorted(cuts), len(records)]):
        parts += pipeline.process_batch(records[start:stop])
        if restart:
            state, pipeline = pipeline.state(), DetectionPipeline()
            pipeline.restore(state)
    assert parts == whole
