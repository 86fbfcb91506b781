"""The settings of snapshots."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from service.durations import Duration


class SnapshotsConfig(BaseModel):
    """How often a partition's state is saved, and so how much of the input a restart runs through again."""

    every: Duration = 60.0
    """Longest time between two snapshots of a partition that goes on; small ones come sooner."""
    every_records: int = Field(500_000, ge=1, le=1_000_000_000)
    """Records between two, if they come faster than that."""
    longest_replay: Duration = 5.0
    """Time that deciding on the records since the last one may have taken: as long takes deciding again."""
    writing_share: float = Field(0.03, gt=0.0, le=1.0)
    """Most of the time in which one may be written: where states are large this rules over the others."""
    cache: Path | None = None
    """A folder for copies of the newest ones; a restart on the same machine then reads them from there."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
