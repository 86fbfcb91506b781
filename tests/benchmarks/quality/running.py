"""Series through the service as `anomalyd score` runs it, in several processes; reads what it publishes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.commands.score import PartitionedScorer
from service.settings import Settings, load
from service.wire.reader import RecordBatch, read
from tests.benchmarks.quality.arrays import Bools, Floats

_CHUNK_RECORDS = 8192
_RECORD_TIME_MS = 4_000_000_000_000
"""Kafka's time of the records, which counts only where a point has none of its own."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is judged: the defaults, a file's settings on top, then overrides as `--set` has them.

    The environment is left out of it.
    """

    file: Path | None = None
    overrides: tuple[str, ...] = ()

    def settings(self) -> Settings:
        """Raises ConfigurationError with every mistake."""
        return load(self.file, environment={}, overrides=self.overrides)

    def with_budget(self, budget: float) -> Configuration:
        return replace(self, overrides=(*self.overrides, f"detection.false_alarms={budget!r}"))


class Stream(Protocol):
    """One source to be scored: a file, or made from a seed."""

    @property
    def name(self) -> str: ...
    def records(self) -> list[bytes]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What was published of n points.

    Attributes:
        score: (n,) NaN where there is none.
        anomalous: (n,) `isAnomaly`.
        opened: (n,) the point opened an incident.
    """

    score: Floats
    anomalous: Bools
    opened: Bools

    @property
    def opening_score(self) -> Floats:
        """The score on points that open an incident, 0 on all others."""
        return np.where(self.opened, np.nan_to_num(self.score), 0.0)


class _Published(msgspec.Struct, rename="camel"):
    score: float | None = None
    is_anomaly: bool = False
    incident: str = ""


_decode = msgspec.json.Decoder(_Published).decode


def results(records: Sequence[bytes], settings: Settings) -> Iterator[bytes]:
    """What `anomalyd score` writes for the records, in their order; nothing for a dead letter."""
    scorer = PartitionedScorer(settings)
    for start in range(0, len(records), _CHUNK_RECORDS):
        values = records[start : start + _CHUNK_RECORDS]
        n = len(values)
        batch = RecordBatch(values, [None] * n, {}, np.arange(start, start + n), np.full(n, _RECORD_TIME_MS))
        yield from scorer.results(read(batch, settings.input))


def scored(records: Sequence[bytes], settings: Settings) -> Scored:
    """The columns of the published results."""
    n = len(records)
    found = Scored(np.full(n, np.nan), np.zeros(n, np.bool_), np.zeros(n, np.bool_))
    for i, result in enumerate(results(records, settings)):
        if not result:
            continue
        published = _decode(result)
        if published.score is not None:
            found.score[i] = published.score
        found.anomalous[i] = published.is_anomaly
        found.opened[i] = published.incident == "opened"
    return found


@dataclass(frozen=True, slots=True)
class Task:
    """One stream under several configurations, so that it is read once."""

    stream: Stream
    configurations: tuple[Configuration, ...]

    def __call__(self) -> list[Scored]:
        records = self.stream.records()
        return [scored(records, configuration.settings()) for configuration in self.configurations]


def run_all(
    tasks: Sequence[Callable[[], Result]], jobs: int, what: str, console: Console | None = None
) -> list[Result]:
    """What the tasks give, in their order; a bar shows how far they are where the console is a terminal."""
    console = console or Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        shown = bar.add_task("", total=len(tasks))
        if jobs == 1:
            return [_done(task, lambda: bar.advance(shown)) for task in tasks]
        found: dict[int, Any] = {}
        # A process of its own from the start: the bar is a thread, and forking beside threads may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            waiting = {pool.submit(task): i for i, task in enumerate(tasks)}
            for future in as_completed(waiting):
                found[waiting[future]] = future.result()
                bar.advance(shown)
        return [found[i] for i in range(len(tasks))]


def _done(task: Callable[[], Result], after: Callable[[], object]) -> Result:
    result = task()
    after()
    return result
