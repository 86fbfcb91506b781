"""Streams that are made from a seed, and their records."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np

from tests.benchmarks.quality.arrays import Floats

FIRST_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z
_ENCODE = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class MadeStream:
    """A source whose values `make(generator)` gives, (n, k); the same name, seed and points, the same values.

    `step_ms` lies between two points; with 1 the timestamps are as good as an index.
    """

    name: str
    seed: int
    make: Callable[[np.random.Generator], Floats] | partial[Floats]
    step_ms: int = 60_000

    def values(self) -> Floats:
        return self.make(generator(self.name, self.seed))

    def records(self) -> list[bytes]:
        return records_of(self.name, self.values(), self.step_ms)


def generator(name: str, seed: int) -> np.random.Generator:
    """A generator that depends on nothing but its two arguments."""
    return np.random.default_rng([zlib.crc32(name.encode()), seed])


def records_of(source_id: str, values: Floats, step_ms: int) -> list[bytes]:
    """Points at a steady step; NaN is a missing value."""
    names = ["value"] if values.shape[1] == 1 else [f"value_{i + 1}" for i in range(values.shape[1])]
    return [
        _ENCODE(
            {
                "sourceId": source_id,
                "timestamp": FIRST_MS + i * step_ms,
                "values": dict(zip(names, row, strict=True)),
            }
        )
        for i, row in enumerate(values.tolist())
    ]


def autoregressive(noise: Floats, memory: float) -> Floats:
    """x[t] = memory x[t - 1] + noise[t], from 0 on."""
    found = np.empty_like(noise)
    last = 0.0
    for i, one in enumerate(noise.tolist()):
        last = memory * last + one
        found[i] = last
    return found


def fleet_records(prefix: str, values: Floats, step_ms: int) -> list[bytes]:
    """Points of sources of one value, (sources, points), all at once at each step."""
    return [
        _ENCODE({"sourceId": f"{prefix}-{i}", "timestamp": FIRST_MS + t * step_ms, "values": {"value": x}})
        for t, row in enumerate(values.T.tolist())
        for i, x in enumerate(row)
    ]
