"""The made-up world of the benchmark: its sources, their partitions and their values; knows no Kafka.

A source behaves as one of `TEMPLATES`, so that history learned from a template fits every source like it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

TEMPLATES = 256

_NAMES = ("pressure", "flow", "temperature", "vibration", "speed", "current", "voltage", "humidity")
_PERIOD_STEPS = 240  # of the season
_ID_CHARS = len("source-0000000")
_MURMUR_SEED, _MURMUR_FACTOR = 0x9747B28C, 0x5BD1E995

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def source_id(number: int) -> str:
    return f"source-{number:07d}"


def value_names(values: int) -> tuple[str, ...]:
    return tuple(_NAMES[i] if i < len(_NAMES) else f"value-{i}" for i in range(values))


class Signal:
    """A level, a season of half the noise's size and normal noise, each template with its own."""

    def __init__(self, values: int, seed: int = 1) -> None:
        rng = np.random.default_rng([seed, values])
        self._level = rng.uniform(10.0, 100.0, (TEMPLATES, values))
        self._noise = self._level * rng.uniform(0.01, 0.05, (TEMPLATES, values))
        self._phase = rng.uniform(0.0, 2 * np.pi, (TEMPLATES, values))
        self._seed = seed

    def at(self, sources: Ints, step: int) -> Floats:
        """Values (n, k) of the sources numbered so at one step, negative ones before the backlog."""
        rng = np.random.default_rng([self._seed, step + 2**31, len(sources)])
        template = sources % TEMPLATES
        season = 0.5 * np.sin(2 * np.pi * step / _PERIOD_STEPS + self._phase[template])
        noise = rng.standard_normal(season.shape) + season
        values: Floats = self._level[template] + self._noise[template] * noise
        return values.round(3)


def order_of(sources: int, step: int) -> Ints:
    """The order in which the sources speak in a step: another each time, as state is not walked in order."""
    return np.random.default_rng([step + 2**31, sources]).permutation(sources)


def partitions_of(sources: int, partitions: int) -> Ints:
    """The partition of every source, as `wire.partitioning.partition_of` has it, for all at once."""
    text = "".join(map(source_id, range(sources))).encode()
    ids = np.frombuffer(text, np.uint8).reshape(sources, -1)
    if ids.shape[1] != _ID_CHARS:
        raise ValueError(f"{sources} sources do not fit in the digits of a source's name")
    h = np.full(sources, _MURMUR_SEED ^ _ID_CHARS, np.uint32)
    factor = np.uint32(_MURMUR_FACTOR)
    whole = _ID_CHARS - _ID_CHARS % 4
    for i in range(0, whole, 4):
        k = np.ascontiguousarray(ids[:, i : i + 4]).view("<u4")[:, 0] * factor
        h = h * factor ^ (k ^ k >> np.uint32(24)) * factor
    rest = np.zeros(sources, np.uint32)
    for j in range(whole, _ID_CHARS):
        rest |= ids[:, j].astype(np.uint32) << np.uint32(8 * (j - whole))
    h = (h ^ rest) * factor
    h = (h ^ h >> np.uint32(13)) * factor
    h ^= h >> np.uint32(15)
    return (h & np.uint32(0x7FFFFFFF)).astype(np.int64) % partitions


def sources_of(partition: int, sources: int, partitions: int) -> Sequence[str]:
    """The names of the sources of one partition."""
    return [
        source_id(int(number)) for number in np.flatnonzero(partitions_of(sources, partitions) == partition)
    ]


def number_of(source: str) -> int:
    return int(source.rpartition("-")[2])
