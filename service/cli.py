"""The `anomalyd` command: names its subcommands and turns errors into messages and exit codes.

Each subcommand is imported when it is called, so that `check-config` does not wait for a compiler.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterable
from typing import Any

import typer

from service import __version__
from service.errors import AnomalydError, ConfigurationError

# Name of the subcommand, and the module of service.commands whose `command` it is.
_COMMANDS = {
    "run": "run",
    "demo": "demo",
    "broker": "broker",
    "feed": "feed",
    "feedback": "feedback",
    "score": "score",
    "explain": "explain",
    "train": "train",
    "check-config": "check_config",
    "topics": "topics",
    "upgrade": "upgrade",
    "audit": "audit",
    "send-test": "send_test",
    "bench": "bench",
    "sizing": "sizing",
}

_USAGE = "Streaming anomaly detection on Kafka: from topic to explained alert."


def _imported(name: str) -> Any:
    """The module, without looking for garbage meanwhile: there is none, and that took a sixth of the time."""
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


class _LazyGroup(typer.core.TyperGroup):
    """Subcommands by name, each module imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module = _imported(f"service.commands.{_COMMANDS[cmd_name]}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="anomalyd",
    cls=_LazyGroup,
    help=_USAGE,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"anomalyd {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Say it and end."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except ConfigurationError as error:
        _complain(error.problems)
        sys.exit(2)
    except AnomalydError as error:
        _complain([str(error)])
        sys.exit(1)


def _complain(problems: Iterable[str]) -> None:
    """Each as it is: no markup and no emoji are read into it."""
    from rich.console import Console  # a service that has nothing to complain of does without
    from rich.text import Text

    stderr = Console(stderr=True, highlight=False, soft_wrap=True)
    for problem in problems:
        stderr.print(Text.assemble(("error:", "bold red"), " ", problem))
