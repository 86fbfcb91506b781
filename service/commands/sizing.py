"""`anomalyd sizing`: how much machine a load needs, before there is one."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from service.bench import sizing as model
from service.bench.report import bytes_told
from service.commands.options import ConfigOption, SetOption, settings_of

app = typer.Typer()


@app.command()
def sizing(
    sources: Annotated[int, typer.Option(min=1, help="Sources with history in memory.")],
    rate: Annotated[float, typer.Option(min=0.001, help="Points a second, of all sources together.")],
    values: Annotated[int, typer.Option(min=1, max=65_536, help="Values of a point.")] = 1,
    window: Annotated[
        int | None,
        typer.Option(min=8, help="Short for --set detection.features.window_points=...  [default: 128]"),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Memory, cores, workers, partitions and network for a load, from a model checked by `anomalyd bench`."""
    given = list(overrides or [])
    if window is not None:
        given.append(f"detection.features.window_points={window}")
    settings = settings_of(config, given)
    needed = model.size(model.Demand(sources, rate, values), settings.detection)
    if as_json:
        sys.stdout.write(json.dumps(needed.figures(), indent=2) + "\n")
        return
    Console(highlight=False).print(_table(needed))


def _table(needed: model.Sizing) -> Table:
    measured = model.MEASURED
    table = Table(
        box=box.SIMPLE,
        show_header=False,
        caption=f"CPU as measured on {measured.date}: {measured.machine}. anomalyd bench measures yours.",
        caption_justify="left",
    )
    workers = "worker" if needed.workers == 1 else "workers"
    for name, amount, why in (
        ("workers", f"{needed.workers}", "each with its own worker.id, busy to 60 % at most"),
        ("cores", f"{needed.cores:.1f}", f"{needed.cpu_us_per_point:.1f} µs of CPU a point, and headroom"),
        (
            "partitions",
            f"{needed.partitions}",
            "for twice as many workers, and few sources in each",
        ),
        (
            "memory",
            bytes_told(needed.rss_bytes),
            f"{bytes_told(needed.worker_rss_bytes)} for each of {needed.workers} {workers}",
        ),
        (
            "state",
            bytes_told(needed.state_bytes),
            f"{needed.state_bytes_per_source:,.0f} B a source; a worker that takes over needs it all",
        ),
        ("snapshots", bytes_told(needed.snapshot_bytes), "one of every source"),
        ("network in", f"{bytes_told(needed.network_in_bytes_per_second)}/s", "data points, lz4"),
        ("network out", f"{bytes_told(needed.network_out_bytes_per_second)}/s", "results, lz4"),
    ):
        table.add_row(name, f"[bold]{amount}[/]", f"[dim]{why}[/]")
    return table
