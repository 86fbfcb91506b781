"""Finds one point in a partition's log and runs the pipeline up to it, to tell its whole decision.

Knows records and the pipeline, not where the records come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from service.errors import AnomalydError
from service.insight import Insight
from service.pipeline import DetectionPipeline
from service.wire.batch import escaped
from service.wire.limits import InputLimits
from service.wire.reader import ReadBatch, RecordBatch, read
from service.wire.texts import hash_of
from service.wire.timestamps import format_rfc3339


@dataclass(slots=True)
class Search:
    """Looks for the first point of a source at `time_ms`; without one, its newest point before that counts.

    `first_ms` and `last_ms` are the oldest and the newest time that it met.
    """

    source_id: str
    time_ms: int
    offset: int | None = None
    is_exact: bool = False
    first_ms: int | None = None
    last_ms: int | None = None
    _best_ms: int = -1

    def look(self, batch: ReadBatch) -> bool:
        """Go through the next records; whether there is no need to look further."""
        body = np.frombuffer(escaped(self.source_id).encode(), np.uint8)
        points = batch.points.points
        for i in np.flatnonzero(points["source_hash"] == hash_of(body, 0, len(body))).tolist():
            if batch.points.source_id(i) == self.source_id:
                self._meet(int(points[i]["time_ms"]), int(points[i]["offset"]))
            if self.is_exact:
                return True
        return False

    def _meet(self, time_ms: int, offset: int) -> None:
        self.first_ms = time_ms if self.first_ms is None else min(self.first_ms, time_ms)
        self.last_ms = time_ms if self.last_ms is None else max(self.last_ms, time_ms)
        if self._best_ms < time_ms <= self.time_ms:
            self.offset, self._best_ms = offset, time_ms
            self.is_exact = time_ms == self.time_ms

    @property
    def failure(self) -> str:
        """Why nothing was found."""
        if self.first_ms is None or self.last_ms is None:
            return f"there is no point of source {self.source_id!r}"
        return (
            f"source {self.source_id!r} has no point at or before {format_rfc3339(self.time_ms)}, only from "
            f"{format_rfc3339(self.first_ms)} to {format_rfc3339(self.last_ms)}"
        )


def examined(
    pipeline: DetectionPipeline, batches: Iterable[RecordBatch], offset: int, limits: InputLimits
) -> Insight:
    """The decision on the record at this offset, after the pipeline has learned those before it.

    Raises:
        AnomalydError: the record is not among them, or is no data point.
    """
    for records in batches:
        at = int(np.searchsorted(records.offset, offset))
        pipeline.score(read(_part(records, 0, at), limits))
        if at < len(records.offset):
            if records.offset[at] != offset:
                break
            one = read(_part(records, at, at + 1), limits)
            if not len(one.points.points):
                raise AnomalydError(f"the record at offset {offset} is no data point: {one.others[0]}")
            return pipeline.examine(one)
    raise AnomalydError(f"there is no record at offset {offset}")


def _part(records: RecordBatch, start: int, stop: int) -> RecordBatch:
    return RecordBatch(
        [records.values[i] for i in range(start, stop)],
        [records.keys[i] for i in range(start, stop)],
        {i - start: records.headers[i] for i in range(start, stop) if i in records.headers},
        records.offset[start:stop],
        records.time_ms[start:stop],
    )
