"""Nine shapes of faults planted into simulated streams: how many are found in time at the default budget.

A fault begins at its *onset* and becomes *visible* at a point that is defined for each shape (see `_SHAPES`):
there it can be told from the stream's own noise by somebody who knows the stream. It is found if a point from
the onset to `SOON_POINTS` after that one is an anomaly or opens an incident.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tests.benchmarks.quality.arrays import Bools, Floats
from tests.benchmarks.quality.bench import Bench
from tests.benchmarks.quality.made import MadeStream, autoregressive, generator
from tests.benchmarks.quality.running import Scored, Task

SOON_POINTS = 10
SEEDS = 10
STEP_MS = 300_000
_DAY = 288  # points
_FIRST_ONSET, _LAST_ONSET = 8_000, 8_288  # 28 days are known; any time of the day
_AFTER_POINTS = 160
_POINTS = _LAST_ONSET + _AFTER_POINTS


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A stream without a fault.

    Attributes:
        values: (n, k).
        expected: (n,) what the first value would be without noise.
        sigma: standard deviation of its noise around that.
        resolution: the values are multiples of it.
    """

    values: Floats
    expected: Floats
    sigma: float
    resolution: float


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """A stream (n, k) with one fault; NaN where a value is missing."""

    values: Floats
    onset: int
    visible: int


# Streams ---------------------------------------------------------------------------------------


def _steady(noise: Floats, level: float, sigma: float) -> Base:
    values = np.round(level + sigma * noise, 3).reshape(-1, 1)
    return Base(values, np.full(len(noise), level), sigma, 1e-3)


def _white(rng: np.random.Generator) -> Base:
    return _steady(rng.normal(size=_POINTS), 100.0, 2.0)


def _remembering(rng: np.random.Generator) -> Base:
    noise = autoregressive(rng.normal(size=_POINTS), 0.7) * np.sqrt(1 - 0.7**2)
    return _steady(noise, 40.0, 1.0)


def _counts(rng: np.random.Generator) -> Base:
    values = rng.poisson(40.0, size=_POINTS).astype(np.float64)
    return Base(values.reshape(-1, 1), np.full(_POINTS, 40.0), float(np.sqrt(40.0)), 1.0)


def _heavy(rng: np.random.Generator) -> Base:
    return _steady(rng.standard_t(5.0, size=_POINTS) / np.sqrt(5.0 / 3.0), 500.0, 10.0)


def _daily(curve: Callable[[Floats], Floats], rng: np.random.Generator) -> Base:
    expected = 60.0 + 12.0 * curve(np.arange(_POINTS) % _DAY / _DAY)
    values = np.round(expected + rng.normal(size=_POINTS), 3).reshape(-1, 1)
    return Base(values, expected, 1.0, 1e-3)


def _wave(phase: Floats) -> Floats:
    return np.asarray(np.sin(2 * np.pi * phase))


def _two_peaks(phase: Floats) -> Floats:
    wave = np.sin(2 * np.pi * (phase - 0.3)) + 0.6 * np.sin(4 * np.pi * (phase - 0.1))
    return np.asarray(wave / 1.4)


def _office(phase: Floats) -> Floats:
    return np.asarray(np.tanh((phase - 0.33) / 0.03) - np.tanh((phase - 0.75) / 0.03) - 1.0)


_LOADING = np.sqrt(0.95)  # each value's correlation with what the four share


def _correlated(rng: np.random.Generator) -> Base:
    """Four values that share 95 % of their variance, which remembers itself."""
    shared = autoregressive(rng.normal(size=_POINTS), 0.8) * np.sqrt(1 - 0.8**2)
    own = rng.normal(size=(_POINTS, 4))
    values = _LOADING * shared[:, None] + np.sqrt(1 - _LOADING**2) * own
    values = np.round(values * (1.0, 5.0, 0.2, 20.0) + (10.0, 50.0, 3.0, 400.0), 3)
    return Base(values, np.full(_POINTS, 10.0), 1.0, 1e-3)


Make = Callable[[np.random.Generator], Base]
_STEADY: dict[str, Make] = {"white": _white, "remembering": _remembering, "counts": _counts, "heavy": _heavy}
_SEASONAL: dict[str, Make] = {
    "wave": partial(_daily, _wave),
    "two peaks": partial(_daily, _two_peaks),
    "office hours": partial(_daily, _office),
}
_ANY = {**_STEADY, **_SEASONAL}
_JOINT: dict[str, Make] = {"four values": _correlated}


# Faults ----------------------------------------------------------------------------------------

Plant = Callable[[Base, int, np.random.Generator], Planted]


def _add(base: Base, onset: int, added: Floats, visible: int) -> Planted:
    """Add to the first value from the onset on, in the stream's own resolution."""
    values = base.values.copy()
    stop = min(onset + len(added), len(values))
    rounded = np.round(added[: stop - onset] / base.resolution) * base.resolution
    values[onset:stop, 0] += rounded
    return Planted(values, onset, visible)


def _spike(base: Base, onset: int, rng: np.random.Generator) -> Planted:
    """One point 8 sigma up; visible at once."""
    return _add(base, onset, np.array([8.0 * base.sigma]), onset)


def _dip(base: Base, onset: int, rng: np.random.Generator) -> Planted:
    """One point 8 sigma down, for counts at least to 0; visible at once."""
    depth = min(8.0 * base.sigma, float(base.values[onset, 0])) if base.resolution == 1.0 else 8 * base.sigma
    return _add(base, onset, np.array([-depth]), onset)


def _level_shift(base: Base, onset: int, rng: np.random.Generator) -> Planted:
    """6 sigma up or down, for good; visible at once."""
    return _add(base, onset, 6.0 * base.sigma * _sign(rng) * np.ones(_AFTER_POINTS), onset)


def _drift(base: Base, onset: int, rng: np.random.Generator) -> Planted:
    """A tenth of a sigma more each point; visible where it has come to 4 sigma, 40 points after the onset."""
    slope = _sign(rng) * 0.1 * base.sigma
    return _add(base, onset, slope * np.arange(1.0, _AFTER_POINTS + 1.0), onset + 39)


def _variance_change(base: Base, onset: int, rng: np.random.Generator) -> Planted:
    """Noise around the expected value five times as wide; visible 10 points after the onset."""
    until = onset + _AFTER_POINTS
    noise = base.values[onset:until, 0] - base.expected[onset:until]
    return _add(base, onset, 4.0 * noise, onset + 10)


def _seasonal_break(base: Base, onset: int, rng: np.random.Generator) -> Planted:
    """The day goes on as if it were half a day later; visible where that is 4 sigma off the usual."""
    until = onset + _AFTER_POINTS
    other = base.expected[onset - _DAY // 2 : until - _DAY // 2] - base.expected[onset:until]
    off = np.flatnonzero(np.abs(other) >= 4.0 * base.sigma)
    return _add(base, onset, other, onset + int(off[0]))


def _flat_line(base: Base, onset: int, rng: np.random.Generator) -> Planted:
    """The last value stays; visible when so many repeats in a row are less likely than 1e-6, 5 at least."""
    values = base.values.copy()
    values[onset:, 0] = values[onset - 1, 0]
    known = base.values[:onset, 0]
    repeats = max(float(np.mean(known[1:] == known[:-1])), 1.0 / onset)
    return Planted(values, onset, onset + max(5, int(np.ceil(-6.0 / np.log10(repeats)))) - 1)


def _drop_out(base: Base, onset: int, rng: np.random.Generator) -> Planted:
    """The value is 0 for 40 points; visible at once."""
    values = base.values.copy()
    values[onset : onset + 40, 0] = 0.0
    return Planted(values, onset, onset)


def _missing(base: Base, onset: int, rng: np.random.Generator) -> Planted:
    """The first of four values is missing for 40 points; visible from the tenth on."""
    values = base.values.copy()
    values[onset : onset + 40, 0] = np.nan
    return Planted(values, onset, onset + 9)


def _correlation_break(base: Base, onset: int, rng: np.random.Generator) -> Planted:
    """One value goes its own way within its usual range; visible when its residual reaches 4 sigma.

    That is the residual of its regression on the other three before the fault.
    """
    broken = int(rng.integers(base.values.shape[1]))
    values = base.values.copy()
    known = values[:onset]
    own = autoregressive(rng.normal(size=_AFTER_POINTS + 100), 0.8)[100:] * np.sqrt(1 - 0.8**2)
    until = onset + _AFTER_POINTS
    own = own[: len(values[onset:until])]
    values[onset:until, broken] = np.round(known[:, broken].mean() + known[:, broken].std() * own, 3)
    others = np.delete(np.arange(values.shape[1]), broken)
    design = np.column_stack([np.ones(len(values)), values[:, others]])
    weights, *_ = np.linalg.lstsq(design[:onset], known[:, broken], rcond=None)
    residual = np.abs(values[:, broken] - design @ weights)
    off = np.flatnonzero(residual[onset:until] >= 4.0 * residual[:onset].std())
    return Planted(values, onset, onset + int(off[0]))


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


_SHAPES: dict[str, tuple[Plant, dict[str, Make]]] = {
    "spike": (_spike, _ANY),
    "dip": (_dip, _ANY),
    "level shift": (_level_shift, _ANY),
    "drift": (_drift, _ANY),
    "variance change": (_variance_change, _ANY),
    "seasonal break": (_seasonal_break, _SEASONAL),
    "flat line": (_flat_line, _ANY),
    "drop-out": (_drop_out, _ANY),
    "correlation break": (_correlation_break, _JOINT),
    "value missing": (_missing, _JOINT),
}
NINE = tuple(_SHAPES)[:9]
"""What the bar asks for; a missing value of several is shown beside it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One fault in one stream."""

    shape: str
    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.shape} in {self.kind} {self.seed}"

    def planted(self) -> Planted:
        return self._plant(generator(self.name, self.seed))

    def stream(self) -> MadeStream:
        return MadeStream(self.name, self.seed, self._values, STEP_MS)

    def _plant(self, rng: np.random.Generator) -> Planted:
        plant, kinds = _SHAPES[self.shape]
        base = kinds[self.kind](rng)
        planted = plant(base, int(rng.integers(_FIRST_ONSET, _LAST_ONSET)), rng)
        return replace(planted, values=planted.values[: planted.onset + _AFTER_POINTS])

    def _values(self, rng: np.random.Generator) -> Floats:
        return self._plant(rng).values


def cases(seeds: int = SEEDS) -> list[Case]:
    """Every shape in every kind of stream that can show it; where there are few kinds, more seeds."""
    return [
        Case(shape, kind, seed)
        for shape, (_, kinds) in _SHAPES.items()
        for kind in kinds
        for seed in range(seeds * max(1, len(_ANY) // len(kinds)))
    ]


def found(planted: Planted, alarms: Bools) -> bool:
    return bool(alarms[planted.onset : planted.visible + SOON_POINTS + 1].any())


def ours(bench: Bench, seeds: int = SEEDS) -> dict[str, Any]:
    """The share found by shape, and by shape and kind of stream; `chance` is that of alarms before the onset.

    Chance: how often as long a stretch, taken 500 points before the onset, holds an alarm.
    """
    planned = cases(seeds)
    runs = bench.run([Task(case.stream(), (bench.configuration,)) for case in planned], "planted faults")
    return summary(planned, [case.planted() for case in planned], [run[0] for run in runs])


def summary(planned: Sequence[Case], planted: Sequence[Planted], runs: Sequence[Scored]) -> dict[str, Any]:
    document: dict[str, Any] = {"shapes": {}, "chance": 0.0}
    by: dict[str, dict[str, list[bool]]] = {}
    chance = []
    for case, fault, run in zip(planned, planted, runs, strict=True):
        alarms = run.anomalous | run.opened
        by.setdefault(case.shape, {}).setdefault(case.kind, []).append(found(fault, alarms))
        stretch = fault.visible + SOON_POINTS + 1 - fault.onset
        chance.append(bool(alarms[fault.onset - 500 : fault.onset - 500 + stretch].any()))
    for shape, kinds in by.items():
        document["shapes"][shape] = {
            "found": float(np.mean([one for each in kinds.values() for one in each])),
            "cases": sum(map(len, kinds.values())),
            "by_kind": {kind: float(np.mean(each)) for kind, each in kinds.items()},
        }
    document["chance"] = float(np.mean(chance))
    document["least"] = min(document["shapes"][shape]["found"] for shape in by if shape in NINE)
    document["mean"] = float(np.mean([document["shapes"][shape]["found"] for shape in by if shape in NINE]))
    return document
