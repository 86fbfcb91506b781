"""A verdict is bad exactly where a promise was broken."""

from __future__ import annotations

import pytest

from service.stream.auditing.findings import Kind, Place, Report
from tests.faults.__main__ import main
from tests.faults.bed import Bed
from tests.faults.matrix import CASES, Case, Verdict


def _nothing(_: Bed) -> None:
    pass


def _verdict(*kinds: Kind, same_bytes: bool = True) -> Verdict:
    report = Report("in", "group")
    for kind in kinds:
        report.found(kind, Place(0, 7))
    return Verdict(Case("some", "thing", _nothing, "one node", (), same_bytes), 1.0, report)


def test_a_clean_audit_without_problems_is_good() -> None:
    assert _verdict().wrong(same_bytes=True) == []


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.DIFFERING])
def test_any_finding_is_bad(kind: Kind) -> None:
    assert len(_verdict(kind).wrong(same_bytes=False)) == 1


def test_other_bytes_are_bad_unless_they_are_allowed() -> None:
    assert _verdict(Kind.DIFFERING).wrong(same_bytes=True) != []
    assert _verdict(Kind.DIFFERING).wrong(same_bytes=False) == []
    assert _verdict(Kind.DIFFERING, same_bytes=False).wrong(same_bytes=True) == []


def test_a_problem_of_the_case_is_bad() -> None:
    verdict = _verdict()
    verdict.problems.append("it never stopped")
    assert verdict.wrong(same_bytes=False) == ["it never stopped"]


def test_the_list_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    assert len(CASES) >= 20
    assert all(name in said for name in CASES)


def test_a_name_that_no_case_has_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--only", "nothing-like-that"])
    assert end.value.code == 2
