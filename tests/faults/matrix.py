"""The cases by name, and what came of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.table import Table

from service.stream.auditing.findings import Kind, Report
from tests.faults.bed import Bed

Kafka = Literal["one node", "three nodes", "behind a proxy"]
Run = Callable[[Bed], None]

_PROMISED = (Kind.MISSING, Kind.DOUBLE, Kind.REORDERED, Kind.DIFFERING)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of fault; `partitions` where it wants another number of them than the program was told."""

    name: str
    about: str
    run: Run
    kafka: Kafka
    overrides: tuple[str, ...]
    partitions: int | None = None


CASES: dict[str, Case] = {}


def case(
    name: str,
    about: str,
    *,
    kafka: Kafka = "one node",
    overrides: tuple[str, ...] = (),
    partitions: int | None = None,
) -> Callable[[Run], Run]:
    """Register a case under its name."""

    def register(run: Run) -> Run:
        assert name not in CASES, name
        CASES[name] = Case(name, about, run, kafka, overrides, partitions)
        return run

    return register


@dataclass(slots=True)
class Verdict:
    """What came of one case; `wrong` is empty if all is well."""

    case: Case
    seconds: float
    report: Report | None = None
    recoveries: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Everything that is not as it was promised."""
        found = self.report.findings if self.report is not None else ()
        return [*self.problems, *(f"{count:,} {kind}: {places[0]}" for kind, count, places in found)]


def table_of(verdicts: list[Verdict]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Faults", title_justify="left")
    table.add_column("fault")
    for heading in ("times", "recovery p50", "max", "records", "missing", "double", "reordered", "differing"):
        table.add_column(heading, justify="right")
    table.add_column("other", justify="right")
    table.add_column("took", justify="right")
    table.add_column("verdict")
    for verdict in verdicts:
        times, report = verdict.recoveries, verdict.report
        counts = report.counts if report is not None else None
        cells = [
            f"{len(times)}",
            f"{statistics.median(times):.1f} s" if times else "",
            f"{max(times):.1f} s" if times else "",
            f"{report.total('records'):,}" if report is not None else "",
        ]
        for kind in _PROMISED:
            cells.append("" if counts is None else f"{counts[kind]:,}")
        other = "" if counts is None else f"{sum(n for kind, n in counts.items() if kind not in _PROMISED):,}"
        said = "[red]bad[/]" if verdict.wrong else "[green]good[/]"
        table.add_row(verdict.case.name, *cells, other, f"{verdict.seconds:.0f} s", said)
    return table
