"""Detectors that read one feature: how far the value that is furthest out lies from its own past."""

from __future__ import annotations

from typing import Literal

from service.detectors.base import AnomalyDetector, DetectorConfig, Floats
from service.features.engine import KINDS, FeatureBatch
from service.features.window import Feature


class ZScoreConfig(DetectorConfig):
    """Distance to the rolling mean in rolling standard deviations: spikes and level shifts."""

    type: Literal["zscore"] = "zscore"


class RobustZConfig(DetectorConfig):
    """Distance to the rolling median in scaled MADs (Iglewicz and Hoaglin 1993): spikes in dirty data."""

    type: Literal["robust_z"] = "robust_z"


class EwmaConfig(DetectorConfig):
    """Distance of the exponentially weighted mean to the rolling one (Roberts 1959): drifts and shifts."""

    type: Literal["ewma"] = "ewma"


class DifferenceConfig(DetectorConfig):
    """Size of the last step against the usual step: jumps, however slow the level wanders."""

    type: Literal["difference"] = "difference"


StatisticalConfig = ZScoreConfig | RobustZConfig | EwmaConfig | DifferenceConfig

_FEATURES = {
    "zscore": Feature.Z_SCORE,
    "robust_z": Feature.ROBUST_Z,
    "ewma": Feature.EWMA_Z,
    "difference": Feature.DIFFERENCE_Z,
}


class StatisticalDetector(AnomalyDetector):
    """The largest absolute z of one kind among a point's values; needs no training."""

    def __init__(self, config: StatisticalConfig) -> None:
        self.name = config.type
        self.feature = _FEATURES[config.type]

    @property
    def is_trained(self) -> bool:
        return True

    def train(self, vectors: Floats) -> None:
        """Nothing to fit: every series is measured by its own rolling statistics."""

    def score(self, batch: FeatureBatch) -> Floats:
        return batch.furthest[:, KINDS.index(self.feature)]
