"""What every detector is: a raw oddness per point, a pure `score`, a `learn`, and state that can be saved.

A detector's scoring may depend on what it has learned only through changes that lie at fixed counts of
points. Between two changes `score` is a pure function of the features, so a stretch of points is scored
at once and learned after, and the result is the same for any split of the stream into batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from service.features.engine import FeatureBatch

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


class DetectorConfig(BaseModel):
    """What all detectors have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(1.0, ge=0, le=1000, allow_inf_nan=False)
    """Share in the ensemble, relative to the others'; 0 shows the detector's score without using it."""
    fits_with: ClassVar[str | None] = None
    """A module that only fits need and that takes a second to import."""


class AnomalyDetector(ABC):
    """A raw oddness for every point: non-negative, larger = odder, in the detector's own unit."""

    name: str
    ranked = True
    """Whether the oddness says something only by its rank among the partition's; otherwise it is a surprise,
    -log10 of how rare the point would be in a usual source."""

    @property
    @abstractmethod
    def is_trained(self) -> bool:
        """False until the detector has seen enough to score; it takes no part until then."""

    @property
    def points_to_change(self) -> int | None:
        """After how many more learned points scoring changes; `None` if it never does."""
        return None

    @abstractmethod
    def train(self, vectors: Floats) -> None:
        """Fit on the vectors (n, VECTOR_WIDTH) of past points, all finite, oldest first."""

    def warm(self, vectors: Floats) -> None:
        """Be trained in any way at all, but soon: to have the kernels of scoring compiled."""
        self.train(vectors)

    @abstractmethod
    def score(self, batch: FeatureBatch) -> Floats:
        """Oddness (n,) of the points; NaN where the point has no history. Changes nothing."""

    def learn(self, batch: FeatureBatch) -> None:  # noqa: B027 - most detectors learn nothing of their own
        """Take in points that were scored; at most `points_to_change` of them."""

    def advance(self, batch: FeatureBatch) -> Floats:
        """`score`, NaN while untrained, then `learn`: for detectors where one walk does for both."""
        oddness = self.score(batch) if self.is_trained else np.full(len(batch), np.nan)
        self.learn(batch)
        return oddness

    def run(self, batch: FeatureBatch) -> Floats:
        """Score every point of the batch before it is learned, and learn all: oddness (n,)."""
        oddness = np.empty(len(batch))
        start = 0
        while start < len(batch):
            left = self.points_to_change
            stop = len(batch) if left is None else min(len(batch), start + left)
            oddness[start:stop] = self.advance(batch.part(start, stop))
            start = stop
        return oddness

    def state(self) -> dict[str, Array]:
        """All that future scores depend on, as plain arrays; what was learned per source is not here."""
        return {}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` gave.

        Raises:
            ValueError: the arrays are not those of a detector of this configuration.
        """
        if state:
            raise ValueError(f"{self.name} has no state, got {sorted(state)}")
