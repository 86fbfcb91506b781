"""The settings of features: how much of a source's past is kept, and how it is looked at."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.features import rolling
from service.features.days import read_holidays
from service.features.zones import zone


class LongMemoryConfig(BaseModel):
    """What is kept of a source's whole past; each costs memory of the sources that it is kept of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recurrence_values: int = Field(4, ge=0, le=1024)
    """Sources of up to so many values are asked whether their last points happened before; 0 asks none."""
    joint_values: int = Field(40, ge=0, le=1024)
    """So many of a source's values are judged by how they fit together; 0 judges each alone."""
    signs_of_change: bool = True
    """Whether incidents of sources of one value are judged by seven signs of change, or by scores alone."""
    cohorts: bool = True
    """Whether a new source begins with what is usual among the partition's sources of the same value name."""
    time_zone: str = "UTC"
    """Where the sources' days begin, by its name in the IANA time zone database."""
    holidays: tuple[date, ...] = ()
    """Days that are like a Sunday there: a file with an ISO date on each line, or the dates themselves."""

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        zone(name)
        return name

    @field_validator("holidays", mode="before")
    @classmethod
    def _from_file(cls, given: Any) -> Any:
        return read_holidays(Path(given)) if isinstance(given, str | Path) else given

    @field_validator("holidays")
    @classmethod
    def _in_order(cls, days: tuple[date, ...]) -> tuple[date, ...]:
        return tuple(sorted(set(days)))


class FeatureConfig(LongMemoryConfig):
    """How long a series' memory is and when it is long enough to judge by."""

    window_points: int = Field(128, ge=8, le=rolling.MAX_WINDOW)
    """Values of the rolling statistics (mean, std, median, MAD)."""
    min_history_points: int = Field(30, ge=8)
    """Values that a series must have shown before it is judged; below, its points are skipped."""
    counters: bool = True
    """Whether a value that only grows, but for resets, is judged by its increase per second."""
    ewma_gain: float = Field(0.1, gt=0, le=1)
    """Weight of the newest value in the exponentially weighted mean."""
    long_memory_points: int = Field(20_000, ge=100)
    """Memory of the scales that differences and the smoothed mean are measured by."""

    @model_validator(mode="after")
    def _history_fits_window(self) -> FeatureConfig:
        if self.min_history_points > self.window_points:
            raise ValueError("min_history_points must not exceed window_points")
        return self
