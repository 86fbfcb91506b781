"""A verdict is bad exactly where a promise was broken."""

from __future__ import annotations

import pytest

from service.stream.auditing.findings import Kind, Place, Report
from tests.faults.__main__ import main
from tests.faults.bed import Bed
from tests.faults.matrix import CASES, Case, Verdict


def _nothing(_: Bed) -> None:
    pass


def _verdict(*kinds: Kind) -> Verdict:
    report = Report("in", "group")
    for kind in kinds:
        report.found(kind, Place(0, 7))
    return Verdict(Case("some", "thing", _nothing, "one node", ()), 1.0, report)


def test_a_clean_audit_without_problems_is_good() -> None:
    assert _verdict().wrong == []


@pytest.mark.parametrize("kind", Kind)
def test_any_finding_is_bad(kind: Kind) -> None:
    assert len(_verdict(kind).wrong) == 1


def test_a_problem_of_the_case_is_bad() -> None:
    verdict = _verdict()
    verdict.problems.append("it never stopped")
    assert verdict.wrong == ["it never stopped"]


def test_the_list_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    assert len(CASES) >= 20
    assert all(name in said for name in CASES)


def test_a_name_that_no_case_has_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--only", "nothing-like-that"])
    assert end.value.code == 2
