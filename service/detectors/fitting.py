"""When a model is fitted, and on which points: at fixed counts, on the newest vectors; no model inside."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from service.detectors.base import Array, DetectorConfig, Floats
from service.features.engine import VECTOR_WIDTH


class FittedConfig(DetectorConfig):
    """A detector whose model is fitted anew now and then on the partition's newest vectors."""

    first_fit_points: int = Field(1024, ge=64, le=10_000_000)
    """Points of the partition after which the first model is fitted."""
    refit_points: int = Field(100_000, ge=64, le=1_000_000_000)
    """Points from one fit to the next; the first few come sooner, at fourfold counts."""
    sample_points: int = Field(8192, ge=64, le=1_000_000)
    """The newest points that a fit learns from."""
    seed: int = Field(1, ge=0)


class FitSchedule:
    """Keeps the newest vectors and says when the next fit is due, counted in points, never in time."""

    def __init__(self, config: FittedConfig) -> None:
        self._config = config
        self._sample = np.zeros((config.sample_points, VECTOR_WIDTH))
        self._kept = 0
        self._learned = 0

    @property
    def points_to_fit(self) -> int:
        every, at = self._config.refit_points, self._config.first_fit_points
        if self._learned < at:
            return at - self._learned
        while at <= self._learned:
            at *= 4
        regular = (self._learned // every + 1) * every
        if self._learned >= every or regular < at:
            at = regular
        return at - self._learned

    def take(self, vectors: Floats) -> bool:
        """Keep the finite ones of at most `points_to_fit` vectors; true if a fit is due after them."""
        due = len(vectors) == self.points_to_fit
        self._learned += len(vectors)
        known = vectors[~np.isnan(vectors[:, 0])]
        self._kept += len(known)
        known = known[-len(self._sample) :]
        places = (self._kept - len(known) + np.arange(len(known))) % len(self._sample)
        self._sample[places] = known
        return due

    def sample(self) -> Floats:
        """The vectors kept, oldest first."""
        if self._kept <= len(self._sample):
            return self._sample[: self._kept].copy()
        return np.roll(self._sample, -(self._kept % len(self._sample)), axis=0)

    def state(self) -> dict[str, Array]:
        return {
            "sample": self._sample[: min(self._kept, len(self._sample))].copy(),
            "counts": np.array([self._kept, self._learned]),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        sample, counts = state.get("sample"), state.get("counts")
        if sample is None or counts is None:
            raise ValueError(f"saved state has no sample, only {sorted(state)}")
        if sample.shape[1:] != self._sample.shape[1:] or len(sample) != min(
            int(counts[0]), len(self._sample)
        ):
            raise ValueError("saved sample is of another configuration")
        self._sample[: len(sample)] = sample
        self._kept, self._learned = (int(n) for n in counts)
