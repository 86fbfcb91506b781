"""Every channel that there is: one line each in the union of configs; a config makes its own channel."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from service.alerting.channels.base import AlertChannel
from service.alerting.channels.email import EmailConfig
from service.alerting.channels.slack import SlackConfig
from service.alerting.channels.terminal import TerminalConfig
from service.alerting.channels.webhook import WebhookConfig
from service.clock import Clock, SystemClock

ChannelConfig = Annotated[
    SlackConfig  # a message in a Slack channel
    | EmailConfig  # a mail over SMTP
    | WebhookConfig  # the record, posted as JSON
    | TerminalConfig,  # a block on the terminal
    Field(discriminator="type"),
]


def make_channel(name: str, config: ChannelConfig, clock: Clock | None = None) -> AlertChannel:
    """The channel called `name`; its library is imported here, not before."""
    return config.make(name, clock or SystemClock())
