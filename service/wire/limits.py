"""How large, deep, wide and far in the future an input record may be; knows no JSON."""

from __future__ import annotations

from functools import cached_property

from pydantic import BaseModel, ByteSize, ConfigDict, Field

from service.durations import Duration
from service.wire.timestamps import MAX_TIME_MS

MAX_SOURCE_ID_CHARS = 256
MAX_NAME_CHARS = 128
MAX_ID_CHARS = 256
MOST_SENT_CHARS = 32  # of a number that is published as it was written; a longer one in its shortest form


class InputLimits(BaseModel):
    """How large, deep, wide and far in the future an input record may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_record_bytes: ByteSize = Field(default=ByteSize(1024 * 1024), ge=64)
    max_depth: int = Field(default=32, ge=4, le=200)  # far below what the interpreter's stack can take
    max_values: int = Field(default=1024, ge=1)
    max_labels: int = Field(default=64, ge=0)
    max_label_chars: int = Field(default=1024, ge=1)
    max_future: Duration = 366 * 86_400.0

    @cached_property
    def max_future_ms(self) -> int:
        return round(self.max_future * 1000)


def latest_ms(record_time_ms: int, limits: InputLimits) -> int:
    """The last instant that a point of this record may name; a negative `record_time_ms` is none."""
    if record_time_ms < 0:
        return MAX_TIME_MS
    latest = record_time_ms + limits.max_future_ms
    return latest if latest < MAX_TIME_MS else MAX_TIME_MS
