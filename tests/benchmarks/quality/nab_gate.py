"""NAB on incidents, as people would be paged: the stated budget is the threshold, tried at ten values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from tests.benchmarks.quality import nab
from tests.benchmarks.quality.arrays import Bools, Floats
from tests.benchmarks.quality.bench import Bench
from tests.benchmarks.quality.data import published_scores
from tests.benchmarks.quality.nab import PROFILES, Judged, Profile
from tests.benchmarks.quality.peer_runs import peer_scores

BUDGETS = tuple(float(f"{budget:.4g}") for budget in np.logspace(-4, -2, 10))
SPLITS = 200
PUBLISHED = ("ARTime", "numenta", "contextOSE", "windowedGaussian")
"""Those that the data holds; the first three know a file's smallest and largest value beforehand."""
_SEED = 20150915


def ours(bench: Bench) -> dict[str, Any]:
    """By profile the best of the ten budgets, each of them, and the held-out half's mean.

    `points` are the scores themselves with NAB's own best threshold, no incidents: what detectors that know
    none are judged by.
    """
    judged = [nab.judge(labels) for labels in bench.labels("nab")]
    runs = bench.scored("nab", BUDGETS)
    opening = [[one.opening_score for one in run] for run in runs]
    incidents = [sum(int(one.opened.sum()) for one in run) for run in runs]
    names = [one.name for one in bench.series("nab")]
    (points,) = bench.scored("nab")
    return {
        "budgets": list(BUDGETS),
        "incidents": incidents,
        "profiles": {profile.name: _on_incidents(judged, names, opening, profile) for profile in PROFILES},
        "points": on_points(judged, [one.score for one in points]),
    }


def peers(bench: Bench, python: str | None) -> dict[str, dict[str, float]]:
    """The peers' scores with NAB's own best threshold, and those of the detectors that NAB publishes."""
    series = bench.series("nab")
    judged = [nab.judge(labels) for labels in bench.labels("nab")]
    scores = peer_scores(bench, series, "nab", python)
    for detector in PUBLISHED:
        published = published_scores(bench.folder, detector)
        scores[f"{detector}, published"] = [published[one.name] for one in series]
    return {name: on_points(judged, each) for name, each in scores.items()}


def on_points(judged: Sequence[Judged], scores: Sequence[Floats]) -> dict[str, float]:
    """By profile the score at the best threshold of all."""
    return {
        profile.name: nab.best(nab.gains(judged, scores, profile), judged, profile)[0] for profile in PROFILES
    }


def _on_incidents(
    judged: Sequence[Judged], names: Sequence[str], opening: Sequence[Sequence[Floats]], profile: Profile
) -> dict[str, Any]:
    found = [nab.gains(judged, scores, profile) for scores in opening]
    each = [nab.at_threshold(one, judged, profile, 0.0) for one in found]
    top = int(np.argmax(each))
    gained = np.array([np.bincount(one.series, one.gain, len(judged)) for one in found])
    return {
        "score": each[top],
        "budget": BUDGETS[top],
        "by_budget": each,
        "with_threshold": max(nab.best(one, judged, profile)[0] for one in found),
        "held_out": _held_out(judged, gained, halves(names), profile),
    }


def halves(names: Sequence[str], splits: int = SPLITS) -> list[Bools]:
    """Seeded random halves of the files, each category divided for itself."""
    rng = np.random.default_rng(_SEED)
    category = np.array([PurePosixPath(name).parts[0] for name in names])
    found = []
    for _ in range(splits):
        half = np.zeros(len(names), np.bool_)
        for one in sorted(set(category.tolist())):
            files = rng.permutation(np.flatnonzero(category == one))
            half[files[: (len(files) + int(rng.integers(2))) // 2]] = True
        found.append(half)
    return found


def _held_out(judged: Sequence[Judged], gained: Floats, splits: Sequence[Bools], profile: Profile) -> float:
    """The mean score of the half on which the budget was not chosen; `gained` is (budgets, files)."""
    found = []
    for half in splits:
        for tuned in (half, ~half):
            chosen = int(np.argmax(gained[:, tuned].sum(axis=1)))
            others = [one for one, own in zip(judged, tuned.tolist(), strict=True) if not own]
            found.append(nab.scaled(float(gained[chosen, ~tuned].sum()), others, profile))
    return float(np.mean(found))
