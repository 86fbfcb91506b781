"""Options that several subcommands share, and the settings they give."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.settings import Settings, load

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="ANOMALYD_CONFIG", help="YAML file; every setting has a default."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override one setting: --set detection.threshold=0.9"),
]
BootstrapOption = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", "-b", help="Short for --set kafka.bootstrap_servers=..."),
]


def settings_of(config: Path | None, overrides: list[str] | None, bootstrap: str | None = None) -> Settings:
    """The settings that file, environment and flags give together.

    Raises:
        ConfigurationError: every mistake at once.
    """
    given = list(overrides or [])
    if bootstrap:
        given.append(f"kafka.bootstrap_servers={bootstrap}")
    return load(config, overrides=given)
