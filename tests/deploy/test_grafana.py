"""The dashboard shows series that exist, and Grafana finds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.deploy.exposed import documented, mistakes
from tests.deploy.files import DEPLOY, ROOT, document

GRAFANA = DEPLOY / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "anomalyd.json").read_text(encoding="utf-8"))


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        yield variable.get("definition", "")
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["expr"]


def test_every_panel_asks_for_series_that_exist() -> None:
    for expression in expressions():
        assert mistakes(expression) == []
        assert expression.count("(") == expression.count(")")


def test_every_metric_is_on_the_dashboard() -> None:
    text = "\n".join(expressions())

    assert {name for name in documented() if name not in text} == set()


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= taken


def test_targets_of_a_panel_are_told_apart() -> None:
    for panel in DASHBOARD["panels"]:
        letters = [target["refId"] for target in panel.get("targets", [])]
        assert all(a < b for a, b in pairwise(letters))


def test_everything_reads_from_the_chosen_data_source() -> None:
    for panel in DASHBOARD["panels"]:
        for thing in [panel, *panel.get("targets", [])] if panel["type"] != "row" else []:
            assert thing["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_grafana_is_told_where_dashboard_and_prometheus_are() -> None:
    (provider,) = document(GRAFANA / "provisioning" / "dashboards" / "anomalyd.yaml")["providers"]
    (source,) = document(GRAFANA / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    compose = document(ROOT / "docker-compose.yml")["services"]

    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in compose["grafana"]["volumes"]
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in compose["grafana"]["volumes"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose
    interval = document(DEPLOY / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
