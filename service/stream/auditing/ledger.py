"""What is known of the records of one input partition, in two bytes each; knows no Kafka.

With `fingerprints` 16 bytes more, to compare what was published with what should have been.
"""

from __future__ import annotations

from array import array

import numpy as np
import numpy.typing as npt

from service.stream.auditing.findings import MOST_PLACES, Kind, PartitionReport, Place, Report

RESULT, LETTER, RECORD, OURS, UNCHECKED = 1, 2, 4, 8, 16
"""Marks of an offset: what is there; a result of the model in question; a dead letter that was cut."""

_ANSWERED = RESULT | LETTER
_SEEN_ANOMALY = (
    4  # behind two bits of the result's change, two of the anomaly's and one more stand above this
)
CHANGES = ("", "opened", "updated", "resolved")
ANOMALOUS = 32
"""Beside a result's change: its point is an anomaly, so a record of it is due without any change, too."""


class Ledger:
    """Marks of the offsets `start` to `stop` of one input partition."""

    def __init__(self, partition: int, start: int, stop: int, report: Report, *, fingerprints: bool) -> None:
        self.partition, self.start, self.stop = partition, start, stop
        n = max(stop - start, 0)
        self.marks = bytearray(n)
        self._changes = bytearray(n)
        self.answers = array("q", bytes(8 * n if fingerprints else 0))
        self.anomalies = array("q", bytes(8 * n if fingerprints else 0))
        self.silences: dict[int, dict[str, int]] = {}  # by offset: ids and fingerprints
        self.first_of_model: dict[str, int] = {}
        self.before_start = 0  # answers to what retention, or the caller, left out
        self._fingerprints = fingerprints
        self._report = report
        self._newest: dict[tuple[str, int], int] = {}

    def answer(
        self, topic: str, output_partition: int, offset: int, marks: int, change: int, fingerprint: int
    ) -> None:
        """A result or a dead letter, in the order in which a reader of its partition sees them."""
        newest = self._newest.get((topic, output_partition), -1)
        if offset > newest:
            self._newest[topic, output_partition] = offset
        if offset < self.start:
            self.before_start += 1
            return
        if offset >= self.stop:
            self._report.found(
                Kind.STRAY, Place(self.partition, offset, f"beyond the input's end, in {topic}")
            )
            return
        i = offset - self.start
        if self.marks[i] & _ANSWERED:
            self._report.found(Kind.DOUBLE, Place(self.partition, offset, f"again in {topic}"))
            return
        if offset < newest:
            place = Place(self.partition, offset, f"behind {newest} in {topic}")
            self._report.found(Kind.REORDERED, place)
        self.marks[i] |= marks
        self._changes[i] |= change
        if self._fingerprints:
            self.answers[i] = fingerprint

    def anomaly(self, offset: int, change: int, fingerprint: int) -> None:
        i = offset - self.start
        if offset < self.start:
            return
        if offset >= self.stop:
            self._report.found(Kind.UNFOUNDED, Place(self.partition, offset, "beyond the input's end"))
            return
        if self._changes[i] & _SEEN_ANOMALY:
            self._report.found(Kind.REPEATED_ANOMALY, Place(self.partition, offset))
            return
        self._changes[i] |= _SEEN_ANOMALY | (change & 3) << 3
        if self._fingerprints:
            self.anomalies[i] = fingerprint

    def silence(self, offset: int, anomaly_id: str, fingerprint: int) -> None:
        """An anomaly of a source that fell silent or came back, which a record made visible."""
        if offset < self.start:
            return
        if offset >= self.stop:
            self._report.found(Kind.UNFOUNDED, Place(self.partition, offset, "beyond the input's end"))
            return
        told = self.silences.setdefault(offset, {})
        if anomaly_id in told:
            self._report.found(Kind.REPEATED_ANOMALY, Place(self.partition, offset, anomaly_id))
        told[anomaly_id] = fingerprint

    def record(self, offset: int) -> None:
        """There is such an input record."""
        self.marks[offset - self.start] |= RECORD

    def close(
        self,
        floor: int,
        limit: int,
        *,
        told_from: int,
        kept_from: int,
        every_result: bool,
        may_vanish: bool,
    ) -> PartitionReport:
        """Judge; `floor` to `limit` are the offsets that must have all that is due to them.

        Args:
            floor: below it answers may have been deleted.
            limit: from it on answers may still come.
            told_from: below it anomalies may have been deleted.
            kept_from: below it retention has deleted input records, perhaps only just now.
            every_result: all results are published; otherwise nothing is missing and no anomaly unfounded.
            may_vanish: input records can be deleted one by one (a compacted topic): none is stray.
        """
        marks = np.frombuffer(self.marks, np.uint8)
        changes = np.frombuffer(self._changes, np.uint8)
        answered = (marks & _ANSWERED) != 0
        is_record = (marks & RECORD) != 0
        due = self._between(floor, limit)
        if every_result:
            self._found(Kind.MISSING, due & is_record & ~answered)
        if not may_vanish:
            kept = self._between(kept_from, self.stop)
            self._found(Kind.STRAY, kept & answered & ~is_record, "no such input record")
            self._found(Kind.UNFOUNDED, kept & ~is_record & self._made_visible(), "no such input record")
        said, told = changes & 3, changes >> 3 & 3
        owed = (said != 0) | ((changes & ANOMALOUS) != 0)
        has_anomaly = (changes & _SEEN_ANOMALY) != 0
        told_due = self._between(max(floor, told_from), limit)
        self._found(Kind.UNTOLD, told_due & owed & (~has_anomaly | (said != told)))
        if every_result:
            self._found(Kind.UNFOUNDED, due & has_anomaly & ~owed)
        return PartitionReport(
            partition=self.partition,
            start=max(floor, self.start),
            stop=max(limit, floor, self.start),
            records=int((is_record & due).sum()),
            results=int(((marks & RESULT) != 0).sum()),
            dead_letters=int(((marks & LETTER) != 0).sum()),
            anomalies=int(has_anomaly.sum()) + sum(map(len, self.silences.values())),
        )

    def _made_visible(self) -> npt.NDArray[np.bool_]:
        """Of which offsets an anomaly says that they made an absence visible."""
        named = np.zeros(len(self.marks), np.bool_)
        named[[offset - self.start for offset in self.silences]] = True
        return named

    def _between(self, first: int, stop: int) -> npt.NDArray[np.bool_]:
        between = np.zeros(len(self.marks), np.bool_)
        between[max(first - self.start, 0) : max(stop - self.start, 0)] = True
        return between

    def _found(self, kind: Kind, where: npt.NDArray[np.bool_], detail: str = "") -> None:
        offsets = np.flatnonzero(where)
        first = [Place(self.partition, self.start + int(i), detail) for i in offsets[:MOST_PLACES]]
        self._report.found_many(kind, len(offsets), first)
