from __future__ import annotations

import numpy as np
import pytest

from service.detectors.statistical import (
    DifferenceConfig,
    EwmaConfig,
    RobustZConfig,
    StatisticalConfig,
    StatisticalDetector,
    ZScoreConfig,
)
from service.features.window import Feature
from tests.streams import MISSING, Features, a_point, noise, series

every_config = pytest.mark.parametrize(
    "config", [ZScoreConfig(), RobustZConfig(), EwmaConfig(), DifferenceConfig()], ids=lambda c: c.type
)


@every_config
def test_the_oddness_is_the_largest_distance_among_the_values(config: StatisticalConfig) -> None:
    batch = Features().of(noise(1, 400, names=("a", "b", "c")))
    detector = StatisticalDetector(config)
    distances = np.abs(batch.rows[:, detector.feature]).reshape(-1, 3).max(axis=1)
    np.testing.assert_array_equal(detector.score(batch), distances)


@every_config
def test_a_value_without_history_takes_no_part(config: StatisticalConfig) -> None:
    points = noise(2, 200, sources=1, names=("a",))
    points.append(a_point("pump-0", 1000, {"new": 5.0, "a": 0.5}))
    features = Features()
    features.of(points[:-1])
    batch = features.of(points[-1:])
    detector = StatisticalDetector(config)
    assert detector.score(batch)[0] == abs(batch.rows[1, detector.feature])
    missing = features.of([a_point("pump-0", 1001, {"a": MISSING, "new": MISSING})])
    assert np.isnan(detector.score(missing)).all()


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (ZScoreConfig(), [0.0, 1.0] * 50 + [20.0]),
        (RobustZConfig(), [0.0, 1.0, 2.0] * 40 + [20.0]),
        (DifferenceConfig(), [i * 0.1 for i in range(100)] + [30.0]),
    ],
    ids=["zscore", "robust_z", "difference"],
)
def test_what_each_one_looks_for_stands_out(config: StatisticalConfig, values: list[float]) -> None:
    oddness = StatisticalDetector(config).score(Features().of(series(values)))
    assert oddness[-1] > 4 * np.nanmax(oddness[:-1])


def test_a_slow_drift_stands_out_in_the_smoothed_mean_before_it_does_in_a_value() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=2000)
    values[1900:] += 0.02 * np.arange(100)
    batch = Features().of(series(values))

    def surplus(config: StatisticalConfig) -> float:
        oddness = StatisticalDetector(config).score(batch)
        return float(np.max(oddness[1930:1980]) / np.nanmax(oddness[200:1900]))

    assert surplus(EwmaConfig()) > 1.0 > surplus(DifferenceConfig())
    assert surplus(EwmaConfig()) > surplus(ZScoreConfig())


def test_each_detector_reads_its_own_feature() -> None:
    features = {
        config.type: StatisticalDetector(config).feature
        for config in (ZScoreConfig(), RobustZConfig(), EwmaConfig(), DifferenceConfig())
    }
    assert features == {
        "zscore": Feature.Z_SCORE,
        "robust_z": Feature.ROBUST_Z,
        "ewma": Feature.EWMA_Z,
        "difference": Feature.DIFFERENCE_Z,
    }
