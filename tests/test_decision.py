from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.decision import (
    LARGEST_BUDGET,
    SMALLEST_BUDGET,
    Decision,
    DecisionBatch,
    DecisionConfig,
    FalseAlarms,
    Incident,
    Severity,
    member_scores,
    score_of,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NONE, OPENED, UPDATED, RESOLVED = Incident
LOW, MEDIUM, HIGH, CRITICAL = Severity
DAY_MS = 86_400_000


def config(**fields: object) -> DecisionConfig:
    return DecisionConfig.model_validate(fields)


def decide(
    decision: Decision,
    surprise: list[float] | Floats,
    source: int = 0,
    first_offset: int = 100,
    every_ms: int = 1000,
) -> DecisionBatch:
    """Points of one source, `every_ms` apart, at neighbouring offsets."""
    offset = np.arange(first_offset, first_offset + len(surprise))
    return advance(
        decision,
        np.full(len(surprise), source),
        np.full(len(surprise), float(every_ms)),
        offset,
        np.asarray(surprise, np.float64),
    )


def advance(
    decision: Decision, source: Ints, gap_ms: Floats, offset: Ints, surprise: Floats
) -> DecisionBatch:
    """Every point that is an anomaly may open an incident."""
    pace = decision.pace(gap_ms, np.ones(len(source)))
    threshold = decision._config.threshold
    opening = np.array(
        [score_of(s, p0) > threshold for s, p0 in zip(surprise, pace.budget, strict=True)], bool
    )
    return decision.advance(source, offset, pace, surprise, opening, np.zeros(len(source), np.bool_))


# Score and severity


@pytest.mark.parametrize("budget", [0.1, 0.001, 1e-4, 1e-9])
def test_the_score_is_the_formula_of_the_contracts(budget: float) -> None:
    for rarer, score in [(1, 0.8), (10, 0.9), (100, 0.95), (1000, 0.975), (0.1, 0.6), (1e-3, 0.0)]:
        assert score_of(-math.log10(budget / rarer), budget) == pytest.approx(score, abs=1e-9)


@given(st.floats(0, 300), st.floats(0, 300), st.floats(1e-9, 0.1))
def test_the_score_lies_in_the_unit_interval_and_grows_with_the_surprise(
    one: float, other: float, budget: float
) -> None:
    low, high = sorted([score_of(one, budget), score_of(other, budget)])
    assert 0.0 <= low <= high <= 1.0
    assert score_of(min(one, other), budget) == low


@given(st.floats(0, 30), st.floats(1e-9, 0.1))
def test_scores_are_those_of_the_formula_also_where_no_power_is_taken(surprise: float, budget: float) -> None:
    plain = max(1.0 - 0.2 * 2.0 ** (-math.log10(budget) - surprise), 0.0)
    assert score_of(surprise, budget) == pytest.approx(plain, abs=1e-15)


def test_a_p_value_of_exactly_the_budget_is_no_anomaly_yet() -> None:
    batch = decide(Decision(config(false_alarms=0.001)), [3.0, 3.001])
    assert batch.anomalous.tolist() == [False, True]


def test_severities_begin_above_their_scores() -> None:
    surprise = [2.0, 2.99, 3.01, 3.99, 4.01, 4.99, 5.01, 30.0]
    batch = decide(Decision(config(resolve_after_points=1000)), surprise)
    assert batch.severity.tolist() == [LOW, LOW, MEDIUM, MEDIUM, HIGH, HIGH, CRITICAL, CRITICAL]
    assert batch.anomalous.tolist() == [False] * 2 + [True] * 6


def test_severities_can_be_set() -> None:
    severity = {"medium": 0.5, "high": 0.5, "critical": 0.99}
    batch = decide(Decision(config(threshold=0.3, severity=severity)), [1.5, 2.6, 6.0])
    assert batch.severity.tolist() == [LOW, HIGH, HIGH]


def test_member_scores_are_those_of_each_surprise_under_the_budget_of_its_point() -> None:
    surprises = np.array([[3.0, math.nan], [1.0, 6.0]])
    scores = member_scores(surprises, np.array([0.001, 0.1]))
    assert scores[0, 0] == pytest.approx(0.8)
    assert math.isnan(scores[0, 1])
    assert scores[1].tolist() == [score_of(1.0, 0.1), score_of(6.0, 0.1)]


def test_without_a_surprise_there_is_no_score_and_nothing_changes() -> None:
    decision = Decision(config(resolve_after_points=2))
    batch = decide(decision, [5.0, math.nan, 0.0, math.nan, math.nan, 0.0])
    assert np.isnan(batch.score).tolist() == [False, True, False, True, True, False]
    assert batch.incident.tolist() == [OPENED, NONE, NONE, NONE, NONE, RESOLVED]
    assert not batch.anomalous[1]


# Incidents


def test_an_incident_is_opened_updated_and_resolved() -> None:
    batch = decide(Decision(config(resolve_after_points=3)), [0.0, 5.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0])
    assert batch.incident.tolist() == [NONE, OPENED, NONE, UPDATED, NONE, NONE, RESOLVED, NONE]
    assert batch.incident_offset.tolist() == [-1, 101, 101, 101, 101, 101, 101, -1]


def test_the_resolving_point_carries_the_worst_severity_of_its_incident() -> None:
    batch = decide(Decision(config(resolve_after_points=1)), [3.5, 5.5, 4.5, 0.0, 3.5, 0.0])
    assert batch.incident.tolist() == [OPENED, UPDATED, UPDATED, RESOLVED, OPENED, RESOLVED]
    assert batch.severity.tolist() == [MEDIUM, CRITICAL, HIGH, CRITICAL, MEDIUM, MEDIUM]
    assert not batch.anomalous[3]


def test_an_incident_that_the_first_record_of_a_topic_opened_is_one() -> None:
    decision = Decision(config(resolve_after_points=2))
    batch = decide(decision, [5.0, 4.0], first_offset=0)
    assert batch.incident.tolist() == [OPENED, UPDATED]
    assert batch.incident_offset.tolist() == [0, 0]


def test_each_source_has_an_incident_of_its_own() -> None:
    decision = Decision(config(resolve_after_points=2))
    source = np.array([0, 1, 0, 1, 0])
    batch = advance(decision, source, np.full(5, 1000.0), np.arange(5), np.array([5.0, 5.0, 5.0, 0.0, 0.0]))
    assert batch.incident.tolist() == [OPENED, OPENED, UPDATED, NONE, NONE]
    assert batch.incident_offset.tolist() == [0, 1, 0, 1, 0]


def test_a_cleared_slot_has_no_incident() -> None:
    decision = Decision(config())
    decide(decision, [5.0])
    decision.table.clear(0, 1)
    batch = decide(decision, [0.0, 5.0], first_offset=200)
    assert batch.incident.tolist() == [NONE, OPENED]
    assert batch.incident_offset.tolist() == [-1, 201]


def test_a_restored_incident_goes_on() -> None:
    decision, resumed = Decision(config()), Decision(config())
    decide(decision, [5.5])
    resumed.table.restore(decision.table.arrays(1))
    batch = decide(resumed, [4.0, *[0.0] * 24], first_offset=101)
    assert batch.incident.tolist() == [UPDATED, *[NONE] * 23, RESOLVED]
    assert batch.incident_offset.tolist() == [100] * 25
    assert batch.severity[-1] == CRITICAL


some_surprise = st.one_of(st.just(math.nan), st.floats(0, 2), st.floats(2.5, 7))


@given(
    st.lists(some_surprise, min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=5),
    st.integers(1, 5),
)
def test_incidents_follow_the_plain_rules_for_any_batches(
    surprise: list[float], cuts: list[int], quiet: int
) -> None:
    decision = Decision(config(resolve_after_points=quiet))
    edges = sorted({0, len(surprise), *(c for c in cuts if c < len(surprise))})
    parts = [decide(decision, surprise[a:b], first_offset=a) for a, b in pairwise(edges)]
    told = [
        (int(i), int(o)) for part in parts for i, o in zip(part.incident, part.incident_offset, strict=True)
    ]

    expected, opened, calm = [], -1, 0
    for offset, s in enumerate(surprise):
        if s > 3:
            expected.append((OPENED, offset) if opened < 0 else (UPDATED, opened))
            opened, calm = (offset if opened < 0 else opened), 0
            continue
        calm += opened >= 0 and not math.isnan(s)
        over = opened >= 0 and calm == quiet and not math.isnan(s)
        expected.append((RESOLVED if over else NONE, opened))
        if over:
            opened, calm = -1, 0
    assert told == expected


# Budgets


@pytest.mark.parametrize(
    ("text", "per_point", "per_day"),
    [
        (0.001, 0.001, 0.0),
        ("0.001", 0.001, 0.0),
        ("1e-4", 1e-4, 0.0),
        (0.1, 0.1, 0.0),
        ("2 per day", 0.0, 2.0),
        ("  0.5   per day ", 0.0, 0.5),
        ("1 per hour", 0.0, 24.0),
        ("7 per week", 0.0, 1.0),
    ],
)
def test_budgets_are_read(text: object, per_point: float, per_day: float) -> None:
    budget = FalseAlarms.parse(text)
    assert budget.per_point == per_point
    assert budget.per_ms * DAY_MS == pytest.approx(per_day)


@pytest.mark.parametrize(
    "text",
    [0, 0.0, -0.001, 0.11, 1, True, None, "", "two per day", "2 per year", "2 a day", "0 per day",
     "-1 per day", "nan", "inf", math.nan, math.inf, [0.001], "2 per dayx", "per day"],
)  # fmt: skip
def test_other_budgets_are_refused_with_what_was_given(text: object) -> None:
    with pytest.raises(ValueError, match="must be") as raised:
        FalseAlarms.parse(text)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize("text", [0.001, 0.00123456789, 1e-05, 0.1, "2 per day", "0.25 per week"])
def test_a_configuration_reads_back_as_it_was_written(text: object) -> None:
    one = config(false_alarms=text)
    assert DecisionConfig.model_validate(one.model_dump(mode="json")) == one
    assert DecisionConfig.model_validate_json(one.model_dump_json()) == one


def test_budget_per_point_is_the_same_for_all_points() -> None:
    batch = decide(Decision(config(false_alarms=0.02)), [1.0, 2.0, math.nan])
    assert batch.pace.budget.tolist() == [0.02] * 3


@pytest.mark.parametrize("every_s", [1, 60, 3600])
def test_a_budget_per_day_follows_the_cadence_of_its_source(every_s: int) -> None:
    decision = Decision(config(false_alarms="2 per day"))
    budget = decision.pace(np.array([0.0, every_s * 1000.0]), np.array([1.0, 2.0])).budget
    assert budget.tolist() == pytest.approx([SMALLEST_BUDGET, min(2 * every_s / 86_400, LARGEST_BUDGET)])


@pytest.mark.parametrize("false_alarms", [0.001, "1 per day"])
def test_the_pace_of_a_source_is_told_whatever_the_budget(false_alarms: object) -> None:
    pace = decide(Decision(config(false_alarms=false_alarms)), np.zeros(5), every_ms=3000).pace
    assert pace.gap_ms.tolist() == [3000] * 5
    assert pace.seen.tolist() == [1] * 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"severity": {"medium": 0.9, "high": 0.8}},
        {"severity": {"severe": 0.9}},
        {"severity": {"critical": 1.0}},
        {"resolve_after_points": 0},
        {"false_alarms": "2 per fortnight"},
        {"treshold": 0.8},
    ],
)
def test_configurations_out_of_bounds_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        config(**wrong)


def test_an_anomaly_that_may_not_open_an_incident_opens_none_but_goes_on_with_one() -> None:
    decision = Decision(config())
    source, offset = np.zeros(3, np.int64), np.arange(3)
    pace = decision.pace(np.zeros(3), np.ones(3))
    opening = np.array([False, True, False])
    held = np.zeros(3, np.bool_)
    batch = decision.advance(source, offset, pace, np.full(3, 5.0), opening, held)
    assert batch.anomalous.all()
    assert batch.incident.tolist() == [NONE, OPENED, UPDATED]
    assert batch.incident_offset.tolist() == [-1, 1, 1]


def test_a_point_that_is_held_is_no_anomaly_whatever_its_score() -> None:
    decision = Decision(config())
    source, offset = np.zeros(2, np.int64), np.arange(2)
    pace = decision.pace(np.zeros(2), np.ones(2))
    held, nothing = np.array([True, False]), np.zeros(2, np.bool_)
    batch = decision.advance(source, offset, pace, np.full(2, 5.0), nothing, held)
    assert batch.anomalous.tolist() == [False, True]
    assert batch.score[0] == batch.score[1] > 0.9


def test_an_incident_that_is_closed_says_where_it_began_and_how_bad_it_was() -> None:
    decision = Decision(config())
    assert decision.close(0) is None
    decide(decision, [2.0, 6.0, 3.5])
    assert decision.close(0) == (101, CRITICAL)
    assert (decision.close(0), decision.open_since(0)) == (None, None)
    assert decide(decision, [5.0], first_offset=200).incident.tolist() == [OPENED]
