from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.ensemble import IsolationForest

from service.detectors.isolation_forest import IsolationForestConfig, IsolationForestDetector
from service.features.engine import VECTOR_WIDTH
from tests.detectors.test_half_space_trees import batch_of

Floats = npt.NDArray[np.float64]


def uniform(rng: np.random.Generator, n: int) -> Floats:
    return rng.uniform(-1, 1, (n, VECTOR_WIDTH))


def clustered(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray(rng.normal(0, 0.05, (n, VECTOR_WIDTH)) + rng.choice([-0.5, 0.5], (n, 1)), np.float64)


def tied(rng: np.random.Generator, n: int) -> Floats:
    return np.round(uniform(rng, n), 1)


def with_constants(rng: np.random.Generator, n: int) -> Floats:
    vectors = uniform(rng, n)
    vectors[:, 2:] = 0.25
    return vectors


@pytest.mark.parametrize("make", [uniform, clustered, tied, with_constants])
@pytest.mark.parametrize(("trees", "max_samples", "points"), [(100, 256, 2000), (20, 64, 100), (10, 256, 65)])
def test_scores_are_those_of_scikit_learn(make: object, trees: int, max_samples: int, points: int) -> None:
    rng = np.random.default_rng(points)
    assert callable(make)
    past, probes = make(rng, points), np.vstack([make(rng, 500), uniform(rng, 500) * 2])
    detector = IsolationForestDetector(IsolationForestConfig(trees=trees, max_samples=max_samples, seed=3))
    detector.train(past)
    theirs = IsolationForest(n_estimators=trees, max_samples=min(max_samples, points), random_state=3).fit(
        past
    )
    np.testing.assert_allclose(
        detector.score(batch_of(probes)), -theirs.score_samples(probes), atol=1e-6, rtol=0
    )
    np.testing.assert_allclose(detector.score(batch_of(past)), -theirs.score_samples(past), atol=1e-6, rtol=0)


def test_points_that_are_all_the_same_score_a_half() -> None:
    detector = IsolationForestDetector(IsolationForestConfig(trees=5))
    detector.train(np.full((100, VECTOR_WIDTH), 0.5))
    assert detector.score(batch_of(uniform(np.random.default_rng(1), 3))) == pytest.approx(0.5, abs=1e-6)


def test_a_forest_of_other_features_is_refused() -> None:
    detector = IsolationForestDetector(IsolationForestConfig(trees=2))
    detector.train(uniform(np.random.default_rng(1), 100))
    state = detector.state()
    state["dimension"] = state["dimension"] + np.int8(VECTOR_WIDTH)
    with pytest.raises(ValueError, match="isolation_forest"):
        IsolationForestDetector(IsolationForestConfig(trees=2)).restore(state)
