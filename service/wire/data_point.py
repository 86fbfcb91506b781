"""What one input record can turn out to be; knows the values, not how they are read.

They are made only for records that the strict reader takes, and for people; the usual way of a point is
`batch`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, TypeAlias

from msgspec import Struct

NAN: Final = float("nan")
"""A missing value."""


class Written(float):
    """A number that remembers how it was written, to be published again in just that way."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str, number: float) -> Written:
        """`number` is the nearest double to what `text`, a JSON number, says."""
        self = super().__new__(cls, number)
        self.text = text
        return self


class Reason(StrEnum):
    """Why a record became a dead letter: the letter's header, the metric's label, the log line."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    TOO_DEEP = "too_deep"
    NOT_JSON = "not_json"
    REPEATED_KEY = "repeated_key"
    NON_FINITE_NUMBER = "non_finite_number"
    LONE_SURROGATE = "lone_surrogate"
    NOT_AN_OBJECT = "not_an_object"
    BAD_CLOUD_EVENT = "bad_cloud_event"
    MISSING_SOURCE_ID = "missing_source_id"
    BAD_SOURCE_ID = "bad_source_id"
    BAD_TIMESTAMP = "bad_timestamp"
    TIMESTAMP_OUT_OF_RANGE = "timestamp_out_of_range"
    BAD_CONTROL = "bad_control"
    MISSING_VALUES = "missing_values"
    BAD_VALUES = "bad_values"
    TOO_MANY_VALUES = "too_many_values"
    BAD_VALUE_NAME = "bad_value_name"
    BAD_VALUE = "bad_value"
    BAD_LABELS = "bad_labels"
    BAD_ID = "bad_id"


class DataPoint(Struct, frozen=True, gc=False):
    """The numbers of one source at one instant.

    `values` stand in the order of `names`; NaN is a missing one. The numbers of an array are named
    "0", "1", ...; a bare number is named "value". `labels` is None where there are none. `timed` is False
    where neither the point nor its event named a time, and `time_ms` is the Kafka record's: good enough to
    show, but nothing to put points in order by.
    """

    source_id: str
    time_ms: int
    names: tuple[str, ...]
    values: tuple[float, ...]
    labels: dict[str, str] | None = None
    id: str | None = None
    timed: bool = True


class Control(Struct, frozen=True, gc=False):
    """An instruction that travels among the points of its source; what it says is not judged here."""

    source_id: str
    time_ms: int
    control: dict[str, Any]


class Forget(Struct, frozen=True, gc=False):
    """A tombstone: everything known of the source is to go."""

    source_id: str
    time_ms: int


class InvalidRecord(Struct, frozen=True, gc=False):
    """A record that nothing can be made of; `detail` is one short line of plain ASCII for a person."""

    reason: Reason
    detail: str


Decoded: TypeAlias = DataPoint | Control | Forget | InvalidRecord
