"""Data points of one partition in columns, as reading hands them to history, scoring and writing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.wire.data_point import DataPoint, Written
from service.wire.texts import NO_NAMES, hash_of, with_name

Text = npt.NDArray[np.uint8]
Rows = npt.NDArray[Any]  # of one of the records below

POINT = np.dtype(
    [
        ("offset", np.int64),  # place in the log
        ("record", np.int64),  # which of the records that were read together
        ("record_time_ms", np.int64),  # Kafka's timestamp
        ("time_ms", np.int64),
        ("timed", np.bool_),  # False where `time_ms` is Kafka's
        ("source_start", np.int64),
        ("source_stop", np.int64),
        ("source_hash", np.uint64),
        ("id_start", np.int64),  # an empty span is no id
        ("id_stop", np.int64),
        ("id_hash", np.uint64),
        ("shape", np.uint64),  # hash of the value names in their order
        ("first_value", np.int64),
        ("stop_value", np.int64),
        ("first_label", np.int64),
        ("stop_label", np.int64),
    ],
    align=True,
)
VALUE = np.dtype(
    [
        ("number", np.float64),  # NaN is missing
        ("sent_start", np.int64),  # as the producer wrote it; an empty span is missing
        ("sent_stop", np.int64),
        ("name_start", np.int64),
        ("name_stop", np.int64),
        ("name_hash", np.uint64),
    ],
    align=True,
)
LABEL = np.dtype([(field, np.int64) for field in ("name_start", "name_stop", "text_start", "text_stop")])

_JSON = json.JSONEncoder(ensure_ascii=False)


class PointBatch(NamedTuple):
    """`n` data points in arrival order, with `m` values and `l` labels between them.

    Texts are spans of `text`, as `texts` tells. A named tuple of few arrays, because kernels take those as
    they are and every array that they take costs time.
    """

    text: Text
    points: Rows  # (n,) POINT
    values: Rows  # (m,) VALUE
    labels: Rows  # (l,) LABEL

    @classmethod
    def with_room(cls, text: Text, points: int, values: int, labels: int) -> PointBatch:
        """Rows for at most so many, undefined as yet."""
        return cls(text, np.empty(points, POINT), np.empty(values, VALUE), np.empty(labels, LABEL))

    def trimmed(self, text: Text, points: int) -> PointBatch:
        """The first points, over the whole of their text."""
        last = self.points[points - 1] if points else None
        values, labels = (last["stop_value"], last["stop_label"]) if last is not None else (0, 0)
        return PointBatch(text, self.points[:points], self.values[:values], self.labels[:labels])

    @classmethod
    def of(cls, points: Sequence[DataPoint]) -> PointBatch:
        """The points in rows; their offsets count from 0, and Kafka's timestamps are their own."""
        values = sum(len(point.names) for point in points)
        labels = sum(len(point.labels or ()) for point in points)
        batch = cls.with_room(np.empty(0, np.uint8), len(points), values, labels)
        text = bytearray()
        for i, point in enumerate(points):
            batch.put(i, point, text, 0)
        batch.points["offset"] = batch.points["record"] = np.arange(len(points))
        batch.points["record_time_ms"] = batch.points["time_ms"]
        return batch.trimmed(np.frombuffer(text, np.uint8), len(points))

    def put(self, i: int, point: DataPoint, text: bytearray, base: int) -> None:
        """Write one point into row i, all but its place in the log; its texts are appended to `text`.

        `base` is the place of the first byte of `text` in the batch's.
        """

        def add(content: str) -> tuple[int, int, int]:
            body = content.encode()
            start = base + len(text)
            text.extend(body)
            return start, start + len(body), int(hash_of(np.frombuffer(body, np.uint8), 0, len(body)))

        row = self.points[i]
        first_value, first_label = (
            (self.points[i - 1]["stop_value"], self.points[i - 1]["stop_label"]) if i else (0, 0)
        )
        row["time_ms"], row["timed"] = point.time_ms, point.timed
        row["source_start"], row["source_stop"], row["source_hash"] = add(escaped(point.source_id))
        row["id_start"], row["id_stop"], row["id_hash"] = add(escaped(point.id or ""))
        shape = NO_NAMES
        value = first_value
        for name, number in zip(point.names, point.values, strict=True):
            name_span, sent_span = add(escaped(name)), add(written(number))
            self.values[value] = (number, *sent_span[:2], *name_span)
            shape = np.uint64(with_name(shape, self.values[value]["name_hash"]))
            value += 1
        row["shape"], row["first_value"], row["stop_value"] = shape, first_value, value
        label = first_label
        for name, content in (point.labels or {}).items():
            self.labels[label] = (*add(escaped(name))[:2], *add(escaped(content))[:2])
            label += 1
        row["first_label"], row["stop_label"] = first_label, label

    # One point for a person to read: explanations, tests.

    def text_at(self, start: int, stop: int) -> str:
        """The text of a span, without escapes."""
        return unescaped(self.text[start:stop].tobytes())

    def source_id(self, i: int) -> str:
        return self.text_at(self.points[i]["source_start"], self.points[i]["source_stop"])

    def names(self, i: int) -> tuple[str, ...]:
        return tuple([self.text_at(start, stop) for _, _, _, start, stop, _ in self._values_of(i)])

    def sent(self, i: int) -> tuple[str, ...]:
        """The numbers of point i as their producer wrote them, nothing for a missing one."""
        return tuple([self.text_at(start, stop) for _, start, stop, _, _, _ in self._values_of(i)])

    def labels_of(self, i: int) -> dict[str, str]:
        point = self.points[i]
        rows = self.labels[point["first_label"] : point["stop_label"]].tolist()
        return {self.text_at(*row[:2]): self.text_at(*row[2:]) for row in rows}

    def _values_of(self, i: int) -> list[tuple[Any, ...]]:
        """The rows of point i; taken apart field by field they took three times as long."""
        point = self.points[i]
        rows: list[tuple[Any, ...]] = self.values[point["first_value"] : point["stop_value"]].tolist()
        return rows

    def part(self, start: int, stop: int) -> PointBatch:
        """Points `start` to `stop` as views, over the text and the rows of all."""
        return self._replace(points=self.points[start:stop])


def escaped(text: str) -> str:
    """The inside of the text's shortest JSON literal."""
    return _JSON.encode(text)[1:-1]


def unescaped(body: bytes) -> str:
    """The text of which this is the inside of a JSON literal."""
    text = body.decode()
    return str(json.loads(f'"{text}"')) if "\\" in text else text


def written(number: float) -> str:
    """The number as its producer wrote it, or else in its shortest form; nothing for a missing one."""
    if math.isnan(number):
        return ""
    if isinstance(number, Written):
        return number.text
    if number.is_integer() and abs(number) < 1e15 and (number or math.copysign(1.0, number) > 0):
        return str(int(number))
    return repr(number)
