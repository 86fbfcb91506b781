"""Streams in which nothing ever happens: on these every alarm is a false one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tests.benchmarks.quality.arrays import Floats, probation
from tests.benchmarks.quality.made import MadeStream, autoregressive

JUDGED_POINTS = 100_000
SEEDS = 3
_SEASON_POINTS = 1_440  # a day in minutes


def streams(seeds: int = SEEDS, judged_points: int = JUDGED_POINTS) -> list[MadeStream]:
    """Every kind with every seed; probation comes on top of the points that are judged."""
    points = judged_points + probation(10**6)
    return [
        MadeStream(f"{kind}-{seed}", seed, partial(_column, make, points))
        for kind, make in KINDS.items()
        for seed in range(seeds)
    ]


def _column(make: Callable[[np.random.Generator, int], Floats], n: int, rng: np.random.Generator) -> Floats:
    return make(rng, n).reshape(n, 1)


def _white(rng: np.random.Generator, n: int) -> Floats:
    return rng.normal(size=n)


def _ar(memory: float, rng: np.random.Generator, n: int) -> Floats:
    return autoregressive(rng.normal(size=n), memory)


def _seasonal(rng: np.random.Generator, n: int) -> Floats:
    phase = 2.0 * np.pi * np.arange(n) / _SEASON_POINTS
    return np.asarray(5.0 * np.sin(phase) + 2.0 * np.sin(2.0 * phase + 1.0) + rng.normal(size=n))


def _student_t3(rng: np.random.Generator, n: int) -> Floats:
    return rng.standard_t(3.0, size=n)


def _lognormal(rng: np.random.Generator, n: int) -> Floats:
    return rng.lognormal(size=n)


def _poisson(mean: float, rng: np.random.Generator, n: int) -> Floats:
    return rng.poisson(mean, size=n).astype(np.float64)


def _random_walk(rng: np.random.Generator, n: int) -> Floats:
    return np.cumsum(rng.normal(size=n))


def _drifting_variance(rng: np.random.Generator, n: int) -> Floats:
    """The standard deviation wanders, over thousands of points, between about a third and three."""
    scale = np.exp(0.5 * autoregressive(rng.normal(scale=0.02, size=n), 0.9998))
    return np.asarray(rng.normal(size=n) * scale)


def _rare_blips(rng: np.random.Generator, n: int) -> Floats:
    """Idle with work now and then: noise of a hundredth around 0, once in 50 points a value of 1 to 10."""
    busy = rng.random(n) < 0.02
    return np.where(busy, rng.uniform(1.0, 10.0, size=n), rng.normal(scale=0.01, size=n))


def _quantised(rng: np.random.Generator, n: int) -> Floats:
    """A slow process read by an instrument that shows half of its standard deviation per step."""
    return np.round(2.0 * autoregressive(rng.normal(scale=0.6, size=n), 0.8)) / 2.0


KINDS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "white": _white,
    "ar-0.5": partial(_ar, 0.5),
    "ar-0.9": partial(_ar, 0.9),
    "ar-0.99": partial(_ar, 0.99),
    "seasonal": _seasonal,
    "student-t3": _student_t3,
    "lognormal": _lognormal,
    "poisson-0.3": partial(_poisson, 0.3),
    "poisson-5": partial(_poisson, 5.0),
    "random-walk": _random_walk,
    "drifting-variance": _drifting_variance,
    "rare-blips": _rare_blips,
    "quantised": _quantised,
}
