"""One partition's bookkeeping finds every kind of fault, and none where there is none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from service.stream.auditing.findings import Kind, PartitionReport, Place, Report
from service.stream.auditing.ledger import ANOMALOUS, CHANGES, LETTER, RESULT, Ledger

OPENED, UPDATED = CHANGES.index("opened"), CHANGES.index("updated")


class Book:
    """A ledger of the offsets 10 to 20, all of them records."""

    def __init__(self, records: Sequence[int] = range(10, 20)) -> None:
        self.report = Report("in", "group")
        self.ledger = Ledger(0, 10, 20, self.report, fingerprints=False)
        for offset in records:
            self.ledger.record(offset)

    def results(self, *offsets: int, partition: int = 0) -> Book:
        for offset in offsets:
            self.ledger.answer("out", partition, offset, RESULT, 0, 0)
        return self

    def close(self, floor: int = 0, limit: int = 20, *, every_result: bool = True) -> PartitionReport:
        return self.ledger.close(
            floor, limit, told_from=0, kept_from=0, every_result=every_result, may_vanish=False
        )

    @property
    def found(self) -> dict[Kind, list[int]]:
        return {kind: [place.offset for place in places] for kind, _, places in self.report.findings}


def test_one_answer_each_in_order_is_clean() -> None:
    book = Book().results(*range(10, 15))
    for offset in range(15, 20):
        book.ledger.answer("letters", 0, offset, LETTER, 0, 0)
    closed = book.close()
    assert book.report.clean
    assert (closed.records, closed.results, closed.dead_letters) == (10, 5, 5)


def test_a_gap_between_records_is_not_missing() -> None:
    book = Book([10, 11, 13, 19]).results(10, 11, 13, 19)
    book.close()
    assert book.found == {}


def test_what_has_no_answer_is_missing_below_the_limit_and_above_the_floor() -> None:
    book = Book().results(13)
    book.close(floor=12, limit=15)
    assert book.found == {Kind.MISSING: [12, 14]}


def test_where_not_every_result_is_published_nothing_is_missing() -> None:
    book = Book().results(13)
    book.close(every_result=False)
    assert book.report.clean


def test_a_second_answer_is_double_and_not_reordered() -> None:
    book = Book().results(*range(10, 20), 12)
    book.ledger.answer("letters", 0, 15, LETTER, 0, 0)
    book.close()
    assert book.found == {Kind.DOUBLE: [12, 15]}


def test_an_earlier_offset_behind_a_later_one_is_reordered() -> None:
    book = Book().results(10, 11, 14, 12, 13, 15, 16, 17, 18, 19)
    book.close()
    assert book.found == {Kind.REORDERED: [12, 13]}


def test_order_is_held_within_each_output_partition_alone() -> None:
    book = Book().results(14, 15, 16, partition=1).results(10, 11, 12, 13, 17, 18, 19, partition=2)
    book.close()
    assert book.report.clean


def test_answers_to_what_there_is_not_are_stray() -> None:
    book = Book([10, 11]).results(10, 11, 12, 20)
    book.close()
    assert sorted(book.found[Kind.STRAY]) == [12, 20]


def test_answers_to_what_retention_took_meanwhile_are_not() -> None:
    book = Book(range(14, 20)).results(*range(10, 20))
    book.ledger.close(0, 20, told_from=0, kept_from=14, every_result=True, may_vanish=False)
    assert book.report.clean


def test_answers_below_the_start_are_counted_and_no_fault() -> None:
    book = Book().results(3, 4, *range(10, 20))
    book.close()
    assert book.report.clean
    assert book.ledger.before_start == 2


@pytest.mark.parametrize(
    ("said", "told", "found"),
    [
        (OPENED, OPENED, {}),
        (OPENED, None, {Kind.UNTOLD: [11]}),
        (OPENED, UPDATED, {Kind.UNTOLD: [11]}),
        (0, OPENED, {Kind.UNFOUNDED: [11]}),
        (0, 0, {Kind.UNFOUNDED: [11]}),
        (ANOMALOUS, 0, {}),
        (ANOMALOUS, None, {Kind.UNTOLD: [11]}),
        (ANOMALOUS, OPENED, {Kind.UNTOLD: [11]}),
        (OPENED | ANOMALOUS, OPENED, {}),
        (OPENED | ANOMALOUS, 0, {Kind.UNTOLD: [11]}),
    ],
)
def test_results_and_anomalies_speak_of_the_same_changes(
    said: int, told: int | None, found: dict[Kind, list[int]]
) -> None:
    book = Book([10, 11]).results(10)
    book.ledger.answer("out", 0, 11, RESULT, said, 0)
    if told is not None:
        book.ledger.anomaly(11, told, 0)
    book.close()
    assert book.found == found


def test_a_second_anomaly_of_a_record_is_told() -> None:
    book = Book([10]).results()
    book.ledger.answer("out", 0, 10, RESULT, OPENED, 0)
    book.ledger.anomaly(10, OPENED, 0)
    book.ledger.anomaly(10, OPENED, 0)
    book.close()
    assert book.found == {Kind.REPEATED_ANOMALY: [10]}


def test_only_the_first_places_are_kept_and_all_are_counted() -> None:
    report = Report("in", "group")
    ledger = Ledger(3, 0, 1000, report, fingerprints=False)
    for offset in range(1000):
        ledger.record(offset)
    ledger.close(0, 1000, told_from=0, kept_from=0, every_result=True, may_vanish=False)
    ((kind, count, places),) = report.findings
    assert (kind, count) == (Kind.MISSING, 1000)
    assert places == [Place(3, offset) for offset in range(10)]


def test_silences_are_counted_beside_the_anomalies_of_points_and_owed_by_no_result() -> None:
    book = Book().results(*range(10, 20))
    book.ledger.silence(12, "in-0-7-silent", 0)
    book.ledger.silence(12, "in-0-8-silent", 0)
    book.ledger.silence(3, "in-0-1-silent", 0)
    assert book.close().anomalies == 2
    assert book.found == {}


def test_a_silence_that_is_told_twice_or_by_no_record_is_found() -> None:
    book = Book([*range(10, 15), *range(16, 20)]).results(*range(10, 15), *range(16, 20))
    for offset in (12, 12, 15, 25):
        book.ledger.silence(offset, "in-0-7-silent", 0)
    book.close()
    assert book.found == {Kind.UNFOUNDED: [25, 15], Kind.REPEATED_ANOMALY: [12]}
