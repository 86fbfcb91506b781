"""What a run says: one document for machines, tables for people; knows figures and no process."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import confluent_kafka
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service import __version__
from service.bench import sizing
from service.bench.cases import WARM_SHARE, Plan
from service.bench.statistics import STEADY_SHARE, Figures
from service.settings import Settings

_SMALLEST = (1_000, 1)


def document(plan: Plan, settings: Settings, cases: Sequence[Figures], load_before: float | None) -> Figures:
    """Everything that one run found, for JSON."""
    base = next((one for one in cases if (one["sources"], one["values"]) == _SMALLEST), None)
    return {
        "machine": machine(load_before),
        "settings": {
            "anomalyd": __version__,
            "rounds": plan.rounds,
            "points": plan.points,
            "warm_share": WARM_SHARE,
            "loads": [{"rate": load.rate, "seconds": load.seconds} for load in plan.loads],
            "max_batch_records": settings.stream.max_batch_records,
            "max_wait_s": settings.stream.max_wait,
            "detection": settings.detection.model_dump(mode="json"),
        },
        "cases": [{**one, "cost_multiple": _multiple(one, base)} for one in cases],
        "model": {"used": asdict(sizing.MEASURED), "fitted": sizing.fitted(cases)},
    }


def machine(load_before: float | None) -> Figures:
    """Where it ran; the load averages tell whether it was alone."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "confluent_kafka": version("confluent-kafka"),
        "librdkafka": confluent_kafka.libversion()[0],
        "numpy": version("numpy"),
        "numba": version("numba"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": load_before,
        "load_after": load_average(),
    }


def load_average() -> float | None:
    """Processes that wanted to run, over the last minute; `None` where the system does not say."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _multiple(case: Figures, base: Figures | None) -> float | None:
    """The cost of a point against the smallest case's."""
    return case["cpu_s_per_million"] / base["cpu_s_per_million"] if base else None


# For people.


def tables(found: Mapping[str, Any]) -> RenderableType:
    """The whole document as tables, and what they stand on."""
    where, settings = found["machine"], found["settings"]
    alone = "" if where["load_before"] is None else f", load {where['load_before']:.1f} before the run"
    head = Text(
        f"{where['cpu']}, {where['cores']} cores{alone}; Python {where['python']}, "
        f"librdkafka {where['librdkafka']}\n"
        f"medians of {settings['rounds']} rounds of {settings['points']:,} points, service and passthrough "
        "in turn; share = passthrough / CPU-s",
        style="dim",
    )
    parts: list[RenderableType] = [
        head,
        _cost(found["cases"]),
        _stages(found["cases"]),
        _model(found["cases"]),
    ]
    if any(case["latency"] for case in found["cases"]):
        parts.append(_latency(found["cases"]))
    return Group(*parts)


def _table(title: str, *headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column("sources x values", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _name(case: Figures) -> str:
    return f"{case['sources']:,} x {case['values']}"


def _cost(cases: Sequence[Figures]) -> Table:
    table = _table(
        "Cost, Kafka to Kafka: CPU-seconds per million points, and points a second",
        "CPU-s", "passthrough", "share", "points/s", "passthrough",
    )  # fmt: skip
    for case in cases:
        steady = case["scored_share"] >= STEADY_SHARE
        table.add_row(
            _name(case) if steady else f"{_name(case)} [yellow]![/]",
            f"[bold]{case['cpu_s_per_million']:.1f}[/]",
            f"{case['passthrough_cpu_s_per_million']:.1f}",
            f"[bold]{case['share_of_passthrough']:.2f}[/]",
            f"{case['points_per_second']:,.0f}",
            f"{case['passthrough_points_per_second']:,.0f}",
        )
    if not all(case["scored_share"] >= STEADY_SHARE for case in cases):
        table.caption = "! many points were not scored, for want of history: no steady state, and too cheap"
        table.caption_justify = "left"
    return table


def _model(cases: Sequence[Figures]) -> Table:
    table = _table(
        "Measured, and in brackets what anomalyd sizing says",
        "CPU-s", "state per source", "peak RSS",
    )  # fmt: skip
    for case in cases:
        model = case["model"]
        cpu = f"{case['cpu_s_per_million']:.1f} [dim]({model['cpu_s_per_million']:.1f})[/]"
        memory = (
            f"{bytes_told(case[name])} [dim]({bytes_told(model[name])})[/]"
            for name in ("state_bytes_per_source", "peak_rss_bytes")
        )
        table.add_row(_name(case), cpu, *memory)
    return table


def _stages(cases: Sequence[Figures]) -> Table:
    names = list(dict.fromkeys(name for case in cases for name in case["stages"]))
    table = _table("Seconds per million points in each stage of the loop", *names)
    for case in cases:
        table.add_row(_name(case), *(f"{case['stages'].get(name, 0.0):.1f}" for name in names))
    return table


def _latency(cases: Sequence[Figures]) -> Table:
    table = _table("Latency, stamped to readable, ms", "points/s", "achieved", "p50", "p99", "p99.9")
    for case in cases:
        for one in case["latency"]:
            achieved = f"{one['achieved_rate']:,.0f}"
            table.add_row(
                _name(case),
                f"{one['rate']:,}",
                achieved if one["valid"] else f"[yellow]{achieved} ![/]",
                *(_ms(one[name]) for name in ("p50_ms", "p99_ms", "p999_ms")),
            )
    if not all(one["valid"] for case in cases for one in case["latency"]):
        table.caption = "! the rate was not kept: these are the times of a queue"
        table.caption_justify = "left"
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def bytes_told(number: float) -> str:
    """A size in decimal units, three digits."""
    units = ["TB", "GB", "MB", "kB", "B"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000.0
        units.pop()
    return f"{number:.0f} {units[-1]}" if number >= 99.5 else f"{number:.3g} {units[-1]}"
