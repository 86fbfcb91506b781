"""The arithmetic of the benchmark: samples to figures, rounds to medians; knows no process and no clock."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

STEADY_SHARE = 0.99
"""Of a case's points, how many must be scored for it to tell of a steady state."""

Figures = dict[str, Any]
Metric = tuple[str, Mapping[str, str], float]
"""Name, labels and value of a sample."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at one moment: points committed since it began, wall time, CPU time of all its threads."""

    points: int
    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """What a process did between two samples."""

    points: int
    seconds: float
    points_per_second: float
    cpu_s_per_million: float

    @classmethod
    def between(cls, start: Sample, end: Sample) -> Throughput:
        points = end.points - start.points
        seconds = end.wall_s - start.wall_s
        if points <= 0 or seconds <= 0:
            raise ValueError(f"nothing happened between {start} and {end}")
        return cls(points, seconds, points / seconds, (end.cpu_s - start.cpu_s) / points * 1e6)

    def figures(self) -> Figures:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ServiceCounts:
    """What the service's own metrics say at one moment: points, scored ones, seconds of stages, snapshots."""

    points: float
    scored: float
    stage_s: Mapping[str, float]
    snapshots: float

    @classmethod
    def of(cls, metrics: Iterable[Metric]) -> ServiceCounts:
        points = scored = snapshots = 0.0
        stage_s = {}
        for name, labels, value in metrics:
            if name == "anomalyd_stage_duration_seconds_sum":
                stage_s[labels["stage"]] = value
            elif name == "anomalyd_points_total":
                points += value
                scored += value if labels["status"] == "scored" else 0.0
            elif name == "anomalyd_snapshots_total":
                snapshots += value if labels["outcome"] == "written" else 0.0
        return cls(points, scored, stage_s, snapshots)

    def stages_since(self, earlier: ServiceCounts) -> dict[str, float]:
        """Seconds of each stage per million points, by the wall clock."""
        points = self.points - earlier.points
        return {
            name: (seconds - earlier.stage_s.get(name, 0.0)) / points * 1e6
            for name, seconds in self.stage_s.items()
        }

    def scored_share_since(self, earlier: ServiceCounts) -> float:
        """Of the points, those that were judged; the others cost less and are no steady state."""
        return (self.scored - earlier.scored) / (self.points - earlier.points)


def median(rounds: Iterable[Mapping[str, Any]], figure: str) -> float:
    """The median of one figure over the rounds."""
    return float(statistics.median(one[figure] for one in rounds))


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure that all rounds have."""
    return {name: median(rounds, name) for name in rounds[0] if all(name in one for one in rounds)}


def case_figures(rounds: Sequence[Mapping[str, Any]]) -> Figures:
    """The figures of a case from its rounds of {"service": ..., "passthrough": ...}."""
    service = [one["service"] for one in rounds]
    passthrough = [one["passthrough"] for one in rounds]
    cpu, passthrough_cpu = median(service, "cpu_s_per_million"), median(passthrough, "cpu_s_per_million")
    return {
        "points_per_second": median(service, "points_per_second"),
        "cpu_s_per_million": cpu,
        "passthrough_cpu_s_per_million": passthrough_cpu,
        "passthrough_points_per_second": median(passthrough, "points_per_second"),
        "share_of_passthrough": passthrough_cpu / cpu if cpu else None,
        "state_bytes_per_source": median(service, "state_bytes_per_source"),
        "peak_rss_bytes": max(one["peak_rss_bytes"] for one in service),
        "stages": medians([one["stages"] for one in service]),
        "scored_share": min(one["scored_share"] for one in service),
    }


def latency_figures(
    sent_ms: npt.NDArray[np.float64],
    read_ms: npt.NDArray[np.float64],
    *,
    rate: int,
    start_ms: float,
    end_ms: float,
    sent_per_second: float,
    every: int = 1,
) -> Figures:
    """Quantiles over the points sent in a stretch of time, of which each `every`-th was looked at.

    `achieved_rate` is how many results became readable per second of that stretch. The figures count
    (`valid`) only where both the sender and the service kept the rate: otherwise they show a queue.
    """
    seconds = (end_ms - start_ms) / 1000.0
    meant = (sent_ms >= start_ms) & (sent_ms < end_ms)
    achieved = float(((read_ms >= start_ms) & (read_ms < end_ms)).sum()) * every / seconds
    latency = (read_ms - sent_ms)[meant]
    figures: Figures = {
        "rate": rate,
        "p50_ms": None,
        "p99_ms": None,
        "p999_ms": None,
        "achieved_rate": achieved,
        "sent_rate": sent_per_second,
        "samples": len(latency),
        "valid": min(achieved, sent_per_second) >= 0.97 * rate,
    }
    if len(latency):
        p50, p99, p999 = np.quantile(latency, [0.5, 0.99, 0.999]).tolist()
        figures |= {"p50_ms": p50, "p99_ms": p99, "p999_ms": p999}
    return figures
