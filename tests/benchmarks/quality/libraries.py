"""The peers that are libraries themselves: streamad's SPOT, and river against our vectorised formulas.

Run by an interpreter that has them (`--peers-python`): `python -m tests.benchmarks.quality.libraries IN OUT`
reads series from an .npz file and writes `SPOT` scores of each to another. Without files it says how far our
formulas lie from river's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.benchmarks.quality.arrays import Floats
from tests.benchmarks.quality.peers import gaussian_scorer, standard_absolute_deviation

SPOT = "streamad SPOT"
_SAMPLE_POINTS = 3_000


def spot(x: Floats) -> Floats:
    """SPOT with its defaults (one in 10,000, a window of 50); 0 where it gives nothing."""
    from streamad.model import SpotDetector

    detector = SpotDetector()
    with np.errstate(all="ignore"):
        return np.array([detector.fit_score(np.array([value])) or 0.0 for value in x.tolist()], np.float64)


def distances_from_river() -> dict[str, float]:
    """The largest difference of a score on a sample: noise, a step, a constant stretch, far from 0."""
    from river import anomaly

    rng = np.random.default_rng(1)
    x = 1_000.0 + rng.normal(size=_SAMPLE_POINTS)
    x[1_000:] += 8.0
    x[1_500:1_600] = x[1_500]
    pairs = {
        "StandardAbsoluteDeviation": (anomaly.StandardAbsoluteDeviation(), standard_absolute_deviation(x)),
        "GaussianScorer": (anomaly.GaussianScorer(window_size=1_000), gaussian_scorer(x)),
    }
    found = {}
    for name, (model, ours) in pairs.items():
        theirs = np.zeros_like(x)
        for i, value in enumerate(x.tolist()):
            theirs[i] = model.score_one(None, value)
            model.learn_one(None, value)
        found[name] = float(np.max(np.abs(theirs - ours)[2:]))
    return found


def main(words: Sequence[str]) -> int:
    if len(words) == 2:
        with np.load(words[0]) as given:
            scores: dict[str, Any] = {name: spot(given[name]) for name in given.files}
            np.savez(words[1], **scores)
    else:
        for name, distance in distances_from_river().items():
            sys.stdout.write(f"river {name}: at most {distance:.2g} away\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
