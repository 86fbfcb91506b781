"""`anomalyd run`: the service."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from service import app as composition
from service import logs
from service.commands.options import BootstrapOption, ConfigOption, SetOption, settings_of

app = typer.Typer()


@app.command()
def run(
    config: ConfigOption = None,
    overrides: SetOption = None,
    bootstrap: BootstrapOption = None,
    only: Annotated[
        Literal["detection", "alerting"] | None, typer.Option(help="Run one half of the service only.")
    ] = None,
) -> None:
    """Detect anomalies on the input topic and tell the channels, until stopped."""
    settings = settings_of(config, overrides, bootstrap)
    as_json = None if settings.log.format == "auto" else settings.log.format == "json"
    logs.configure(settings.log.level, json=as_json)
    service = composition.Service(settings, only=only)
    with composition.stopped_by_signals(service):
        service.run()
