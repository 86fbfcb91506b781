"""Whether the false-alarm budget that was stated is kept: alarms achieved for each that was allowed.

A source is judged on its points after probation that carry no label, when the budget allows it at least
`LEAST_ALLOWED` alarms there. *As points* every point that is called an anomaly is an alarm, *as incidents*
every incident that opens; the ratio is alarms over points times budget and should lie between 1/2 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.benchmarks.quality.arrays import Bools, probation
from tests.benchmarks.quality.bench import Bench
from tests.benchmarks.quality.null_streams import SEEDS, streams
from tests.benchmarks.quality.running import Scored, Task

LEAST_ALLOWED = 10.0
BUDGETS = (1e-3, 1e-4)
FACTOR = 2.0
BOOKS = ("points", "incidents")


def ours(bench: Bench, seeds: int = SEEDS) -> dict[str, Any]:
    """By place (`synthetic`, `nab`, `mscloud`), budget and book: see `summary`."""
    made = streams(seeds)
    runs = bench.run([Task(one, bench.with_budgets(BUDGETS)) for one in made], "budget on synthetic streams")
    names = [one.name for one in made]
    normal = [_after_probation(len(run[0].score)) for run in runs]
    found = {"synthetic": _by_budget(names, normal, [[run[i] for run in runs] for i in range(len(BUDGETS))])}
    for name in ("nab", "mscloud"):
        unlabelled = [labels.normal for labels in bench.labels(name)]
        found[name] = _by_budget(
            [one.name for one in bench.series(name)], unlabelled, bench.scored(name, BUDGETS)
        )
    return found


def _after_probation(points: int) -> Bools:
    return np.arange(points) >= probation(points)


def _by_budget(
    names: Sequence[str], normal: Sequence[Bools], runs: Sequence[Sequence[Scored]]
) -> dict[str, Any]:
    return {
        f"{budget:g}": {
            "points": summary(names, normal, [one.anomalous for one in run], budget),
            "incidents": summary(names, normal, [one.opened for one in run], budget),
        }
        for budget, run in zip(BUDGETS, runs, strict=True)
    }


def summary(
    names: Sequence[str], normal: Sequence[Bools], alarms: Sequence[Bools], budget: float
) -> dict[str, Any]:
    """How well a budget per point was kept.

    `sources` have their ratio where enough is allowed; `within` is the share of them inside the factor,
    `worst` the ratio furthest from 1, `pooled` the ratio over all points of all sources, short ones too.
    """
    points = np.array([int(one.sum()) for one in normal], np.float64)
    raised = np.array([int((a & b).sum()) for a, b in zip(normal, alarms, strict=True)], np.float64)
    enough = points * budget >= LEAST_ALLOWED
    ratios = raised[enough] / (points[enough] * budget)
    found: dict[str, Any] = {
        "sources": {name: float(r) for name, r in zip(np.array(names)[enough].tolist(), ratios, strict=True)},
        "pooled": float(raised.sum() / (points.sum() * budget)),
    }
    if len(ratios):
        away = np.abs(np.log(np.maximum(ratios, 1e-3)))
        found |= {
            "median": float(np.median(ratios)),
            "within": float(np.mean((ratios >= 1.0 / FACTOR) & (ratios <= FACTOR))),
            "worst": float(ratios[np.argmax(away)]),
        }
    return found
