"""Puts a pipeline where a long life would have put it; the one place that knows how."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from service.bench.signal import TEMPLATES, Signal, number_of
from service.pipeline import DetectionPipeline
from service.wire.limits import InputLimits
from service.wire.reader import ReadBatch, RecordBatch, read

STEP_MS = 1_000
"""Between two points of a source."""

_POINTS_PER_SOURCE = 200  # more than a window
_POINTS_OF_PARTITION = 84_000
"""After so many the models of the fourth fit are in force, and the next is due at 262,144."""

_STEPS_AT_ONCE = 40
_SOURCES_AT_ONCE = 50_000


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
    alive = [source_ids[i] for i in firsts]
    signal = Signal(len(names))
    steps = max(_POINTS_PER_SOURCE, _POINTS_OF_PARTITION // len(alive))
    for first in range(-steps, 0, _STEPS_AT_ONCE):
        bodies: list[bytes] = []
        for step in range(first, min(first + _STEPS_AT_ONCE, 0)):
            rows = signal.at(numbers[firsts], step).tolist()
            time_ms = before_ms + step * STEP_MS
            bodies += [_body(source, time_ms, names, row) for source, row in zip(alive, rows, strict=True)]
        pipeline.score(_read(bodies, before_ms))
    slot = np.full(TEMPLATES, -1, np.int64)
    slot[kinds] = [pipeline.sources.slot_of(source) for source in alive]
    others = np.delete(np.arange(len(source_ids)), firsts)
    missing = [float("nan")] * len(names)
    for start in range(0, len(others), _SOURCES_AT_ONCE):
        some = others[start : start + _SOURCES_AT_ONCE]
        bodies = [_body(source_ids[i], before_ms - STEP_MS, names, missing) for i in some]
        placed = pipeline.sources.place(_read(bodies, before_ms).points, 0)
        pipeline.sources.copy_history(slot[template[some]], placed.source)


def _body(source: str, time_ms: int, names: tuple[str, ...], row: Sequence[float]) -> bytes:
    values = ",".join(
        f'"{name}":{"null" if math.isnan(x) else x}' for name, x in zip(names, row, strict=True)
    )
    return f'{{"sourceId":"{source}","timestamp":{time_ms},"values":{{{values}}}}}'.encode()


def _read(bodies: Sequence[bytes], record_time_ms: int) -> ReadBatch:
    n = len(bodies)
    return read(
        RecordBatch(bodies, [None] * n, {}, np.zeros(n, np.int64), np.full(n, record_time_ms)),
        InputLimits(),
    )
