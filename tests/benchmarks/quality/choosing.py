"""Leave one set out: what a set's figures are when the configuration was chosen on all the others.

A configuration's merit on a set is the mean of its figures there, each as a share of the best candidate's.
The candidate with the highest mean merit on the other sets is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import ConfigurationError
from tests.benchmarks.quality import discords, labelled, nab_gate
from tests.benchmarks.quality.bench import OURS, Bench
from tests.benchmarks.quality.data import LABELLED
from tests.benchmarks.quality.running import Configuration

SETS = ("nab", *LABELLED, "discords")

Figures = Mapping[str, float]


def candidate(text: str) -> tuple[str, Configuration]:
    """`NAME=FILE.yaml`, `NAME=setting=value,setting=value`, or a bare `NAME` for the defaults.

    Raises:
        ConfigurationError: it is none of these, or what it names is wrong.
    """
    name, _, rest = text.partition("=")
    if not name:
        raise ConfigurationError([f"--candidate {text}: write NAME=FILE.yaml or NAME=setting=value,..."])
    if rest.endswith((".yaml", ".yml")) and "=" not in rest:
        found = Configuration(Path(rest))
    else:
        found = Configuration(overrides=tuple(rest.split(",")) if rest else ())
    found.settings()
    return name, found


def figures(bench: Bench, name: str) -> dict[str, float]:
    """What a configuration is chosen by on a set; higher is better."""
    if name == "nab":
        profiles = nab_gate.ours(bench)["profiles"]
        return {profile: one["score"] for profile, one in profiles.items()}
    if name == "discords":
        return {"accuracy": discords.ours(bench, with_peers=False)[OURS]["accuracy"]}
    found = labelled.ours(bench, name)
    return {key: found[key] for key in ("ap", "event_f1")}


def left_out(found: Mapping[str, Mapping[str, Figures]]) -> dict[str, Any]:
    """By set the candidate that was chosen on the others and its figures; `found` is by candidate and set."""
    sets = list(next(iter(found.values())))
    merits = {name: _merits([one[name] for one in found.values()]) for name in sets}
    document = {}
    for name in sets:
        others = [merits[other] for other in sets if other != name] or [merits[name]]
        chosen = list(found)[int(np.argmax(np.mean(others, axis=0)))]
        best = list(found)[int(np.argmax(merits[name]))]
        document[name] = {"chosen": chosen, "figures": dict(found[chosen][name]), "best": best}
    return document


def _merits(candidates: Sequence[Figures]) -> list[float]:
    """One a candidate, on one set."""
    best = {key: max(max(one[key] for one in candidates), 1e-9) for key in candidates[0]}
    return [float(np.mean([one[key] / best[key] for key in best])) for one in candidates]
