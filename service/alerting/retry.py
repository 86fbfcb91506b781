"""How long to wait before an alert is tried again, and when to give it up; pure, randomness comes in."""

from __future__ import annotations

from random import Random

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.durations import Duration

RETRY_AFTER_LIMIT_S = 3600.0
"""No destination may silence its channel for longer than this at a time."""


class RetryConfig(BaseModel):
    """Waits grow from `initial` to `maximum`, with full jitter, until the alert is `max_age` old."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    initial: Duration = Field(default=1.0, gt=0, le=3600)
    maximum: Duration = Field(default=300.0, gt=0, le=86_400)
    max_age: Duration = Field(default=86_400.0, gt=0, le=30 * 86_400)

    @model_validator(mode="after")
    def _maximum_is_not_below_initial(self) -> RetryConfig:
        if self.maximum < self.initial:
            raise ValueError(f"maximum ({self.maximum:g} s) is below initial ({self.initial:g} s)")
        return self


def backoff_s(config: RetryConfig, attempts: int, random: Random) -> float:
    """The wait after `attempts` (1 or more) failed ones: anything up to twice the one before.

    Full jitter (the whole interval, not its upper half) spreads the channels of many workers best after a
    common outage.
    """
    ceiling = min(config.maximum, config.initial * 2.0 ** min(attempts - 1, 60))
    return random.uniform(0.0, ceiling)


def clamp_retry_after(seconds: float) -> float:
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT_S)
