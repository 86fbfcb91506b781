"""`anomalyd upgrade`: begin a new history where settings, program or topic have changed."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from service.commands.options import BootstrapOption, ConfigOption, SetOption, settings_of
from service.detectors.model import load as load_model
from service.pipeline import DetectionPipeline
from service.stream import topics
from service.stream.snapshots.form import Subject
from service.stream.upgrading import Upgraded
from service.stream.upgrading import upgrade as upgraded

app = typer.Typer()


@app.command()
def upgrade(
    config: ConfigOption = None,
    overrides: SetOption = None,
    bootstrap: BootstrapOption = None,
    warm_up: Annotated[
        int,
        typer.Option(min=0, help="Records of each partition, before where it goes on, that it learns first."),
    ] = 500_000,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also where there is a history of these settings already.")
    ] = False,
) -> None:
    """Begin a new history of every partition that has none of these settings, this program and this topic.

    The service refuses to go on with a history that was learned otherwise. This says where the new one
    begins; what was published stays, and later results carry the new name in their header x-model.
    """
    settings = settings_of(config, overrides, bootstrap)
    partitions = topics.verify(settings.kafka, settings.topics)["data_points"]
    detection, topic = settings.detection, settings.topics.name("data_points")
    model = None
    if settings.model.path:
        model = load_model(settings.model.path, detection.ensemble, detection.features)

    def make(partition: int, born: int) -> DetectionPipeline:
        return DetectionPipeline(detection, topic=topic, partition=partition, model=model, born=born)

    name = make(0, 0).model_version
    identity = topics.identity(settings.kafka, topic)
    done = upgraded(
        settings.kafka,
        Subject(settings.kafka.group_id, topic, identity.id, partitions, name),
        settings.topics.name("snapshots"),
        make,
        warm_up=warm_up,
        from_earliest=settings.stream.start_from == "earliest",
        anyway=anyway,
        now_ms=int(time.time() * 1000),
    )
    _show(done, name, f"{topic}, group {settings.kafka.group_id}")


def _show(done: list[Upgraded], model: str, title: str) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in ("partition", "group stood at", "goes on at", "model before", "new history from"):
        table.add_column(column, justify="right")
    for each in done:
        stood = f"{each.committed:,}" if each.committed >= 0 else "no offset"
        born = f"{each.born:,}" if each.born is not None else "has one"
        table.add_row(f"{each.partition}", stood, f"{each.stands:,}", each.before or "none", born)
    console.print(table)
    new = sum(each.born is not None for each in done)
    console.print(f"model {model}: {new} of {len(done)} partitions begin a new history at the next start")
