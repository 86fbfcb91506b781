"""Puts a pipeline where a long life would have put it; the one place that knows how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.bench.signal import TEMPLATES, Signal, number_of
from service.pipeline import DetectionPipeline, Record
from service.wire.batch import PointBatch
from service.wire.data_point import DataPoint
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read

STEP_MS = 1_000
"""Between two points of a source."""

_POINTS_PER_SOURCE = 200
_AT_ONCE = 50_000  # sources that are given a past together


def prefill(
    pipeline: DetectionPipeline, source_ids: Sequence[str], names: tuple[str, ...], before_ms: int
) -> None:
    """Give every source a past of points that end one step before `before_ms`.

    One source of each template lives through its past; the others that behave like it get a copy.
    """
    if not source_ids:
        return
    numbers = np.array([number_of(source) for source in source_ids], np.int64)
    template = numbers % TEMPLATES
    kinds, firsts = np.unique(template, return_index=True)
    signal = Signal(len(names))
    for step in range(-_POINTS_PER_SOURCE, 0):
        time_ms = before_ms + step * STEP_MS
        rows = signal.at(numbers[firsts], step).tolist()
        pipeline.process_batch(
            [
                Record(DataPoint(source_ids[i], time_ms, names, tuple(row)), 0, time_ms)
                for i, row in zip(firsts, rows, strict=True)
            ]
        )
    found = [pipeline.sources.rows_of(source_ids[i]) for i in firsts]
    slot = np.full(TEMPLATES, -1, np.int64)
    slot[kinds] = [rows[0] for rows in found]
    series = np.zeros((TEMPLATES, len(names)), np.int64)
    series[kinds] = [rows[1] for rows in found]
    others = np.delete(np.arange(len(source_ids)), firsts)
    for start in range(0, len(others), _AT_ONCE):
        some = others[start : start + _AT_ONCE]
        placed = pipeline.sources.place(_first_points([source_ids[i] for i in some], names, before_ms), 0)
        kind = template[some]
        pipeline.sources.copy_history(slot[kind], placed.source, series[kind].reshape(-1), placed.series)


def _first_points(source_ids: Sequence[str], names: tuple[str, ...], before_ms: int) -> PointBatch:
    """One point of each source, a step before `before_ms`."""
    values = ",".join(f'"{name}":null' for name in names)
    n, time_ms = len(source_ids), before_ms - STEP_MS
    nothing = [None] * n
    bodies = [
        f'{{"sourceId":"{source}","timestamp":{time_ms},"values":{{{values}}}}}'.encode()
        for source in source_ids
    ]
    records = RecordBatch(bodies, nothing, nothing, np.zeros(n, np.int64), np.full(n, time_ms, np.int64))
    return read(records, InputLimits()).points
