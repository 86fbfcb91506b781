"""`anomalyd bench`: the service on a real broker, beside a passthrough in the same run."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from service.bench import plot as picture
from service.bench import report
from service.bench.cases import Plan, plan
from service.bench.child import Given
from service.bench.measure import Run
from service.bench.statistics import Figures
from service.commands.options import ConfigOption, SetOption
from service.stream.local_broker import LocalBroker

app = typer.Typer()

_STOPPED = 130


@app.command()
def bench(
    config: ConfigOption = None,
    overrides: SetOption = None,
    bootstrap: Annotated[
        str | None,
        typer.Option("--bootstrap-servers", "-b", help="A running Kafka. Default: a local one is started."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two cases, below five minutes.")] = False,
    million: Annotated[bool, typer.Option("--million", help="1,000,000 sources, too.")] = False,
    cases: Annotated[
        str | None, typer.Option(metavar="SxV,...", help="Sources x values, such as 1000x1,100000x4.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of each case.  [default: 5]")] = None,
    points: Annotated[int | None, typer.Option(min=100, help="Points of a round.  [default: 600000]")] = None,
    rates: Annotated[
        str | None,
        typer.Option(
            metavar="N,...", help="Points a second to measure latency at; '' = none.  [default: 5000,50000]"
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.5, help="How long each of these rates.  [default: 8]")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON to standard output, the tables to standard error.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", dir_okay=False, help="Draw it; needs anomalyd[plot].")
    ] = None,
) -> None:
    """Measure cost, latency and memory, Kafka to Kafka, beside a bare passthrough in the same run."""
    asked = plan(
        quick=quick, million=million, cases=cases, rounds=rounds, points=points, rates=rates, seconds=seconds
    )
    if plot is not None:
        picture.available()
    given = Given(str(config) if config else None, tuple(overrides or ()))
    given.settings()  # every mistake before anything is started
    stderr = Console(stderr=True)
    load_before = report.load_average()
    try:
        with _terminable(), _cluster(bootstrap, stderr) as address:
            there = given.but(f"kafka.bootstrap_servers={address}") if address else given
            with _Bar(stderr) as bar:
                found = report.document(asked, there.settings(), _measured(asked, there, bar), load_before)
    except KeyboardInterrupt:
        stderr.print("Stopped; what was started is gone.")
        raise typer.Exit(_STOPPED) from None
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        sys.stdout.flush()
    (stderr if as_json else Console()).print(report.tables(found))
    if plot is not None:
        picture.draw(found, plot)


def _measured(asked: Plan, given: Given, bar: _Bar) -> list[Figures]:
    return Run(asked, given, bar).run()


@contextmanager
def _cluster(bootstrap: str | None, stderr: Console) -> Iterator[str]:
    """The address of a Kafka: the one that is named, or one that is gone afterwards."""
    if bootstrap:
        yield bootstrap
        return
    if stderr.is_terminal:
        with stderr.status("Looking for Apache Kafka") as status:
            broker = LocalBroker(progress=status.update)
            broker.start()
    else:
        broker = LocalBroker()
        broker.start()
    with broker_stopped(broker):
        yield broker.bootstrap_servers


@contextmanager
def broker_stopped(broker: LocalBroker) -> Iterator[None]:
    try:
        yield
    finally:
        broker.stop()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Bar(Progress):
    """What is being done, on a terminal; silent elsewhere."""

    def __init__(self, stderr: Console) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=stderr,
            disable=not stderr.is_terminal,
            transient=True,
        )
        self._now: TaskID | None = None

    def doing(self, what: str, total: int | None = None) -> None:
        if self._now is not None:
            self.remove_task(self._now)
        self._now = self.add_task(what, total=total)

    def done(self, points: int) -> None:
        if self._now is not None:
            self.update(self._now, completed=points)

    def case_done(self, figures: Figures) -> None:
        self.console.print(
            f"{figures['sources']:,} x {figures['values']}: "
            f"{figures['cpu_s_per_million']:.1f} CPU-s per million points, "
            f"a passthrough {figures['passthrough_cpu_s_per_million']:.1f}",
            highlight=False,
        )
