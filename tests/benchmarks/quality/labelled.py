"""Average precision and event F1 of one detector on one set with a label per point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.quality.arrays import Floats
from tests.benchmarks.quality.bench import Bench
from tests.benchmarks.quality.data import Labels
from tests.benchmarks.quality.events import event_f1, mean_average_precision
from tests.benchmarks.quality.peer_runs import peer_scores


def figures(labels: Sequence[Labels], scores: Sequence[Floats]) -> dict[str, Any]:
    """Both figures; `threshold` is the score from which on a point was an alarm for the F1."""
    pairs = list(zip(labels, scores, strict=True))
    events = event_f1(pairs)
    return {
        "ap": mean_average_precision(pairs),
        "event_f1": events.f1,
        "threshold": events.threshold,
        "events": events.events,
        "hits": events.hits,
        "false_alarms": events.false_alarms,
    }


def ours(bench: Bench, name: str) -> dict[str, Any]:
    """The figures of the configuration that is judged."""
    (scored,) = bench.scored(name)
    return figures(bench.labels(name), [one.score for one in scored])


def peers(bench: Bench, name: str, python: str | None) -> dict[str, dict[str, Any]]:
    """The figures of every peer on a set."""
    scores = peer_scores(bench, bench.series(name), name, python)
    return {peer: figures(bench.labels(name), each) for peer, each in scores.items()}
