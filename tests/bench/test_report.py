from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from service.bench.cases import plan
from service.bench.report import bytes_told, document, tables
from service.bench.statistics import Figures
from service.settings import Settings
from tests.bench.figures import a_case


@pytest.fixture
def found() -> Figures:
    cases = [a_case(), a_case(100_000, 4, 24.0)]
    return document(plan(quick=True), Settings(), cases, load_before=0.1)


def test_the_document_is_json_and_says_where_it_ran(found: Figures) -> None:
    read = json.loads(json.dumps(found))
    assert {"cpu", "cores", "python", "confluent_kafka", "librdkafka", "numpy", "numba"} <= set(
        read["machine"]
    )
    assert read["settings"]["points"] == 300_000


def test_the_document_holds_no_secret() -> None:
    settings = Settings.model_validate({"kafka": {"sasl_password": "hunter2"}})
    assert "hunter2" not in json.dumps(document(plan(), settings, [a_case()], None))


def test_cost_is_told_as_a_multiple_of_the_smallest_case(found: Figures) -> None:
    assert [case["cost_multiple"] for case in found["cases"]] == [1.0, 2.4]
    alone = document(plan(), Settings(), [a_case(100_000, 4)], None)
    assert alone["cases"][0]["cost_multiple"] is None


def test_the_tables_fit_a_terminal_and_name_what_does_not_count(found: Figures) -> None:
    out = StringIO()
    Console(file=out, width=80).print(tables(found))
    text = out.getvalue()
    assert "1,000 x 1" in text
    assert "0.50" in text
    assert "20,000 !" in text
    assert "…" not in text


def test_points_without_history_do_not_pass_for_a_steady_state(found: Figures) -> None:
    found["cases"][1]["scored_share"] = 0.2
    out = StringIO()
    Console(file=out, width=80).print(tables(found))
    assert "100,000 x 4 !" in out.getvalue()
    assert "no steady state" in out.getvalue()


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (2_424, "2.42 kB"),
        (404e6, "404 MB"),
        (2.05e9, "2.05 GB"),
        (3e15, "3000 TB"),
    ],
)
def test_sizes_have_three_digits(number: float, told: str) -> None:
    assert bytes_told(number) == told
