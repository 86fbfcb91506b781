"""`anomalyd feed`: play CSV or NDJSON files into the input topic."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.clock import Clock, SystemClock
from service.commands.feed_files import (
    LABEL_COLUMNS,
    FeedError,
    FeedOptions,
    FeedPoint,
    count_points,
    read_timed_points,
)
from service.commands.options import BootstrapOption, ConfigOption, SetOption, settings_of
from service.errors import AnomalydError, ConfigurationError, TopicsMissingError
from service.settings import Settings
from service.stream import topics
from service.stream.feeding import PointProducer

app = typer.Typer()

_BAR_EVERY = 500


@app.command()
def feed(
    files: Annotated[list[Path], typer.Argument(help="CSV or NDJSON files, also with .gz.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    bootstrap: BootstrapOption = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Points per second; default: as fast as it goes.")
    ] = None,
    speedup: Annotated[
        float | None,
        typer.Option(min=0.001, help="Follow the files' own times, so many times faster; implies --merge."),
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Interleave the files by timestamp.")] = False,
    time_column: Annotated[
        str | None, typer.Option(help="Default: timestamp, datetime, time, date or ts.")
    ] = None,
    timezone: Annotated[str, typer.Option(help="Zone of times without one.")] = "UTC",
    exclude: Annotated[
        list[str] | None, typer.Option(help="Columns that are no values; default: the usual names of labels.")
    ] = None,
) -> None:
    """Send every row as a data point; the source is the sourceId column or the file's name."""
    settings = settings_of(config, overrides, bootstrap)
    options = FeedOptions(
        time_column=time_column,
        exclude=tuple(exclude) if exclude else LABEL_COLUMNS,
        zone=_zone(timezone),
        merge=merge or speedup is not None,
    )
    total = count_points(files, options)
    topic = _topic(settings)
    stderr = Console(stderr=True)
    clock = SystemClock()
    started = clock.monotonic()
    producer = PointProducer(settings.kafka, topic)
    bar = Progress(
        TextColumn("feeding"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
        transient=True,
    )
    sent = 0
    with bar:
        task = bar.add_task("", total=total)
        try:
            for point in paced(read_timed_points(files, options), rate, speedup, clock):
                producer.send(point.source_id, point.body)
                sent += 1
                if sent % _BAR_EVERY == 0 or rate or speedup:
                    bar.update(task, completed=sent)
        except FeedError as error:
            lost = producer.finish()
            raise FeedError(f"{error}; {sent - len(lost)} points before it were sent") from error
        lost = producer.finish()
    if lost:
        raise AnomalydError(f"{len(lost)} of {sent} points were not taken; the first: {lost[0]}")
    seconds = max(clock.monotonic() - started, 1e-9)
    sys.stdout.write(f"{sent} points from {len(files)} files to {topic}, {sent / seconds:,.0f} a second\n")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigurationError([f"--timezone: unknown zone {name!r}"]) from None


def _topic(settings: Settings) -> str:
    """The input topic; without this look a producer waits minutes for a topic or a broker that is not there.

    Raises:
        AnomalydError: it is missing, or no broker answers.
    """
    for state in topics.states(settings.kafka, settings.topics):
        if state.role == "data_points" and not state.partitions:
            raise TopicsMissingError(
                f"topic {state.name!r} is missing on {settings.kafka.bootstrap_servers}; "
                "make it with: anomalyd topics create"
            )
    return settings.topics.name("data_points")


def paced(
    points: Iterator[FeedPoint], rate: float | None, speedup: float | None, clock: Clock
) -> Iterator[FeedPoint]:
    """The points, each held back until it is due."""
    never = threading.Event()
    began = clock.monotonic()
    first_ms: int | None = None
    for i, point in enumerate(points):
        due = 0.0
        if rate:
            due = i / rate
        elif speedup and point.time_ms is not None:
            first_ms = point.time_ms if first_ms is None else first_ms
            due = (point.time_ms - first_ms) / 1000.0 / speedup
        wait = due - (clock.monotonic() - began)
        if wait > 0:
            clock.wait(never, wait)
        yield point
