"""Data points of one partition in columns, as decoding hands them to history and scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from service.wire.data_point import DataPoint


@dataclass(frozen=True, slots=True)
class PointBatch:
    """`n` data points in arrival order with `m` values between them.

    Point `i` has the values `value_start[i]` to `value_start[i + 1]`; NaN is a missing value. A value's
    name is at the same place in `names[i]`, an interned tuple that most points of a source share.
    """

    source_ids: Sequence[str]
    time_ms: npt.NDArray[np.int64]  # (n,)
    names: Sequence[tuple[str, ...]]  # (n,)
    value_start: npt.NDArray[np.int64]  # (n + 1,)
    values: npt.NDArray[np.float64]  # (m,)
    ids: Sequence[str | None]  # (n,)
    timed: Sequence[bool]  # (n,), False where `time_ms` is the Kafka record's

    def __len__(self) -> int:
        return len(self.source_ids)

    @classmethod
    def of(cls, points: Sequence[DataPoint]) -> PointBatch:
        """The points in columns; the values are copied."""
        start = np.zeros(len(points) + 1, np.int64)
        np.cumsum([len(p.names) for p in points], out=start[1:])
        return cls(
            source_ids=[p.source_id for p in points],
            time_ms=np.array([p.time_ms for p in points], np.int64),
            names=[p.names for p in points],
            value_start=start,
            values=np.fromiter(chain.from_iterable(p.values for p in points), np.float64, int(start[-1])),
            ids=[p.id for p in points],
            timed=[p.timed for p in points],
        )
