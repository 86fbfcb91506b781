"""Runs to medians, to a table, to JSON: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.table import Table

from tests.benchmarks.peers.jobs import ANOMALYD, PASSTHROUGH, Job
from tests.benchmarks.peers.measuring import Measured


@dataclass(slots=True)
class Report:
    """All runs of a benchmark, in the order in which the peers are listed; `about` says on what it ran."""

    jobs: Sequence[Job]
    about: Mapping[str, Any]
    runs: dict[str, list[Measured]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Why a peer has no figures, or fewer than the others."""

    def add(self, name: str, run: Measured) -> None:
        self.runs.setdefault(name, []).append(run)

    def cpu(self, name: str) -> float | None:
        """The median CPU-seconds per million points; None for a peer that did not run."""
        runs = self.runs.get(name)
        return median(run.cpu_s_per_million for run in runs) if runs else None

    def to_json(self) -> dict[str, Any]:
        return {**self.about, "jobs": [self._job(job) for job in self._ran], "missing": self.missing}

    def table(self) -> Table:
        """A row per peer; CPU-seconds with the least and the most of the rounds behind them."""
        table = Table(title="CPU-seconds of the process per million points, medians")
        table.add_column("job")
        for column in ("points/s", "CPU-s per million", "of the passthrough", "times anomalyd", "bytes out"):
            table.add_column(column, justify="right")
        for job in self._ran:
            table.add_row(*self._row(job))
        return table

    @property
    def _ran(self) -> list[Job]:
        return [job for job in self.jobs if job.name in self.runs]

    def _job(self, job: Job) -> dict[str, Any]:
        runs = self.runs[job.name]
        cpu = self.cpu(job.name)
        return {
            "name": job.name,
            "what": job.what,
            "points": job.points,
            "measured_from": job.measured_from,
            "points_per_s": median(run.points_per_s for run in runs),
            "cpu_s_per_million": cpu,
            "of_passthrough": _ratio(self.cpu(PASSTHROUGH), cpu),
            "times_anomalyd": _ratio(cpu, self.cpu(ANOMALYD)),
            "result_bytes": round(median(run.result_bytes for run in runs)),
            "memory_mb": median(run.memory_mb for run in runs),
            "runs": [asdict(run) for run in runs],
        }

    def _row(self, job: Job) -> list[str]:
        found = self._job(job)
        each = [run["cpu_s_per_million"] for run in found["runs"]]
        spread = f" ({_figure(min(each))} to {_figure(max(each))})" if len(each) > 1 else ""
        return [
            f"{job.name}: {job.what}",
            _figure(found["points_per_s"]),
            f"{_figure(found['cpu_s_per_million'])}{spread}",
            _figure(found["of_passthrough"]),
            _figure(found["times_anomalyd"]),
            str(found["result_bytes"]),
        ]


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _figure(value: float | None) -> str:
    """Three digits that count, no exponent; a dash for None."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}" if abs(value) < 1 else f"{value:.2f}"
