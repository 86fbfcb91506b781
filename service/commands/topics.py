"""`anomalyd topics`: make the service's topics, or look whether they are there."""

from __future__ import annotations

import sys

import typer

from service.commands.options import BootstrapOption, ConfigOption, SetOption, settings_of

app = typer.Typer(no_args_is_help=True, help="Make the service's topics, or look whether they are there.")


@app.command()
def create(
    config: ConfigOption = None, overrides: SetOption = None, bootstrap: BootstrapOption = None
) -> None:
    """Make the topics that are missing; topics that are there are left as they are."""
    from service.stream import topics

    settings = settings_of(config, overrides, bootstrap)
    made = topics.create(settings.kafka, settings.topics)
    for state in topics.states(settings.kafka, settings.topics):
        verb = "made" if state.name in made else "was there"
        sys.stdout.write(f"{state.name}: {state.partitions} partitions, {verb}\n")


@app.command()
def verify(
    config: ConfigOption = None, overrides: SetOption = None, bootstrap: BootstrapOption = None
) -> None:
    """Exit code 1 and the names if topics are missing."""
    from service.stream import topics

    settings = settings_of(config, overrides, bootstrap)
    topics.verify(settings.kafka, settings.topics)
    for state in topics.states(settings.kafka, settings.topics):
        sys.stdout.write(f"{state.name}: {state.partitions} partitions\n")
