"""Quasi-periodic series in whose later half one cycle is subtly another: is it the oddest place?

Like the series of the UCR anomaly archive (Wu and Keogh, 2021): no label on the way, no clock that helps, and
nothing leaps out of the range of the values. A series is right when the highest score of its later half lies
within 100 points of the changed cycle; chance is right in about 6 % of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tests.benchmarks.quality.arrays import Floats, probation
from tests.benchmarks.quality.bench import OURS, Bench
from tests.benchmarks.quality.made import MadeStream, generator
from tests.benchmarks.quality.peer_runs import peer_scores
from tests.benchmarks.quality.running import Task

POINTS = 10_000
NEAR_POINTS = 100
SERIES = 100
_FIRST_CYCLE, _LAST_CYCLE = 0.55, 0.95  # between these shares of the series the discord lies


@dataclass(frozen=True, slots=True, eq=False)
class Discord:
    """A series (n, 1), and the first and last point of the cycle that was changed."""

    values: Floats
    first: int
    last: int
    change: str


def streams(count: int = SERIES) -> list[MadeStream]:
    """Every second one has a clock with a step of a minute, the others an index."""
    return [
        MadeStream(f"discord-{i}", i, partial(_values, i), step_ms=60_000 if i % 2 else 1)
        for i in range(count)
    ]


def discord(number: int) -> Discord:
    """The series of that number: shapes and changes come in turn, everything else is drawn."""
    return _made(number, generator(f"discord-{number}", number))


def _values(number: int, rng: np.random.Generator) -> Floats:
    return _made(number, rng).values


def found(discords: Sequence[Discord], scores: Sequence[Floats]) -> dict[str, Any]:
    """The share of series that are right, also by change and with everything after probation searched."""
    right = [_near(one, score, POINTS // 2) for one, score in zip(discords, scores, strict=True)]
    whole = [_near(one, score, probation(POINTS)) for one, score in zip(discords, scores, strict=True)]
    changes = sorted({one.change for one in discords})
    return {
        "accuracy": float(np.mean(right)),
        "accuracy_from_probation": float(np.mean(whole)),
        "by_change": {
            change: float(
                np.mean([r for r, one in zip(right, discords, strict=True) if one.change == change])
            )
            for change in changes
        },
    }


def ours(bench: Bench, with_peers: bool) -> dict[str, Any]:
    """The figures of the judged configuration, of |x[t] - x[t - 1]|, and of the peers if asked for."""
    made = [discord(i) for i in range(SERIES)]
    runs = bench.run([Task(stream, (bench.configuration,)) for stream in streams()], "discords")
    document = {
        OURS: found(made, [run[0].score for run in runs]),
        "|difference|": found(made, [difference(one.values) for one in made]),
    }
    if with_peers:
        for name, scores in peer_scores(bench, streams(), "discords", None).items():
            document[name] = found(made, scores)
    return document


def difference(values: Floats) -> Floats:
    """The score that is hard to beat here: |x[t] - x[t - 1]|."""
    return np.abs(np.diff(values[:, 0], prepend=values[0, 0]))


def _near(one: Discord, score: Floats, searched_from: int) -> bool:
    """Whether the first of the highest scores lies near the changed cycle."""
    known = np.nan_to_num(score, nan=-np.inf)
    top = searched_from + int(np.argmax(known[searched_from:]))
    return one.first - NEAR_POINTS <= top <= one.last + NEAR_POINTS


# How a cycle looks: phase from 0 to 1 in, about -1 to 1 out ------------------------------------

Shape = Callable[[Floats], Floats]


def _bump(phase: Floats, centre: float, width: float) -> Floats:
    return np.asarray(np.exp(-0.5 * ((phase - centre) / width) ** 2))


def _harmonics(rng: np.random.Generator) -> Shape:
    weights = rng.normal(size=3) * (0.5, 0.3, 0.15)
    shifts = rng.uniform(0, 2 * np.pi, 3)

    def shape(phase: Floats) -> Floats:
        found = np.sin(2 * np.pi * phase)
        for k in range(3):
            found = found + weights[k] * np.sin(2 * np.pi * (k + 2) * phase + shifts[k])
        return np.asarray(found / 1.5)

    return shape


def _heartbeat(rng: np.random.Generator) -> Shape:
    small, late = rng.uniform(0.15, 0.3), rng.uniform(0.3, 0.5)

    def shape(phase: Floats) -> Floats:
        return np.asarray(
            small * _bump(phase, 0.2, 0.035)
            - 0.15 * _bump(phase, 0.36, 0.015)
            + 1.2 * _bump(phase, 0.4, 0.018)
            - 0.25 * _bump(phase, 0.44, 0.015)
            + late * _bump(phase, 0.68, 0.06)
        )

    return shape


def _breath(rng: np.random.Generator) -> Shape:
    peak = rng.uniform(0.25, 0.4)

    def shape(phase: Floats) -> Floats:
        up = np.sin(0.5 * np.pi * np.clip(phase / peak, 0, 1)) ** 2
        down = np.exp(-4.0 * np.clip((phase - peak) / (1 - peak), 0, 1)) - np.exp(-4.0)
        return np.asarray(2.0 * np.where(phase < peak, up, down / (1 - np.exp(-4.0))) - 1.0)

    return shape


def _machine(rng: np.random.Generator) -> Shape:
    """On and off with ramps, a dent while it is on."""
    on, off, dent = 0.15, rng.uniform(0.6, 0.75), rng.uniform(0.15, 0.35)

    def shape(phase: Floats) -> Floats:
        level = np.tanh((phase - on) / 0.03) - np.tanh((phase - off) / 0.03) - 1.0
        return np.asarray(level - dent * _bump(phase, 0.5 * (on + off), 0.06))

    return shape


def _gait(rng: np.random.Generator) -> Shape:
    second = rng.uniform(0.5, 0.8)

    def shape(phase: Floats) -> Floats:
        return np.asarray(
            _bump(phase, 0.25, 0.08) + second * _bump(phase, 0.55, 0.06) - 0.5 * _bump(phase, 0.8, 0.07)
        )

    return shape


_SHAPES = (_harmonics, _heartbeat, _breath, _machine, _gait)

# What is changed in one cycle ------------------------------------------------------------------


def _stretched(cycle: Floats, rng: np.random.Generator) -> Floats:
    """It takes 25 to 45 % longer, or less long by as much of the longer one."""
    factor = rng.uniform(1.25, 1.45) ** rng.choice([-1.0, 1.0])
    return _resampled(cycle, round(len(cycle) * factor))


def _flattened(cycle: Floats, rng: np.random.Generator) -> Floats:
    """Its upper part is cut off at 45 to 65 % of the height."""
    low, high = float(cycle.min()), float(cycle.max())
    return np.minimum(cycle, low + rng.uniform(0.45, 0.65) * (high - low))


def _noisy(cycle: Floats, rng: np.random.Generator) -> Floats:
    """A third of it is noise as wide as the values there are."""
    found = cycle.copy()
    part = _part(len(cycle), 0.33, rng)
    found[part] = cycle[part].mean() + max(float(cycle[part].std()), 0.25 * float(cycle.std())) * rng.normal(
        size=part.stop - part.start
    )
    return found


def _shifted(cycle: Floats, rng: np.random.Generator) -> Floats:
    """It begins with 20 to 40 % of standing still: everything after comes later."""
    return np.concatenate([np.full(max(2, round(len(cycle) * rng.uniform(0.2, 0.4))), cycle[0]), cycle])


def _smoothed(cycle: Floats, rng: np.random.Generator) -> Floats:
    """A moving mean over a quarter of it."""
    width = max(3, len(cycle) // 4)
    padded = np.concatenate([cycle[-width:], cycle, cycle[:width]])
    return np.convolve(padded, np.full(width, 1.0 / width), "same")[width:-width]


def _without_a_bump(cycle: Floats, rng: np.random.Generator) -> Floats:
    """A straight line over a third of it, where it differs most."""
    width = max(3, len(cycle) // 3)
    best, gap = cycle, 0.0
    for start in range(0, len(cycle) - width, max(1, width // 8)):
        line = cycle.copy()
        line[start : start + width] = np.linspace(cycle[start], cycle[start + width - 1], width)
        if float(np.abs(line - cycle).sum()) > gap:
            best, gap = line, float(np.abs(line - cycle).sum())
    return best


def _backwards(cycle: Floats, rng: np.random.Generator) -> Floats:
    """It runs from its end to its beginning."""
    return cycle[::-1].copy()


def _lifted(cycle: Floats, rng: np.random.Generator) -> Floats:
    """It is gently lifted by a quarter of its height, and comes back."""
    height = 0.25 * float(cycle.max() - cycle.min()) * rng.choice([-1.0, 1.0])
    return np.asarray(cycle + height * np.sin(np.pi * np.linspace(0, 1, len(cycle))) ** 2)


def _smaller(cycle: Floats, rng: np.random.Generator) -> Floats:
    """It has 50 to 70 % of its height."""
    return np.asarray(cycle[0] + rng.uniform(0.5, 0.7) * (cycle - cycle[0]))


_CHANGES: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "stretched": _stretched,
    "flattened": _flattened,
    "noisy": _noisy,
    "shifted": _shifted,
    "smoothed": _smoothed,
    "bump missing": _without_a_bump,
    "backwards": _backwards,
    "lifted": _lifted,
    "smaller": _smaller,
}


def _part(points: int, share: float, rng: np.random.Generator) -> slice:
    width = max(3, round(points * share))
    start = int(rng.integers(0, max(1, points - width)))
    return slice(start, start + width)


def _resampled(cycle: Floats, points: int) -> Floats:
    old = np.arange(len(cycle)) / len(cycle)
    return np.asarray(np.interp(np.arange(points) / points, old, cycle, period=1.0))


def _made(number: int, rng: np.random.Generator) -> Discord:
    """Cycles of nearly one length and height, one after the other, then noise on everything."""
    shape = _SHAPES[number % len(_SHAPES)](rng)
    change = list(_CHANGES)[number % len(_CHANGES)]
    period = float(np.exp(rng.uniform(np.log(24), np.log(200))))
    length_jitter, height_jitter = rng.uniform(0.0, 0.03), rng.uniform(0.0, 0.06)
    noise = rng.uniform(0.02, 0.08)
    wander = rng.uniform(0.0, 0.01)
    changed_after = round(rng.uniform(_FIRST_CYCLE, _LAST_CYCLE) * POINTS)
    parts: list[Floats] = []
    points, first, last = 0, -1, -1
    while points < POINTS:
        n = max(8, round(period * (1.0 + length_jitter * rng.normal())))
        cycle = (1.0 + height_jitter * rng.normal()) * shape(np.arange(n) / n)
        if first < 0 and points >= changed_after:
            cycle = _CHANGES[change](cycle, rng)
            first, last = points, points + len(cycle) - 1
        parts.append(cycle)
        points += len(cycle)
    values = np.concatenate(parts)[:POINTS]
    values = values + noise * rng.normal(size=POINTS) + wander * np.cumsum(rng.normal(size=POINTS)) / 10
    scale = 10.0 ** rng.uniform(-1, 3)
    return Discord((values * scale).round(6).reshape(POINTS, 1), first, min(last, POINTS - 1), change)
