"""The `alerting:` part of the configuration, gathered from the pieces' own config classes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from service.alerting.channels.registry import ChannelConfig
from service.alerting.deduplication import DeduplicationConfig
from service.alerting.retry import RetryConfig
from service.alerting.rules import RuleConfig, known_channels

# A name becomes a part of a consumer group, of a record's key (before the slash) and a metric's label.
ChannelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class AlertingConfig(BaseModel):
    """Who is told of which anomalies, and how hard it is tried."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    deduplication: DeduplicationConfig = DeduplicationConfig()
    channels: dict[ChannelName, ChannelConfig] = Field(default_factory=dict)
    rules: list[RuleConfig] = Field(default_factory=list)
    retry: RetryConfig = RetryConfig()
    record_suppressed: bool = True

    @model_validator(mode="wrap")
    @classmethod
    def _rules_know_the_channels(
        cls, data: Any, handler: ModelWrapValidatorHandler[AlertingConfig]
    ) -> AlertingConfig:
        """Let each rule check its channels' names, so that an error carries its own full path."""
        channels = data.get("channels") if isinstance(data, dict) else None
        names = frozenset(map(str, channels)) if isinstance(channels, dict) else frozenset()
        token = known_channels.set(names)
        try:
            return handler(data)
        finally:
            known_channels.reset(token)
