"""What the input gives when it is run again, held against what was published; talks to no Kafka."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

from service.absence import Told
from service.outcomes import NO_RESULT, Outcomes
from service.pipeline import DetectionPipeline
from service.stream.auditing.findings import Kind, Place, Report, differences
from service.stream.auditing.ledger import LETTER, OURS, RESULT, UNCHECKED, Ledger
from service.stream.output import Publish
from service.wire.data_point import InvalidRecord
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read


def fingerprint(key: bytes | None, value: bytes | None) -> int:
    """Stands for a message for as long as this process lives; never 0, which stands for none."""
    return hash((key, value)) or 1


MakePipeline = Callable[[int, int], DetectionPipeline]
"""From a partition and the offset where its history begins."""


def model_of(lineage: str) -> str:
    """The model's name in the one of a lineage."""
    return lineage.partition("@")[0]


class Lineage(NamedTuple):
    """A history that results name: it begins at `born`, and its first result is of `first`."""

    born: int = 0
    first: int = 0

    @classmethod
    def newest(cls, first_of: Mapping[str, int]) -> Self:
        """The one that began to answer last, of the names of several and their first offsets."""
        if not first_of:
            return cls()
        first, name = max((first, name) for name, first in first_of.items())
        born = name.partition("@")[2]
        return cls(int(born) if born.isdigit() else 0, first)


class Recomputation:
    """Runs the records of every input partition through a pipeline of its own and compares.

    Of the first differences `expected` holds what should have been published, by role, partition and
    offset, until `explain` is told what was.
    """

    def __init__(
        self,
        make_pipeline: MakePipeline,
        limits: InputLimits,
        publish: Publish,
        report: Report,
    ) -> None:
        self._make_pipeline = make_pipeline
        self._limits = limits
        self._publish = publish
        self._report = report
        self._pipelines: dict[int, DetectionPipeline] = {}
        self.expected: dict[tuple[str, int, int], bytes] = {}
        self.compared: dict[int, int] = {}

    def run(self, ledger: Ledger, records: RecordBatch, lineage: Lineage, due_below: int) -> None:
        """Take the partition's next records in; from `due_below` on an answer may still come."""
        number = ledger.partition
        pipeline = self._pipelines.get(number)
        if pipeline is None:
            pipeline = self._pipelines[number] = self._make_pipeline(number, lineage.born)
            self.compared[number] = 0
        batch = read(records, self._limits)
        outcomes = pipeline.process_read(batch)
        silences: dict[int, list[Told]] = {}
        for record, told in outcomes.silences:
            silences.setdefault(record, []).append(told)
        for i, offset in enumerate(records.offset.tolist()):
            if offset < lineage.first:
                continue  # answered by the history before
            mark = ledger.marks[offset - ledger.start]
            invalid = isinstance(batch.others.get(i), InvalidRecord)
            if invalid:
                self._compare_letter(ledger, offset, mark, records.keys[i], records.values[i])
            elif mark & LETTER:
                self._differs(number, offset, "published as a dead letter, should be a result")
            elif mark & OURS or not mark & RESULT:
                self._compare(ledger, offset, mark, outcomes, i, due=offset < due_below)
                self._compare_silences(ledger, offset, silences.get(i, []), due=offset < due_below)

    def explain(self, role: str, partition: int, offset: int, published: bytes | None) -> None:
        """Say of one of the `expected` what the difference is."""
        expected = self.expected.pop((role, partition, offset), None)
        if expected is None:
            return
        if not expected:
            detail = f"{role}: published, should not be"
        elif published is None:
            detail = f"{role}: should be published"
        else:
            detail = f"{role}: {differences(published, expected)}"
        places = self._report.places[Kind.DIFFERING]
        for i, place in enumerate(places):
            if (place.partition, place.offset, place.detail) == (partition, offset, role):
                places[i] = Place(partition, offset, detail)

    def _compare_letter(
        self, ledger: Ledger, offset: int, mark: int, key: bytes | None, value: bytes | None
    ) -> None:
        if mark & RESULT:
            self._differs(ledger.partition, offset, "published as a result, should be a dead letter")
        elif mark & LETTER and not mark & UNCHECKED:
            self.compared[ledger.partition] += 1
            if ledger.answers[offset - ledger.start] != fingerprint(key, value):
                self._differs(ledger.partition, offset, "the dead letter is not the record")

    def _compare(
        self, ledger: Ledger, offset: int, mark: int, outcomes: Outcomes, i: int, *, due: bool
    ) -> None:
        number, place = ledger.partition, offset - ledger.start
        assert outcomes.status[i] != NO_RESULT
        key, result, anomaly = outcomes.keys[i], outcomes.results[i], outcomes.anomalies.get(i)
        if mark & RESULT:
            self.compared[number] += 1
            if ledger.answers[place] != fingerprint(key, result):
                self._differs(number, offset, "result", result)
        elif self._publish == "all":
            return  # missing, and said to be
        elif due and self._publish == "anomalies" and outcomes.told[i]:
            self._report.found(Kind.MISSING, Place(number, offset))
        expected = fingerprint(key, anomaly) if anomaly is not None else 0
        published = ledger.anomalies[place]
        if expected != published and (due or published):
            self._differs(number, offset, "anomaly", anomaly or b"")

    def _compare_silences(self, ledger: Ledger, offset: int, expected: list[Told], *, due: bool) -> None:
        published = ledger.silences.get(offset, {})
        should = {told.id: fingerprint(told.source_id.encode(), told.body) for told in expected}
        for anomaly_id in sorted(published.keys() | should.keys()):
            if anomaly_id not in published:
                if due:
                    self._differs(ledger.partition, offset, f"{anomaly_id}: should be published")
            elif anomaly_id not in should:
                self._differs(ledger.partition, offset, f"{anomaly_id}: published, should not be")
            elif published[anomaly_id] != should[anomaly_id]:
                self._differs(ledger.partition, offset, f"{anomaly_id}: says something else")

    def _differs(self, number: int, offset: int, what: str, expected: bytes | None = None) -> None:
        kept = self._report.found(Kind.DIFFERING, Place(number, offset, what))
        if kept and expected is not None:
            self.expected[what, number, offset] = expected
