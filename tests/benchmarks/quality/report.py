"""The document of a run as tables for people: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from tests.benchmarks.quality.bench import OURS
from tests.benchmarks.quality.data import LABELLED
from tests.benchmarks.quality.nab import PROFILES
from tests.benchmarks.quality.peers import JOINS

FIGURES = ("ap", "event_f1")
BEST_PEER = "best peer, each figure its own"


def tables(found: Mapping[str, Any]) -> Iterator[tuple[str, Table]]:
    """A heading and a table for each part that ran."""
    if "nab" in found:
        counts = zip(found["nab"][OURS]["budgets"], found["nab"][OURS]["incidents"], strict=True)
        spoken = ", ".join(f"{count:,} at {budget:.2g}" for budget, count in counts)
        yield f"NAB, 0 to 100 (incidents: {spoken})", _nab(found["nab"])
    if sets := [name for name in LABELLED if name in found.get("sets", {})]:
        yield "Average precision / event F1 at each set's best threshold", _sets(found["sets"], sets)
    if "discords" in found:
        yield "Series whose highest score lies at the changed cycle", _discords(found["discords"])
    if "budget" in found:
        yield "Alarms for each one allowed, sources with at least 10 allowed", _budget(found["budget"])
    if "faults" in found:
        faults = found["faults"]
        yield (
            f"Planted faults found within 10 points of becoming visible: mean {faults['mean']:.3f}, "
            f"least {faults['least']:.3f}, by chance {faults['chance']:.3f}",
            _faults(faults),
        )
    if "first" in found:
        yield (
            "First points of new sources: faults found, and alarms for each one allowed",
            _first(found["first"]),
        )
    if "left_out" in found:
        yield "Each set with the candidate that was chosen on the others", _left_out(found)


def markdown(found: Mapping[str, Any]) -> str:
    """The same as a page has them."""
    parts = []
    for heading, table in tables(found):
        columns = [[_cell(column.header), *map(_cell, column.cells)] for column in table.columns]
        head, *rows = (" | ".join(cells) for cells in zip(*columns, strict=True))
        parts += [f"**{heading}**", "", f"| {head} |", "|" + "---|" * len(columns)]
        parts += [*(f"| {row} |" for row in rows), ""]
    return "\n".join(parts)


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")


def by_peer(found: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[str, Mapping[str, float]]]:
    """Of each peer the way of joining values with the larger sum of figures; "" where there is one value."""
    best: dict[str, tuple[str, Mapping[str, float]]] = {}
    for name, figures in found.items():
        peer, _, how = name.rpartition(", ")
        if how not in JOINS:
            peer, how = name, ""
        if peer not in best or _sum(figures) > _sum(best[peer][1]):
            best[peer] = (how, figures)
    return best


def best_peer(found: Mapping[str, Mapping[str, float]]) -> dict[str, float] | None:
    """The best of each figure over all peers and joins."""
    peers = [figures for name, figures in found.items() if name != OURS]
    return {key: max(one[key] for one in peers) for key in FIGURES} if peers else None


def _sum(figures: Mapping[str, float]) -> float:
    return sum(figures[key] for key in FIGURES)


def _nab(found: Mapping[str, Any]) -> Table:
    """A row a detector; those that know no incidents with NAB's own best threshold."""
    table = _table("detector", *(profile.name for profile in PROFILES), "how")
    profiles = found[OURS]["profiles"]
    budgets = " / ".join(f"{profiles[p.name]['budget']:.2g}" for p in PROFILES)
    for key, how in (
        ("score", f"incidents, best of ten budgets ({budgets})"),
        ("held_out", "incidents, budget chosen on the other half of the files"),
        ("with_threshold", "incidents, best budget and best threshold"),
    ):
        style = "bold" if key == "score" else None
        table.add_row(OURS, *(f"{profiles[p.name][key]:.1f}" for p in PROFILES), how, style=style)
    for name, scores in [(OURS, found[OURS]["points"]), *found.get("peers", {}).items()]:
        table.add_row(name, *(f"{scores[p.name]:.1f}" for p in PROFILES), "points, best threshold")
    return table


def _sets(found: Mapping[str, Any], names: Sequence[str]) -> Table:
    table = _table("detector", *names)
    shown = {name: by_peer(found[name]) for name in names}
    for detector in dict.fromkeys(detector for name in names for detector in shown[name]):
        cells = []
        for name in names:
            how, figures = shown[name].get(detector, ("", None))
            cells.append(_pair(figures) + (f" {how}" if how else ""))
        table.add_row(detector, *cells, style="bold" if detector == OURS else None)
    best = [best_peer(found[name]) for name in names]
    if any(best):
        table.add_section()
        table.add_row(BEST_PEER, *map(_pair, best))
    return table


def _pair(figures: Mapping[str, float] | None) -> str:
    return " / ".join(f"{figures[key]:.3f}" for key in FIGURES) if figures else "-"


def _discords(found: Mapping[str, Any]) -> Table:
    changes = list(found[OURS]["by_change"])
    table = _table("detector", "later half", "from probation", *changes)
    for name, figures in found.items():
        shares = [figures["accuracy"], figures["accuracy_from_probation"]]
        shares += [figures["by_change"][change] for change in changes]
        table.add_row(name, *(f"{share:.2f}" for share in shares), style="bold" if name == OURS else None)
    return table


def _budget(found: Mapping[str, Any]) -> Table:
    table = _table("data", "budget", "as", "sources", "within twice", "median", "furthest", "pooled")
    for place, budgets in found.items():
        for budget, books in budgets.items():
            for book, figures in books.items():
                cells = [_figure(figures.get(key)) for key in ("within", "median", "worst", "pooled")]
                table.add_row(place, budget, book, str(len(figures["sources"])), *cells)
    return table


def _faults(found: Mapping[str, Any]) -> Table:
    kinds = list(dict.fromkeys(kind for shape in found["shapes"].values() for kind in shape["by_kind"]))
    table = _table("shape", "found", "cases", *kinds)
    for shape, figures in found["shapes"].items():
        cells = [_figure(figures["by_kind"].get(kind)) for kind in kinds]
        table.add_row(shape, f"{figures['found']:.3f}", str(figures["cases"]), *cells)
    return table


def _first(found: Mapping[str, Any]) -> Table:
    """A row a fleet: faults by when they began, then alarms as points / incidents by the points' numbers."""
    some = next(iter(found.values()))
    table = _table("fleet", *(f"faults {name}" for name in some["faults"]), *some["false_alarms"])
    for fleet, figures in found.items():
        cells = [_figure(share) for share in figures["faults"].values()]
        cells += [f"{one['points']:.2f} / {one['incidents']:.2f}" for one in figures["false_alarms"].values()]
        table.add_row(fleet, *cells)
    return table


def _left_out(found: Mapping[str, Any]) -> Table:
    table = _table("set", "chosen on the others", "lead", *found["candidates"])
    for name, one in found["left_out"].items():
        cells = [
            _mark(" / ".join(f"{x:.3g}" for x in figures[name].values()), candidate == one["best"])
            for candidate, figures in found["candidates"].items()
        ]
        table.add_row(name, one["chosen"], f"{one['lead']:.3f}", *cells)
    table.caption = "* best on that set itself"
    return table


def _mark(text: str, best: bool) -> str:
    return f"{text} *" if best else text


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(first: str, *columns: str) -> Table:
    table = Table()
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="left" if column == "how" else "right")
    return table
