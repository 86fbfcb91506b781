"""`anomalyd check-config`: every mistake of a configuration at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from service.commands.options import ConfigOption, SetOption, settings_of

app = typer.Typer()


@app.command()
def check_config(
    file: Annotated[str | None, typer.Argument(help="The YAML file; --config does the same.")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print all settings in force, secrets hidden.")
    ] = False,
) -> None:
    """Read the configuration as `run` would, and name every mistake with its path."""
    settings = settings_of(Path(file) if file else config, overrides)
    if show:
        sys.stdout.write(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    else:
        sys.stdout.write("configuration is good\n")
