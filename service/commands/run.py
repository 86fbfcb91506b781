"""`anomalyd run`: the service, in this process or in several under a supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service import app as composition
from service import logs
from service.commands.options import BootstrapOption, ConfigOption, SetOption, settings_of
from service.settings import Settings
from service.stopping import stopped_by_signals

if TYPE_CHECKING:
    from service.workers.supervisor import Supervisor

app = typer.Typer()


@app.command()
def run(
    config: ConfigOption = None,
    overrides: SetOption = None,
    bootstrap: BootstrapOption = None,
    only: Annotated[
        Literal["detection", "alerting"] | None, typer.Option(help="Run one half of the service only.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, envvar="ANOMALYD_WORKERS", help="Processes that share the partitions; about one core each."
        ),
    ] = 1,
) -> None:
    """Detect anomalies on the input topic and tell the channels, until stopped."""
    settings = settings_of(config, overrides, bootstrap)
    logs.configure(settings.log.level, json=settings.log.as_json)
    service = (
        composition.Service(settings, only=only) if workers == 1 else _supervisor(settings, workers, only)
    )
    with stopped_by_signals(service):
        service.run()


def _supervisor(settings: Settings, workers: int, only: composition.Only | None) -> Supervisor:
    """Imported only here: a process that works itself does not wait for the supervisor's HTTP client."""
    from service.workers.supervisor import Supervisor

    return Supervisor(settings, workers, only=only)
