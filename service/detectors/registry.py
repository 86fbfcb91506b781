"""Every detector that a configuration can name, and how one is made; the line to add for a new one."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.detectors.autoencoder import AutoencoderConfig, AutoencoderDetector
from service.detectors.base import AnomalyDetector
from service.detectors.deviation import DeviationConfig, DeviationDetector
from service.detectors.ensemble import EnsembleDetector, Strategy
from service.detectors.half_space_trees import HalfSpaceTreesConfig, HalfSpaceTreesDetector
from service.detectors.isolation_forest import IsolationForestConfig, IsolationForestDetector
from service.detectors.statistical import (
    DifferenceConfig,
    EwmaConfig,
    RobustZConfig,
    StatisticalDetector,
    ZScoreConfig,
)

AnyDetectorConfig = Annotated[
    DeviationConfig
    | ZScoreConfig
    | RobustZConfig
    | EwmaConfig
    | DifferenceConfig
    | HalfSpaceTreesConfig
    | IsolationForestConfig
    | AutoencoderConfig,
    Field(discriminator="type"),
]


class EnsembleConfig(BaseModel):
    """Which detectors there are and how they become one score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Strategy = Strategy.WEIGHTED_AVERAGE
    detectors: tuple[AnyDetectorConfig, ...] = (
        DeviationConfig(),
        ZScoreConfig(weight=0.0),
        RobustZConfig(weight=0.0),
        EwmaConfig(weight=0.0),
        DifferenceConfig(weight=0.0),
        HalfSpaceTreesConfig(weight=0.0),
        IsolationForestConfig(weight=0.0),
    )

    @model_validator(mode="after")
    def _can_score(self) -> EnsembleConfig:
        types = [detector.type for detector in self.detectors]
        if not types:
            raise ValueError("at least one detector is needed")
        if len(set(types)) < len(types):
            raise ValueError(f"each detector type once, got {', '.join(types)}")
        if not any(detector.weight for detector in self.detectors):
            raise ValueError("at least one detector must have a weight above 0")
        return self


def make_detector(config: AnyDetectorConfig, executor: Executor | None = None) -> AnomalyDetector:
    """A new detector; `executor` is where fits run, at once in the caller's thread without one."""
    match config:
        case DeviationConfig():
            return DeviationDetector(config)
        case HalfSpaceTreesConfig():
            return HalfSpaceTreesDetector(config)
        case IsolationForestConfig():
            return IsolationForestDetector(config, executor)
        case AutoencoderConfig():
            return AutoencoderDetector(config, executor)
        case _:
            return StatisticalDetector(config)


def make_ensemble(config: EnsembleConfig, executor: Executor | None = None) -> EnsembleDetector:
    return EnsembleDetector(
        [make_detector(detector, executor) for detector in config.detectors],
        [detector.weight for detector in config.detectors],
        config.strategy,
    )
