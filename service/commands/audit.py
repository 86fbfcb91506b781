"""`anomalyd audit`: hold what was published against the input, from outside."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from service.commands.options import BootstrapOption, ConfigOption, SetOption, settings_of
from service.detectors.model import load as load_model
from service.errors import ConfigurationError
from service.pipeline import DetectionPipeline
from service.settings import Settings
from service.stream.auditing import audit as auditing
from service.stream.auditing.findings import Report
from service.wire.timestamps import parse_rfc3339

app = typer.Typer()


@app.command()
def audit(
    config: ConfigOption = None,
    overrides: SetOption = None,
    bootstrap: BootstrapOption = None,
    group: Annotated[str | None, typer.Option(help="Consumer group; default: kafka.group_id.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="OFFSET|TIME", help="First input record; default: the log's start."),
    ] = None,
    until: Annotated[
        Literal["committed", "now"],
        typer.Option(
            help="Up to where each record must have an answer: what the group has committed, or all."
        ),
    ] = "committed",
    recompute: Annotated[
        bool,
        typer.Option("--recompute", help="Run the input again and compare what comes out, byte by byte."),
    ] = False,
    all_models: Annotated[
        bool, typer.Option("--all-models", help="Compare results of other models than these settings', too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Check that every input record has exactly one result or dead letter, in order, and its anomalies.

    Reads only what is committed, changes nothing, and may run beside the service. Exit code 1 with findings.
    """
    settings = settings_of(config, overrides, bootstrap)
    if group:
        kafka = settings.kafka.model_copy(update={"group_id": group})
        settings = settings.model_copy(update={"kafka": kafka})
    scope = _scope(since, until, settings)
    stderr = Console(stderr=True)
    with _progress(stderr) as progress:
        report = auditing.audit(
            settings.kafka,
            settings.topics,
            settings.publish,
            scope,
            recomputing(settings, all_models=all_models) if recompute or all_models else None,
            progress,
        )
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(), ensure_ascii=False) + "\n")
    else:
        show(report, Console(soft_wrap=True, highlight=False), compared=recompute or all_models)
    if not report.clean:
        raise typer.Exit(1)


def recomputing(settings: Settings, *, all_models: bool = False) -> auditing.Recompute:
    """How to run the input again as a service with these settings does."""
    detection, model = settings.detection, None
    if settings.model.path:
        model = load_model(settings.model.path, detection.ensemble, detection.features)
    topic = settings.topics.name("data_points")
    make = partial(DetectionPipeline, detection, topic=topic, model=model)
    return auditing.Recompute(
        lambda partition, born: make(partition=partition, born=born),
        settings.input,
        make().model_version,
        all_models,
    )


def show(report: Report, console: Console, *, compared: bool) -> None:
    """The report for a person."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{report.topic}, group {report.group}", title_justify="left")
    columns = ["partition", "from", "to", "records", "results", "dead letters", "anomalies"]
    columns += ["compared"] if compared else []
    for column in columns:
        table.add_column(column, justify="right")
    for p in report.partitions:
        cells: list[int] = [p.partition, p.start, p.stop, p.records, p.results, p.dead_letters, p.anomalies]
        cells += [p.compared] if compared else []
        table.add_row(*(f"{cell:,}" for cell in cells))
    console.print(table)
    for note in report.notes:
        console.print(Text(f"note: {note}", style="dim"))
    for kind, count, places in report.findings:
        console.print(Text.assemble((f"{count:,} {kind}", "bold red"), f": {kind.meaning}"))
        for place in places:
            console.print(Text(f"    {place}"))
        if count > len(places):
            console.print(Text(f"    and {count - len(places):,} more", style="dim"))
    if report.clean:
        records = report.total("records")
        console.print(Text.assemble(("clean", "bold green"), f": {records:,} records, one answer each"))


def _scope(since: str | None, until: Literal["committed", "now"], settings: Settings) -> auditing.Scope:
    earliest = settings.stream.start_from == "earliest"
    if since is None:
        return auditing.Scope(until=until, from_earliest=earliest)
    if since.isdecimal():
        return auditing.Scope(int(since), until=until, from_earliest=earliest)
    try:
        time_ms = parse_rfc3339(since)
    except ValueError as error:
        problem = f"--from {since}: neither an offset nor an RFC 3339 time: {error}"
        raise ConfigurationError([problem]) from None
    return auditing.Scope(time_ms, since_is_time=True, until=until, from_earliest=earliest)


@contextmanager
def _progress(stderr: Console) -> Iterator[auditing.Progress]:
    """A bar on a terminal; elsewhere nothing."""
    bar = Progress(
        TextColumn("auditing"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
