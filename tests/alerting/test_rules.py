from __future__ import annotations

from typing import Any

import pytest

from service.alerting.decision import Reason
from service.alerting.rules import RuleConfig, Rules
from tests.alerting.anomalies import anomaly


def reason(*rules: dict[str, Any], **members: Any) -> Reason | None:
    configs = [RuleConfig.model_validate({"channels": ["ops"], **rule}) for rule in rules]
    return Rules(configs, "ops").objection(anomaly(**members), 0.0)


def test_without_any_rule_every_channel_gets_everything() -> None:
    assert Rules([], "ops").objection(anomaly(), 0.0) is None


def test_a_channel_that_no_rule_names_gets_nothing() -> None:
    assert reason({"channels": ["other"]}) is Reason.NO_RULE


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({}, True),
        ({"severity": "all"}, True),
        ({"severity": "critical"}, True),
        ({"severity": "high"}, False),
        ({"sources": "pump-*"}, True),
        ({"sources": "pump-?"}, True),
        ({"sources": "pump"}, False),
        ({"sources": "PUMP-*"}, False),
        ({"sources": "pump-[0-6]"}, False),
        ({"labels": {"site": "north"}}, True),
        ({"labels": {"site": "n*"}}, True),
        ({"labels": {"site": "south"}}, False),
        ({"labels": {"site": "north", "line": "*"}}, False),
        ({"kind": "all"}, True),
        ({"kind": "point"}, True),
        ({"kind": "absence"}, False),
        ({"severity": "critical", "sources": "pump-*", "labels": {"site": "north"}}, True),
        ({"severity": "critical", "sources": "valve-*", "labels": {"site": "north"}}, False),
    ],
)
def test_a_rule_matches_where_all_its_parts_do(rule: dict[str, Any], matches: bool) -> None:
    assert reason(rule) is (None if matches else Reason.NO_RULE)


@pytest.mark.parametrize(("kind", "told"), [("all", None), ("point", Reason.NO_RULE), ("absence", None)])
def test_a_silence_is_for_rules_of_its_kind_without_labels(kind: str, told: Reason | None) -> None:
    assert reason({"kind": kind}, kind="absence", labels={}) is told
    assert reason({"kind": kind, "labels": {"site": "*"}}, kind="absence", labels={}) is Reason.NO_RULE


def test_one_matching_rule_is_enough() -> None:
    assert reason({"severity": "low"}, {"severity": "critical"}) is None


def test_a_line_break_in_a_source_does_not_end_the_match() -> None:
    assert reason({"sources": "pump"}, sourceId="pump\nx") is Reason.NO_RULE
