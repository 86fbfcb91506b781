"""The detector of long memory: how far a point lies from its source's whole past, on several scales."""

from __future__ import annotations

from typing import Literal

import numpy as np

from service.detectors.base import AnomalyDetector, DetectorConfig, Floats
from service.detectors.calibration import reference_of
from service.features.engine import FeatureBatch
from service.kernels import kernel


class DeviationConfig(DetectorConfig):
    """Steps, levels, drifts, broken rhythms and broken correlations, each in units of its own past size."""

    type: Literal["deviation"] = "deviation"


@kernel
def _references(oddness: Floats, out: Floats) -> None:
    for point in range(oddness.shape[0]):
        out[point] = reference_of(oddness[point])


class DeviationDetector(AnomalyDetector):
    """The point's oddness as a surprise: its unit is the same for every source, so it needs no ranking."""

    ranked = False

    def __init__(self, config: DeviationConfig) -> None:
        self.name = config.type

    @property
    def is_trained(self) -> bool:
        return True

    def train(self, vectors: Floats) -> None:
        """Nothing to fit: every source is measured by its own long memory."""

    def score(self, batch: FeatureBatch) -> Floats:
        out = np.empty(len(batch))
        _references(batch.oddness, out)
        return out
