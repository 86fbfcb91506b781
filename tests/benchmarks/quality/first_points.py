"""How soon a new source is judged well: faults found in its first points, and false alarms there.

A fleet is some `VETERANS` sources of one kind that have been there for long, then many new ones under the
same value name. In a uniform fleet sources differ little in scale; in a mixed one in kind, scale and level.
A fault is found if a point from its onset to `SOON_POINTS` after it is an anomaly or opens an incident.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.benchmarks.quality.arrays import Floats
from tests.benchmarks.quality.bench import Bench
from tests.benchmarks.quality.made import autoregressive, fleet_records, generator
from tests.benchmarks.quality.running import Configuration, Scored, scored

VETERANS, VETERAN_POINTS = 40, 1_200
HEALTHY, HEALTHY_POINTS = 800, 300
FAULTY, FAULTY_POINTS = 160, 120
FIRST_ONSET, LAST_ONSET = 10, 100
SOON_POINTS = 10
RANGES = ((5, 20), (20, 50), (50, 100), (100, 300))
BUDGET = 1e-3
_STEP_MS = 300_000
_DAY = 288  # points

Noise = Callable[[np.random.Generator, int], Floats]


def _white(rng: np.random.Generator, n: int) -> Floats:
    return rng.normal(size=n)


def _remembering(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray(autoregressive(rng.normal(size=n), 0.9) * np.sqrt(1 - 0.9**2))


def _heavy(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray(rng.standard_t(5.0, size=n) / np.sqrt(5.0 / 3.0))


def _skewed(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray((rng.lognormal(sigma=0.5, size=n) - np.exp(0.125)) / 0.604)


def _counts(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray((rng.poisson(10.0, size=n) - 10.0) / np.sqrt(10.0))


def _daily(rng: np.random.Generator, n: int) -> Floats:
    phase = (rng.integers(_DAY) + np.arange(n)) / _DAY
    return np.asarray(4.0 * np.sin(2 * np.pi * phase) + rng.normal(size=n))


_NOISES: dict[str, Noise] = {
    "white": _white,
    "remembering": _remembering,
    "heavy": _heavy,
    "skewed": _skewed,
    "counts": _counts,
    "daily": _daily,
}


@dataclass(frozen=True, slots=True)
class Fleet:
    """Sources of these kinds, whose scale and level differ by so many natural logarithms."""

    name: str
    noises: tuple[Noise, ...]
    scales_apart: float
    levels_apart: float

    def source(self, rng: np.random.Generator, points: int, onset: int | None = None) -> Floats:
        """The values (points,) of one source; with a fault of 6 to 8 sigma from the onset on."""
        noise = self.noises[int(rng.integers(len(self.noises)))](rng, points)
        if onset is not None:
            shape = int(rng.integers(3))
            if shape == 2:
                noise[onset:] += 6.0 * float(rng.choice([-1.0, 1.0]))
            else:
                noise[onset] += (8.0, -8.0)[shape]
        scale = np.exp(self.scales_apart * rng.normal())
        return np.asarray(np.round(100.0 * np.exp(self.levels_apart * rng.normal()) + scale * noise, 6))


FLEETS = (
    *(Fleet(name, (noise,), 0.2, 0.1) for name, noise in _NOISES.items()),
    Fleet("mixed", tuple(_NOISES.values()), 1.5, 1.0),
)


def ours(bench: Bench) -> dict[str, Any]:
    """By fleet: the share of faults found by when they began, and false alarms for each one allowed."""
    overrides = (*bench.configuration.overrides, "topics.partitions=1")
    configuration = replace(bench.configuration, overrides=overrides)
    found = bench.run([partial(judged, fleet, configuration) for fleet in FLEETS], "first points")
    return {fleet.name: one for fleet, one in zip(FLEETS, found, strict=True)}


def judged(fleet: Fleet, configuration: Configuration) -> dict[str, Any]:
    """What `ours` says of one fleet."""
    rng = generator(fleet.name, 0)
    onsets = rng.integers(FIRST_ONSET, LAST_ONSET, size=FAULTY)
    parts = [
        [fleet.source(rng, VETERAN_POINTS) for _ in range(VETERANS)],
        [fleet.source(rng, HEALTHY_POINTS) for _ in range(HEALTHY)],
        [fleet.source(rng, FAULTY_POINTS, int(onset)) for onset in onsets],
    ]
    runs = _scored(parts, configuration)
    return {"faults": _hits(runs[2], onsets), "false_alarms": dict(_false_alarms(runs[1]))}


def _scored(parts: list[list[Floats]], configuration: Configuration) -> list[Scored]:
    """What is published of each part's sources, (sources, points); one part comes after the other."""
    records = [fleet_records(f"part-{i}", np.array(part), _STEP_MS) for i, part in enumerate(parts)]
    whole = scored([record for part in records for record in part], configuration.settings())
    found, at = [], 0
    for part in parts:
        shape = (len(part[0]), len(part))
        stop = at + shape[0] * shape[1]
        columns = (
            getattr(whole, name)[at:stop].reshape(shape).T for name in ("score", "anomalous", "opened")
        )
        found.append(Scored(*columns))
        at = stop
    return found


def _hits(run: Scored, onsets: npt.NDArray[np.int64]) -> dict[str, float]:
    alarms = run.anomalous | run.opened
    found = np.array([alarms[i, o : o + SOON_POINTS + 1].any() for i, o in enumerate(onsets)])
    early = onsets < 30
    return {"10-30": float(found[early].mean()), "30-100": float(found[~early].mean())}


def _false_alarms(run: Scored) -> Iterator[tuple[str, dict[str, float]]]:
    for first, stop in RANGES:
        allowed = run.score.shape[0] * (stop - first) * BUDGET
        books = {"points": run.anomalous, "incidents": run.opened}
        yield (
            f"{first}-{stop}",
            {book: float(alarms[:, first:stop].sum() / allowed) for book, alarms in books.items()},
        )
