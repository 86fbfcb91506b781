"""A simulated fleet of pumps with faults planted in it; pure numbers from a seed, no clock and no Kafka.

Pressure, flow and temperature hang together and in time as real ones do: a daily cycle, noise with memory,
now and then a heavier gust. Faults begin only when every source has shown enough of its normal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

VALUES = ("pressure", "flow", "temperature")
STEP_MS = 10_000
_POINTS_PER_DAY = 86_400_000 // STEP_MS
_BLOCK = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault: it begins at point `start` of its source and lasts `points` points."""

    kind: str
    source_id: str
    value: str
    start: int
    points: int

    def holds(self, point: int, grace: int = 10) -> bool:
        """Whether an alarm at this point of the source is owed to the fault."""
        return self.start <= point < self.start + self.points + grace


Shape = Callable[[Floats, Floats, float, np.random.Generator], Floats]


def _spike(x: Floats, _: Floats, sigma: float, __: np.random.Generator) -> Floats:
    return x + 20.0 * sigma


def _dip(x: Floats, _: Floats, sigma: float, __: np.random.Generator) -> Floats:
    return x - 20.0 * sigma


def _shift(x: Floats, _: Floats, sigma: float, __: np.random.Generator) -> Floats:
    return x + 10.0 * sigma


def _burst(x: Floats, _: Floats, sigma: float, rng: np.random.Generator) -> Floats:
    return x + 9.0 * sigma * rng.standard_normal(len(x))


def _drop_out(x: Floats, _: Floats, __: float, ___: np.random.Generator) -> Floats:
    return np.zeros_like(x)


def _ramp(x: Floats, progress: Floats, sigma: float, _: np.random.Generator) -> Floats:
    return x + 30.0 * sigma * progress


# What is planted, in this order, each on a source of its own: kind, value, points, shape.
_PLAN: tuple[tuple[str, str, int, Shape], ...] = (
    ("spike", "pressure", 2, _spike),
    ("level shift", "flow", 60, _shift),
    ("noise burst", "temperature", 60, _burst),
    ("dip", "pressure", 3, _dip),
    ("drop-out to zero", "flow", 30, _drop_out),
    ("spike", "temperature", 3, _spike),
    ("ramp", "pressure", 40, _ramp),
    ("dip", "flow", 3, _dip),
    ("level shift", "temperature", 80, _shift),
    ("noise burst", "pressure", 40, _burst),
)
FAULTS = len(_PLAN)


class Fleet:
    """`sources` pumps of `points` points each; the same seed gives the same fleet and faults."""

    def __init__(self, sources: int, points: int, seed: int) -> None:
        if sources < FAULTS:
            raise ValueError(f"{FAULTS} faults need as many sources, got {sources}")
        self.points = points
        self.source_ids = tuple(f"pump-{i + 1:02d}" for i in range(sources))
        rng = np.random.default_rng([seed, 0])
        self._level = rng.uniform([2.0, 40.0, 55.0], [4.0, 80.0, 75.0], (sources, 3))
        self._sigma = self._level * rng.uniform(0.01, 0.03, (sources, 3))
        self._phase = rng.uniform(0, 2 * np.pi, sources)
        self._memory = np.array([0.5, 0.6, 0.9])
        first = int(0.7 * points)
        starts = np.linspace(first, points - 150, FAULTS).astype(int) + rng.integers(-20, 20, FAULTS)
        hit = rng.choice(sources, FAULTS, replace=False)
        self.faults = tuple(
            Fault(kind, self.source_ids[s], value, int(start), length)
            for (kind, value, length, _), s, start in zip(_PLAN, hit, starts, strict=True)
        )
        self._hit = hit
        self._noise_rng = np.random.default_rng([seed, 1])
        self._fault_rng = np.random.default_rng([seed, 2])

    def rounds(self) -> Iterator[tuple[int, Floats]]:
        """(number of the point, values (sources, 3)) for each moment in turn."""
        state = np.zeros((len(self.source_ids), 3))
        for start in range(0, self.points, _BLOCK):
            block = self._block(start, min(_BLOCK, self.points - start), state)
            for i in range(len(block)):
                yield start + i, block[i]

    def _block(self, start: int, length: int, state: Floats) -> Floats:
        """Values (length, sources, 3) from point `start` on; `state` is the noise's memory, moved on."""
        rng = self._noise_rng
        sources = len(self.source_ids)
        fresh = rng.standard_normal((length, sources, 3))
        fresh[rng.random((length, sources, 3)) < 0.002] *= 1.8  # a gust
        fresh[..., 1] = 0.6 * fresh[..., 0] + 0.8 * fresh[..., 1]  # flow follows pressure
        noise = np.empty_like(fresh)
        for i in range(length):
            state[:] = self._memory * state + np.sqrt(1 - self._memory**2) * fresh[i]
            noise[i] = state
        day = 2 * np.pi * (start + np.arange(length)) / _POINTS_PER_DAY
        cycle = np.sin(day[:, None] + self._phase)[..., None] * 2.0
        values = self._level + self._sigma * (noise + cycle)
        for fault, source, (_, _, _, shape) in zip(self.faults, self._hit, _PLAN, strict=True):
            low, high = max(fault.start, start), min(fault.start + fault.points, start + length)
            if low < high:
                column = VALUES.index(fault.value)
                part = values[low - start : high - start, source, column]
                progress = (np.arange(low, high) - fault.start + 1) / fault.points
                sigma = float(self._sigma[source, column])
                part[:] = shape(part, progress, sigma, self._fault_rng)
        return values
