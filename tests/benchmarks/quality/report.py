"""The document of a run as tables for people: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from tests.benchmarks.quality.data import LABELLED
from tests.benchmarks.quality.nab import PROFILES

OURS = "anomalyd"


def tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """One table for each part that ran."""
    if "nab" in found:
        yield _nab(found["nab"])
    if sets := [name for name in LABELLED if name in found.get("sets", {})]:
        yield _sets(found["sets"], sets)


def _nab(found: Mapping[str, Any]) -> Table:
    """A row a detector; those that know no incidents with NAB's own best threshold."""
    table = _table("NAB", "detector", *(profile.name for profile in PROFILES), "how")
    profiles = found[OURS]["profiles"]
    for key, how in (
        ("score", "incidents, best of ten budgets"),
        ("held_out", "incidents, budget chosen on the other half"),
        ("with_threshold", "incidents, best budget and threshold"),
    ):
        table.add_row(OURS, *(f"{profiles[p.name][key]:.1f}" for p in PROFILES), how)
    budgets = " / ".join(f"{profiles[p.name]['budget']:.2g}" for p in PROFILES)
    table.rows[0].style = "bold"
    table.caption = f"best budgets {budgets}; incidents {_range(found[OURS])}"
    for name, scores in [(OURS, found[OURS]["points"]), *found.get("peers", {}).items()]:
        table.add_row(name, *(f"{scores[p.name]:.1f}" for p in PROFILES), "points, best threshold")
    return table


def _range(ours: Mapping[str, Any]) -> str:
    counts = ours["incidents"]
    return ", ".join(f"{b:.2g}: {n:,}" for b, n in zip(ours["budgets"], counts, strict=True))


def _sets(found: Mapping[str, Any], names: list[str]) -> Table:
    table = _table("Average precision / event F1 at the best threshold of each set", "detector", *names)
    detectors = dict.fromkeys(detector for name in names for detector in found[name])
    for detector in detectors:
        cells = [found[name].get(detector) for name in names]
        table.add_row(
            detector,
            *("-" if one is None else f"{one['ap']:.3f} / {one['event_f1']:.3f}" for one in cells),
            style="bold" if detector == OURS else None,
        )
    return table


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
