"""What a batch publishes: outcomes and dead letters as messages, each saying which record it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from confluent_kafka import Message, TopicPartition

from service.pipeline import Outcome
from service.stream.transaction import Headers, OutputMessage
from service.wire.data_point import InvalidRecord

Publish = Literal["all", "anomalies", "none"]

_ENVELOPE_BYTES = 1024  # batch and record framing, with room to spare
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
    """A batch's messages in input order, what they say, and the offsets after it."""

    messages: list[OutputMessage] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    invalid: list[InvalidRecord] = field(default_factory=list)
    offsets: list[TopicPartition] = field(default_factory=list)
    oldest_ms: int = 2**62


class Publisher:
    """Turns what became of a record into messages."""

    def __init__(self, route: Route, publish: Publish) -> None:
        self._route = route
        self._publish = publish
        self._topic_header = ("x-in-topic", route.data_points.encode())

    def outcome(self, output: Output, message: Message, number: int, outcome: Outcome, model: bytes) -> None:
        """Add a scored (or skipped, late, ...) record of partition `number`."""
        output.outcomes.append(outcome)
        with_result = self._publish == "all" or (self._publish == "anomalies" and outcome.is_anomaly)
        if not with_result and outcome.anomaly is None:
            return
        route, key = self._route, outcome.source_id.encode()
        headers = [*self._provenance(message, number), ("x-model", model)]
        if original := headers_of(message):
            headers += [header for header in original if header[0] in _PASSED_THROUGH]
        if with_result:
            partition = route.partition(route.results, number)
            output.messages.append(OutputMessage(route.results, partition, key, outcome.result, headers))
        if outcome.anomaly is not None:
            partition = route.partition(route.anomalies, number)
            output.messages.append(OutputMessage(route.anomalies, partition, key, outcome.anomaly, headers))

    def dead_letter(self, output: Output, message: Message, number: int, invalid: InvalidRecord) -> None:
        """Add a record that nothing can be made of: bytes and headers untouched, then the reason.

        What the topic would refuse is cut, and a header says how long it was: one record must not stop
        all others, and the whole of it still stands in the input.
        """
        output.invalid.append(invalid)
        value = message.value()
        headers = [
            *(headers_of(message) or []),
            *self._provenance(message, number),
            ("x-reason", invalid.reason.encode()),
            ("x-detail", invalid.detail.encode()),
        ]
        around = _ENVELOPE_BYTES + _size(headers) + len(message.key() or b"")
        most = max(self._route.dead_letter_bytes - around, 0)
        if value is not None and len(value) > most:
            headers.append(("x-cut-from-bytes", b"%d" % len(value)))
            value = value[:most]
        topic = self._route.dead_letters
        partition = self._route.partition(topic, number)
        output.messages.append(OutputMessage(topic, partition, message.key(), value, headers))

    def _provenance(self, message: Message, number: int) -> Headers:
        return [
            self._topic_header,
            ("x-in-partition", b"%d" % number),
            ("x-in-offset", b"%d" % (message.offset() or 0)),
        ]


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value or b"") + 10 for name, value in headers)


def headers_of(message: Message) -> Headers | None:
    """The record's headers as the client gives them when reading: a list of names and bytes."""
    return cast(Headers | None, message.headers())
