"""Records through the batch reader, and its columns back into points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.wire.batch import PointBatch
from service.wire.data_point import NAN, DataPoint, Written
from service.wire.limits import InputLimits
from service.wire.reader import ReadBatch, RecordBatch, read
from service.wire.scan import PREAMBLE


def read_together(values: Sequence[bytes | None], record_time_ms: int, limits: InputLimits) -> ReadBatch:
    """Records of one time without keys and headers, with offsets from 0."""
    n = len(values)
    nothing = [None] * n
    return read(RecordBatch(values, nothing, {}, np.arange(n), np.full(n, record_time_ms)), limits)


def point_of(batch: PointBatch, i: int) -> DataPoint:
    """Point i as `decode` would give it."""
    point = batch.points[i]
    numbers = batch.values["number"][point["first_value"] : point["stop_value"]].tolist()
    values = tuple(
        Written(text, number) if text else NAN for text, number in zip(batch.sent(i), numbers, strict=True)
    )
    point_id = batch.text_at(point["id_start"], point["id_stop"]) or None
    return DataPoint(
        batch.source_id(i),
        int(point["time_ms"]),
        batch.names(i),
        values,
        batch.labels_of(i) or None,
        point_id,
        bool(point["timed"]),
    )


def read_quickly(value: bytes, record_time_ms: int, limits: InputLimits) -> DataPoint | None:
    """The point, if the compiled scanner reads the record; None if it leaves it to the strict reader."""
    together = read_together([value], record_time_ms, limits)
    left = len(together.points.text) > len(PREAMBLE) + len(value)  # strict reading adds its texts
    return None if left or together.others else point_of(together.points, 0)
