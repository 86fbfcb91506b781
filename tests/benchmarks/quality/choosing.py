"""Leave one set out: what a set's figures are when the configuration was chosen on all the others.

A configuration's merit on a set is the mean of its figures there, each as a share of the best candidate's.
The candidate with the highest mean merit on the other sets is chosen. A candidate is a configuration, or the
document that an earlier run of one has left, for a run of everything takes long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import ConfigurationError
from tests.benchmarks.quality import discords, labelled, nab_gate
from tests.benchmarks.quality.arrays import Floats
from tests.benchmarks.quality.bench import OURS, Bench
from tests.benchmarks.quality.data import LABELLED
from tests.benchmarks.quality.running import Configuration

SETS = ("nab", *LABELLED, "discords")

Figures = Mapping[str, float]
Document = Mapping[str, Any]


def candidate(text: str) -> tuple[str, Configuration | Document]:
    """`NAME=FILE.yaml`, `NAME=setting=value,setting=value`, or a bare `NAME` for the defaults.

    `NAME=FILE.json` is what runs have written (`--json`), several of one configuration with a comma between.

    Raises:
        ConfigurationError: it is none of these, or what it names is wrong.
    """
    name, _, rest = text.partition("=")
    if not name:
        raise ConfigurationError([f"--candidate {text}: write NAME=FILE.yaml or NAME=setting=value,..."])
    if rest.endswith(".json") and "=" not in rest:
        return name, _written(rest.split(","))
    if rest.endswith((".yaml", ".yml")) and "=" not in rest:
        found = Configuration(Path(rest))
    else:
        found = Configuration(overrides=tuple(rest.split(",")) if rest else ())
    found.settings()
    return name, found


def _written(files: Sequence[str]) -> Document:
    """The figures of several runs, as if it had been one."""
    document: dict[str, Any] = {"sets": {}}
    for file in files:
        try:
            one = json.loads(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError([f"{file}: {error}"]) from None
        document |= {**one, "sets": {**document["sets"], **one.get("sets", {})}}
    return document


def figures(bench: Bench, name: str) -> dict[str, float]:
    """What a configuration is chosen by on a set; higher is better."""
    if name == "nab":
        return figures_in({"nab": {OURS: nab_gate.ours(bench)}}, name)
    if name == "discords":
        return figures_in({"discords": discords.ours(bench, with_peers=False)}, name)
    return figures_in({"sets": {name: {OURS: labelled.ours(bench, name)}}}, name)


def figures_in(document: Document, name: str) -> dict[str, float]:
    """The same, of what a run has written.

    Raises:
        ConfigurationError: the set was not run.
    """
    try:
        if name == "nab":
            return {profile: one["score"] for profile, one in document["nab"][OURS]["profiles"].items()}
        if name == "discords":
            return {"accuracy": document["discords"][OURS]["accuracy"]}
        return {key: document["sets"][name][OURS][key] for key in ("ap", "event_f1")}
    except KeyError:
        raise ConfigurationError([f"a candidate's run has no figures of {name}"]) from None


def left_out(found: Mapping[str, Mapping[str, Figures]]) -> dict[str, Any]:
    """By set the candidate that was chosen on the others and its figures; `found` is by candidate and set."""
    sets = list(next(iter(found.values())))
    merits = {name: _merits([one[name] for one in found.values()]) for name in sets}
    document = {}
    for name in sets:
        others = [merits[other] for other in sets if other != name] or [merits[name]]
        chosen = list(found)[int(np.argmax(np.mean(others, axis=0)))]
        best = list(found)[int(np.argmax(merits[name]))]
        lead = _lead(np.mean(others, axis=0))
        document[name] = {
            "chosen": chosen, "lead": lead, "figures": dict(found[chosen][name]), "best": best
        }  # fmt: skip
    return document


def _lead(merits: Floats) -> float:
    """By how much the best one leads the next."""
    *_, second, first = np.sort(merits).tolist()
    return float(first - second)


def _merits(candidates: Sequence[Figures]) -> list[float]:
    """One a candidate, on one set."""
    best = {key: max(max(one[key] for one in candidates), 1e-9) for key in candidates[0]}
    return [float(np.mean([one[key] / best[key] for key in best])) for one in candidates]
