"""The alert rules ask for series that exist, fire when they should, and tell people what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.deploy.exposed import documented, mistakes
from tests.deploy.files import DEPLOY, ROOT, document

PROMETHEUS = DEPLOY / "prometheus"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def rules() -> list[dict[str, Any]]:
    return [rule for group in document(PROMETHEUS / "rules.yml")["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> None:
    """With promtool at hand; what Python can see of the same files, the other tests look at."""
    if (tool := shutil.which("promtool")) is not None:
        done = subprocess.run([tool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_rules_and_configuration() -> None:
    promtool("check", "rules", "rules.yml")
    promtool("check", "config", "prometheus.yml")


def test_the_rules_fire_when_they_should() -> None:
    promtool("test", "rules", "rules_test.yml")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_is_made_of_series_that_exist(rule: dict[str, Any]) -> None:
    assert mistakes(rule["expr"]) == []
    assert rule["expr"].count("(") == rule["expr"].count(")")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_tells_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert len(rule["annotations"]["runbook"]) > 80
    section = OPERATIONS.partition(f"\n### {rule['alert']}\n")[2].strip()
    assert section.startswith(f"*{rule['labels']['severity']}.*")


def test_no_alert_is_explained_that_there_is_not() -> None:
    assert set(re.findall(r"(?m)^### (Anomalyd\w+)$", OPERATIONS)) == {rule["alert"] for rule in rules()}


def test_every_rule_has_a_test_in_which_it_fires_and_a_series_for_which_it_does_not() -> None:
    text = (PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8")
    for rule in rules():
        assert f'labels: ALERTS{{alertname="{rule["alert"]}"' in text


def test_series_of_the_rules_tests_exist() -> None:
    for test in document(PROMETHEUS / "rules_test.yml")["tests"]:
        for item in test["input_series"]:
            assert mistakes(item["series"]) == []


def test_prometheus_loads_the_rules_and_scrapes_the_service() -> None:
    configuration = document(PROMETHEUS / "prometheus.yml")

    assert configuration["rule_files"] == ["rules.yml"]
    (job,) = configuration["scrape_configs"]
    assert job["job_name"] == "anomalyd"
    assert job["static_configs"] == [{"targets": ["anomalyd:9464"]}]


def test_every_metric_is_in_the_table_of_operations_and_none_besides() -> None:
    table = OPERATIONS.partition("\n## Metrics\n")[2].partition("\n## ")[0]

    assert set(re.findall(r"(?m)^\| `(anomalyd_\w+)` \|", table)) == documented()
    # Elsewhere in the text, too.
    assert (
        mistakes(
            re.sub(r"(?m)^\| `anomalyd_.*$", "", OPERATIONS).replace("anomalyd_stage_duration_seconds", "")
        )
        == []
    )


def test_a_series_that_is_not_there_would_be_noticed() -> None:
    assert mistakes('rate(anomalyd_points_total{state="x"}[5m]) / anomalyd_point') == [
        "no series anomalyd_point",
        "anomalyd_points_total has no label state",
    ]
