from __future__ import annotations

import pytest

from service.bench.cases import MILLION, Case, Load, plan
from service.errors import ConfigurationError


def test_a_case_is_read_and_named_alike() -> None:
    assert Case.parse(" 1000x4 ") == Case(1_000, 4)
    assert Case.parse("1000x4").name == "1000x4"
    assert str(Case(100_000, 4)) == "100,000 x 4"


@pytest.mark.parametrize("text", ["", "1000", "x4", "0x4", "10x0", "-1x4", "10x4x2", "ten x 4"])
def test_what_is_no_case_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no case"):
        Case.parse(text)


def test_the_quick_plan_has_fewer_cases_rounds_and_points() -> None:
    quick, usual = plan(quick=True), plan()
    assert set(quick.cases) < set(usual.cases)
    assert (quick.rounds, quick.points) < (usual.rounds, usual.points)
    assert [load.rate for load in quick.loads] == [load.rate for load in usual.loads] == [5_000, 50_000]


def test_what_is_asked_for_wins() -> None:
    asked = plan(cases="10x2,20x1,10x2", rounds=2, points=700, rates="100", seconds=4.0, million=True)
    assert asked.cases == (Case(10, 2), Case(20, 1), MILLION)
    assert (asked.rounds, asked.points) == (2, 700)
    assert asked.loads == (Load(100, 4.0, 2.0),)
    assert asked.warming == Load(100, 6.0, 0.0)


def test_without_rates_there_is_no_latency() -> None:
    assert plan(rates="").loads == ()


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as told:
        plan(cases="10x2,much", rates="5000,fast")
    assert [problem.split(":")[0] for problem in told.value.problems] == ["--cases", "--rates"]


def test_as_much_waits_behind_a_round_as_clients_fetch_ahead() -> None:
    assert plan(points=600_000).backlog(80_000) == 680_000
    assert plan(points=1_000).backlog(80_000) == 2_000
