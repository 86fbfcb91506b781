"""What an audit says: findings with their first places, counts by partition, notes; knows no Kafka."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MOST_PLACES = 10


class Kind(StrEnum):
    """What can be wrong, in the order in which it is told."""

    MISSING = "missing"
    DOUBLE = "double"
    REORDERED = "reordered"
    STRAY = "stray"
    UNTOLD = "untold"
    UNFOUNDED = "unfounded"
    REPEATED_ANOMALY = "repeated_anomaly"
    DIFFERING = "differing"
    MALFORMED = "malformed"

    @property
    def meaning(self) -> str:
        """For a person."""
        return _MEANING[self]


_MEANING = {
    Kind.MISSING: "input records with neither result nor dead letter",
    Kind.DOUBLE: "input records with more than one result or dead letter",
    Kind.REORDERED: "results or dead letters behind one of a later input record",
    Kind.STRAY: "results or dead letters of input records that there are not",
    Kind.UNTOLD: "results with an anomaly or an incident whose record is not there or says another change",
    Kind.UNFOUNDED: "anomalies that their result does not speak of",
    Kind.REPEATED_ANOMALY: "input records with more than one anomaly, and absences told more than once",
    Kind.DIFFERING: "results, anomalies or dead letters that are not what the input gives",
    Kind.MALFORMED: "messages without the headers that say where they come from",
}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """An input record, or for `malformed` a message of an output topic."""

    partition: int
    offset: int
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}" + (f": {self.detail}" if self.detail else "")


@dataclass(slots=True)
class PartitionReport:
    """One input partition: which of its offsets were looked at, and what is there."""

    partition: int
    start: int
    stop: int
    """Every record from `start` to here has to have an answer."""
    records: int = 0
    results: int = 0
    dead_letters: int = 0
    anomalies: int = 0
    compared: int = 0


@dataclass(slots=True)
class Report:
    """What was looked at and what is wrong with it."""

    topic: str
    group: str
    partitions: list[PartitionReport] = field(default_factory=list)
    models: Counter[str] = field(default_factory=Counter)
    """Results by the model that they name."""
    notes: list[str] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    places: dict[Kind, list[Place]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        return not self.counts

    def found(self, kind: Kind, place: Place) -> bool:
        """Count one; whether its place is among the first, which are kept."""
        self.counts[kind] += 1
        places = self.places.setdefault(kind, [])
        if len(places) < MOST_PLACES:
            places.append(place)
            return True
        return False

    def found_many(self, kind: Kind, count: int, first: list[Place]) -> None:
        """Count several of which the first places are given."""
        if count:
            self.counts[kind] += count
            places = self.places.setdefault(kind, [])
            places += first[: MOST_PLACES - len(places)]

    @property
    def findings(self) -> Iterator[tuple[Kind, int, list[Place]]]:
        for kind in Kind:
            if self.counts[kind]:
                yield kind, self.counts[kind], self.places[kind]

    def total(self, column: str) -> int:
        return sum(getattr(partition, column) for partition in self.partitions)

    def as_json(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "group": self.group,
            "clean": self.clean,
            "partitions": [
                {
                    "partition": p.partition, "start": p.start, "stop": p.stop, "records": p.records,
                    "results": p.results, "deadLetters": p.dead_letters, "anomalies": p.anomalies,
                    "compared": p.compared,
                }
                for p in self.partitions
            ],
            "models": dict(self.models.most_common()),
            "findings": [
                {
                    "kind": str(kind), "count": count,
                    "first": [
                        {"partition": p.partition, "offset": p.offset, "detail": p.detail} for p in places
                    ],
                }
                for kind, count, places in self.findings
            ],
            "notes": self.notes,
        }  # fmt: skip


def differences(published: bytes, expected: bytes, most: int = 4) -> str:
    """The members in which two JSON objects differ, for a person; the bytes where they are none."""
    try:
        was, should = json.loads(published), json.loads(expected)
    except ValueError:
        was = should = None
    if not isinstance(was, dict) or not isinstance(should, dict):
        return f"published {published[:80]!r}, should be {expected[:80]!r}"
    told = list(_members(was, should, ""))
    if not told:
        return "the same members in other bytes"
    more = f"; {len(told) - most} more" if len(told) > most else ""
    return "; ".join(told[:most]) + more


_ABSENT = object()


def _members(was: Any, should: Any, path: str) -> Iterator[str]:
    if isinstance(was, dict) and isinstance(should, dict):
        for name in dict.fromkeys([*was, *should]):
            inner = f"{path}.{name}" if path else name
            yield from _members(was.get(name, _ABSENT), should.get(name, _ABSENT), inner)
    elif was != should:
        yield f"{path}: {_shown(was)}, should be {_shown(should)}"


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
