"""What a batch publishes: outcomes and dead letters as messages, each saying which record it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import itemgetter
from typing import Literal, TypeAlias

import numpy as np
from confluent_kafka import TopicPartition

from service.outcomes import NO_RESULT, Outcomes, Stretch
from service.stream.bulk import OFFSET_HEADER, Bulk
from service.stream.transaction import Headers, OutputMessage
from service.wire.data_point import InvalidRecord
from service.wire.reader import Others, RecordBatch

Publish = Literal["all", "anomalies", "none"]
Header: TypeAlias = tuple[str, bytes]
Common: TypeAlias = tuple[Header, Header, Header]
"""The headers of all messages of a batch: topic, partition, model."""

_Told: TypeAlias = tuple[int, bytes, bytes]
"""What the anomalies topic is told: which record made it visible, key and value."""

_ENVELOPE_BYTES = 1024  # batch and record framing, with room to spare
_PROVENANCE = 3  # of the headers of a message say which record it came from
_PASSED_THROUGH = frozenset({"traceparent", "tracestate"})


@dataclass(frozen=True, slots=True)
class Route:
    """Where output goes: the topics, and which of them have as many partitions as the input.

    Where one has, a message keeps its input's partition, which costs less than hashing the key and keeps a
    source's order whoever produced it.
    """

    data_points: str
    results: str
    anomalies: str
    dead_letters: str
    dead_letter_bytes: int  # most that a message of that topic may have
    same_partitions: frozenset[str]

    @classmethod
    def of(cls, names: Mapping[str, str], partitions: Mapping[str, int], dead_letter_bytes: int) -> Route:
        """The route for topic names and partition counts by role."""
        same = frozenset(names[role] for role in names if partitions[role] == partitions["data_points"])
        return cls(
            names["data_points"],
            names["detection_results"],
            names["anomalies"],
            names["dead_letters"],
            dead_letter_bytes,
            same,
        )

    def partition(self, topic: str, input_partition: int) -> int:
        """The partition to name; -1 leaves it to the partitioner."""
        return input_partition if topic in self.same_partitions else -1


@dataclass(slots=True)
class Output:
    """A batch's messages in input order, what they say, and the offsets after it.

    Those in `bulks` stand in no `messages`.
    """

    messages: list[OutputMessage] = field(default_factory=list)
    bulks: list[Bulk] = field(default_factory=list)
    outcomes: list[Outcomes] = field(default_factory=list)
    invalid: list[InvalidRecord] = field(default_factory=list)
    offsets: list[TopicPartition] = field(default_factory=list)
    oldest_ms: int = 2**62


class Publisher:
    """Turns what became of records into messages."""

    def __init__(self, route: Route, publish: Publish, *, in_bulk: bool = False) -> None:
        """With `in_bulk` results and anomaly records are handed over together, wherever that can be."""
        self._in_bulk = in_bulk
        self._route = route
        self._publish = publish
        self._topic_header = ("x-in-topic", route.data_points.encode())

    def add(
        self,
        output: Output,
        number: int,
        records: RecordBatch,
        others: Others,
        outcomes: Outcomes,
        model: bytes,
    ) -> None:
        """Add all that the records of partition `number` give; each kind of message in their order."""
        output.outcomes.append(outcomes)
        route, messages = self._route, output.messages
        common = (self._topic_header, ("x-in-partition", b"%d" % number), ("x-model", model))
        if self._in_bulk and self._can_stay(records, outcomes):
            to, at = route.results, route.partition(route.results, number)
            output.bulks += [_bulk(to, at, common, records, stretch) for stretch in outcomes.stretches]
        else:
            messages += self._results(number, records, outcomes, common)
        told = _told(outcomes)
        if told and self._in_bulk and not records.headers:
            at = route.partition(route.anomalies, number)
            output.bulks.append(_gathered(route.anomalies, at, common, records, told))
        else:
            messages += self._anomalies(number, records, told, common)
        for i, content in others.items():
            if isinstance(content, InvalidRecord):
                provenance = _headers(records, i, common)[:_PROVENANCE]
                self._dead_letter(output, number, records, i, content, provenance)

    def _can_stay(self, records: RecordBatch, outcomes: Outcomes) -> bool:
        """Whether all results are published, lie in one row and have the same headers but for the offset."""
        return (
            self._publish == "all"
            and not outcomes.answers
            and not records.headers
            and not any(stretch.has_escapes for stretch in outcomes.stretches)
        )

    def _results(
        self, number: int, records: RecordBatch, outcomes: Outcomes, common: Common
    ) -> Iterator[OutputMessage]:
        """The results one by one.

        This runs for every record: plain lists and tuples, and nothing looked up twice.
        """
        topic, partition, by_model = common
        headers = [
            [topic, partition, (OFFSET_HEADER, b"%d" % offset), by_model]
            for offset in records.offset.tolist()
        ]
        for i, given in records.headers.items():
            headers[i] += [header for header in given if header[0] in _PASSED_THROUGH]
        to, at = self._route.results, self._route.partition(self._route.results, number)
        rows = zip(outcomes.keys, outcomes.results, headers, strict=True)
        return compress([(to, at, key, body, own) for key, body, own in rows], self._wanted(outcomes))

    def _anomalies(
        self, number: int, records: RecordBatch, told: Sequence[_Told], common: Common
    ) -> Iterator[OutputMessage]:
        """The records of the anomalies topic one by one."""
        to, at = self._route.anomalies, self._route.partition(self._route.anomalies, number)
        for i, key, body in told:
            yield to, at, key, body, _headers(records, i, common)

    def _wanted(self, outcomes: Outcomes) -> list[bool]:
        """Which records' results are published."""
        if self._publish == "none":
            return [False] * len(outcomes)
        wanted: list[bool] = (
            outcomes.status != NO_RESULT if self._publish == "all" else outcomes.told
        ).tolist()
        return wanted

    def _dead_letter(
        self,
        output: Output,
        number: int,
        records: RecordBatch,
        i: int,
        invalid: InvalidRecord,
        provenance: Headers,
    ) -> None:
        """Add record i, of which nothing can be made: bytes and headers untouched, then the reason.

        What the topic would refuse is cut, and a header says how long it was: one record must not stop
        all others, and the whole of it still stands in the input.
        """
        output.invalid.append(invalid)
        value, key = records.values[i], records.keys[i]
        headers = [
            *records.headers.get(i, ()),
            *provenance,
            ("x-reason", invalid.reason.encode()),
            ("x-detail", invalid.detail.encode()),
        ]
        around = _ENVELOPE_BYTES + _size(headers) + len(key or b"")
        most = max(self._route.dead_letter_bytes - around, 0)
        if value is not None and len(value) > most:
            headers.append(("x-cut-from-bytes", b"%d" % len(value)))
            value = value[:most]
        topic = self._route.dead_letters
        output.messages.append((topic, self._route.partition(topic, number), key, value, headers))


def _headers(records: RecordBatch, i: int, common: Common) -> Headers:
    """The headers of what comes of record i."""
    topic, partition, model = common
    passed = [header for header in records.headers.get(i, ()) if header[0] in _PASSED_THROUGH]
    return [topic, partition, (OFFSET_HEADER, b"%d" % records.offset[i]), model, *passed]


def _told(outcomes: Outcomes) -> list[_Told]:
    """What the anomalies topic gets, in the order of the records."""
    if not outcomes.anomalies and not outcomes.silences:
        return []
    keys = outcomes.keys_of(list(outcomes.anomalies))
    told = [(i, key, body) for key, (i, body) in zip(keys, outcomes.anomalies.items(), strict=True)]
    told += [(i, silence.source_id.encode(), silence.body) for i, silence in outcomes.silences]
    return sorted(told, key=itemgetter(0))


def _gathered(
    topic: str, partition: int, common: Common, records: RecordBatch, told: Sequence[_Told]
) -> Bulk:
    """Messages that lie each for itself, in one row."""
    of, keys, bodies = zip(*told, strict=True)
    key_stop, stops = (np.cumsum([len(text) for text in texts]) for texts in (keys, bodies))
    return Bulk(
        topic,
        partition,
        common,
        np.frombuffer(b"".join(bodies), np.uint8),
        stops,
        np.frombuffer(b"".join(keys), np.uint8),
        np.concatenate([[0], key_stop[:-1]]),
        key_stop,
        records.offset[list(of)],
    )


def _bulk(topic: str, partition: int, common: Common, records: RecordBatch, stretch: Stretch) -> Bulk:
    """The results of a stretch where they lie."""
    return Bulk(
        topic,
        partition,
        common,
        stretch.body,
        stretch.stops,
        stretch.batch.text,
        stretch.places.source_start,
        stretch.places.source_stop,
        records.offset[stretch.places.record],
    )


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value or b"") + 10 for name, value in headers)
