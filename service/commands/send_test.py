"""`anomalyd send-test`: one harmless alert through one channel."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from service.alerting.channels.base import ChannelError
from service.alerting.service import send_test as send
from service.clock import SystemClock
from service.commands.options import ConfigOption, SetOption, settings_of
from service.errors import AnomalydError

app = typer.Typer()


@app.command()
def send_test(
    channel: Annotated[str, typer.Argument(help="Name of the channel under alerting.channels.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Send one test alert through a channel, past all rules, and say how it went."""
    settings = settings_of(config, overrides)
    try:
        send(settings.alerting, channel, SystemClock())
    except ChannelError as error:
        raise AnomalydError(f"channel {channel!r}: {error}") from error
    sys.stdout.write(f"channel {channel!r} took the test alert\n")
