"""`anomalyd explain`: recompute and tell the whole decision on one point, whether it fired or not."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.clock import SystemClock
from service.commands.options import BootstrapOption, ConfigOption, SetOption, settings_of
from service.detectors.model import load as load_model
from service.errors import AnomalydError, ConfigurationError
from service.examination import Search, examined
from service.pipeline import DetectionPipeline
from service.settings import Settings
from service.stream import explaining, topics
from service.stream.snapshots.form import Subject
from service.wire.data_point import InvalidRecord
from service.wire.partitioning import partition_of
from service.wire.reader import RecordBatch, read
from service.wire.timestamps import parse_rfc3339

app = typer.Typer()

_VALUES_SHOWN = 12
_WIDTH = 120  # where it goes to a file


@app.command()
def explain(
    source: Annotated[str, typer.Option(help="The sourceId of the point.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    bootstrap: BootstrapOption = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The point's own time, RFC 3339 or epoch milliseconds."),
    ] = None,
    partition: Annotated[
        int | None, typer.Option(min=0, help="Input partition; default: where the source's key leads.")
    ] = None,
    offset: Annotated[
        int | None, typer.Option(min=0, help="The record's offset in the input, in place of --at.")
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option("--input", exists=True, dir_okay=False, help="NDJSON data points in place of Kafka."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Why a point fired, or which gate held it: every step of its decision, recomputed with its numbers.

    Reads the committed input up to the point, from the newest snapshot before it; changes nothing and may run
    beside the service. With --input it reads a file as `anomalyd score` does.
    """
    settings = settings_of(config, overrides, bootstrap)
    time_ms = _time_of(at, offset)
    if points is not None:
        told, notes = _of_file(settings, points, source, time_ms, offset)
    else:
        told, notes = _of_topic(settings, source, partition, time_ms, offset)
    if told["sourceId"] != source:
        raise AnomalydError(f"the record at offset {told['offset']} is of source {told['sourceId']!r}")
    if as_json:
        sys.stdout.write(json.dumps({**told, "notes": notes}, ensure_ascii=False) + "\n")
    else:
        width = None if sys.stdout.isatty() else _WIDTH
        show(told, notes, Console(soft_wrap=True, highlight=False, width=width))


def _time_of(at: str | None, offset: int | None) -> int:
    if (at is None) == (offset is None):
        raise ConfigurationError(["say which point: either --at or --offset"])
    if at is None:
        return 0
    if at.isdecimal():
        return int(at)
    try:
        return parse_rfc3339(at)
    except ValueError as error:
        raise ConfigurationError([f"--at {at}: neither epoch milliseconds nor RFC 3339: {error}"]) from None


def _maker(settings: Settings) -> Any:
    detection, model = settings.detection, None
    if settings.model.path:
        model = load_model(settings.model.path, detection.ensemble, detection.features)
    return partial(DetectionPipeline, detection, topic=settings.topics.name("data_points"), model=model)


def _of_topic(
    settings: Settings, source: str, partition: int | None, time_ms: int, offset: int | None
) -> tuple[dict[str, Any], list[str]]:
    partitions = topics.verify(settings.kafka, settings.topics)["data_points"]
    topic, make = settings.topics.name("data_points"), _maker(settings)
    identity = topics.identity(settings.kafka, topic)
    subject = Subject(settings.kafka.group_id, topic, identity.id, partitions, make().model_version)
    number = partition if partition is not None else partition_of(source, partitions)
    if number >= partitions:
        raise ConfigurationError([f"--partition {number}: {topic!r} has {partitions} partitions"])
    explained = explaining.explain(
        settings.kafka,
        subject,
        settings.topics.name("snapshots"),
        lambda number, born: make(partition=number, born=born),
        settings.input,
        explaining.Wanted(source, number, time_ms, offset),
    )
    told = {"partition": number, "recomputedFrom": explained.began_at, **explained.insight.as_json()}
    return told, list(explained.notes)


def _of_file(
    settings: Settings, path: Path, source: str, time_ms: int, offset: int | None
) -> tuple[dict[str, Any], list[str]]:
    """As `score` would judge the file; an offset is the number of a line, from 0."""
    number, notes = partition_of(source, settings.topics.partitions), []
    if offset is None:
        search = Search(source, time_ms)
        for records in _lines(path):
            if search.look(read(records, settings.input)):
                break
        if search.offset is None:
            raise AnomalydError(f"{path}: {search.failure}")
        if not search.is_exact:
            notes.append("no point at that time exactly: this is the newest one before it")
        offset = search.offset
    pipeline = _maker(settings)(partition=number)
    mine = (_of_partition(settings, records, number) for records in _lines(path))
    insight = examined(pipeline, mine, offset, settings.input)
    return {"partition": number, "recomputedFrom": 0, **insight.as_json()}, notes


def _lines(path: Path) -> Iterator[RecordBatch]:
    """The lines of a file as records whose offsets are their numbers, from 0."""
    now_ms, number = int(SystemClock().now() * 1000), 0
    with path.open("rb") as file:
        while lines := file.readlines(1 << 20):
            kept = [(number + i, line) for i, line in enumerate(lines) if line.strip()]
            number += len(lines)
            n = len(kept)
            yield RecordBatch(
                [line for _, line in kept],
                [None] * n,
                {},
                np.array([i for i, _ in kept], np.int64),
                np.full(n, now_ms, np.int64),
            )


def _of_partition(settings: Settings, records: RecordBatch, number: int) -> RecordBatch:
    """The records of the sources that this partition of the input topic would have."""
    batch, partitions = read(records, settings.input), settings.topics.partitions
    sources = {
        int(batch.points.points[i]["record"]): batch.points.source_id(i)
        for i in range(len(batch.points.points))
    }
    sources |= {i: o.source_id for i, o in batch.others.items() if not isinstance(o, InvalidRecord)}
    kept = [i for i in sorted(sources) if partition_of(sources[i], partitions) == number]
    return RecordBatch(
        [records.values[i] for i in kept],
        [records.keys[i] for i in kept],
        {place: records.headers[i] for place, i in enumerate(kept) if i in records.headers},
        records.offset[kept],
        records.time_ms[kept],
    )


def show(told: dict[str, Any], notes: list[str], console: Console) -> None:
    """The insight for a person: the verdict first, then where each number came from."""
    place = f"partition {told['partition']}, offset {told['offset']}"
    console.print(Text.assemble((told["sourceId"], "bold"), f" at {told['timestamp']} ({place})"))
    console.print(Text(told["verdict"], style="bold yellow" if told.get("isAnomaly") else "bold"))
    if told.get("explanation"):
        console.print(Text(told["explanation"]))
    console.print(_values(told))
    if "score" in told:
        console.print(_detectors(told))
        console.print(_calibration(told))
    console.print(_gates(told))
    console.print(
        Text(f"model {told['lineage']}, recomputed from offset {told['recomputedFrom']}", style="dim")
    )
    for note in notes:
        console.print(Text(f"note: {note}", style="dim"))


def _table(title: str, *columns: str, header: bool = True) -> Table:
    """Numbers stand to the right; the first column, and without a header the last, are words."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", show_header=header)
    for i, column in enumerate(columns):
        is_word = i == 0 or (not header and i == len(columns) - 1)
        table.add_column(column, justify="left" if is_word else "right", overflow="fold")
    return table


def _values(told: dict[str, Any]) -> Table:
    table = _table(
        "values", "value", "sent", "normal range", "usual", "z", "robust z", "ewma z", "step z", "share"
    )
    ordered = sorted(told["values"], key=lambda value: -value.get("share", 0.0))
    for value in ordered[:_VALUES_SHOWN]:
        usual, features = value.get("expected"), value.get("features", {})
        span = f"{_short(usual['lower'])} to {_short(usual['upper'])}" if usual else "-"
        zs = (features.get(name) for name in ("z_score", "robust_z", "ewma_z", "difference_z"))
        share = f"{value['share']:.0%}" if "share" in value else "-"
        typical = _short(usual["typical"]) if usual else "-"
        table.add_row(value["name"], _short(value["value"]), span, typical, *map(_short, zs), share)
    if (more := len(ordered) - _VALUES_SHOWN) > 0:
        table.add_row(f"and {more} more")
    return table


def _detectors(told: dict[str, Any]) -> Table:
    table = _table("detectors", "detector", "weight", "surprise", "score", "share")
    for each in told["detectors"]:
        share = f"{each['share']:.0%}" if each["weight"] else "shown only"
        table.add_row(
            each["name"], f"{each['weight']:g}", _short(each["surprise"]), _short(each["score"]), share
        )
    return table


def _calibration(told: dict[str, Any]) -> Table:
    table, c, once = (
        _table("how rare (-log10 of the probability)", "", "", "", header=False),
        told["calibration"],
        told["oncePer"],
    )
    table.add_row("all detectors together, beside other sources", _short(told["ensemble"]["surprise"]), "")
    table.add_row(
        "in this source's own past", _short(c["own"]), f"weighs {c['trust']:.0%} after {c['points']:,} points"
    )
    table.add_row(
        "calibrated", _short(c["surprise"]), f"p {c['p']:.2g}, once in {once['points']:,.0f} points"
    )
    sure = told["confidence"]
    if sure["value"] is not None:
        table.add_row(
            "confidence", _short(sure["value"]), f"the source has {sure['points']:,.0f} points of a past"
        )
    table.add_row("budget", _short(-math.log10(c["budget"])), f"p0 {c['budget']:.2g}")
    table.add_row("score", _short(told["score"]), f"an anomaly above {told['threshold']:g}")
    return table


def _gates(told: dict[str, Any]) -> Table:
    table = _table("gates to an incident", "", "", "", header=False)
    for gate in told["gates"]:
        mark = Text("passed", style="green") if gate["passed"] else Text("held", style="bold red")
        table.add_row(gate["gate"], mark, gate["told"])
    return table


def _short(x: float | None) -> str:
    return "-" if x is None else f"{x:.4g}"
