from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.detectors.base import run
from service.detectors.half_space_trees import HalfSpaceTreesConfig, HalfSpaceTreesDetector
from service.features.engine import FEATURES, VECTOR_WIDTH, FeatureBatch

Floats = npt.NDArray[np.float64]


def batch_of(vectors: Floats) -> FeatureBatch:
    """Points of which only the vectors are known."""
    n = len(vectors)
    known = ~np.isnan(vectors[:, 0])
    return FeatureBatch(
        np.zeros(n, np.int64), np.zeros(n + 1, np.int64), np.empty((0, FEATURES)), vectors, known
    )


def some_vectors(seed: int, n: int) -> Floats:
    vectors = np.random.default_rng(seed).uniform(-1, 1, (n, VECTOR_WIDTH))
    vectors[::9] = np.nan
    return vectors


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 100))
def test_every_point_is_counted_once_at_each_depth_of_each_tree(trees: int, depth: int, seed: int) -> None:
    detector = HalfSpaceTreesDetector(HalfSpaceTreesConfig(trees=trees, depth=depth, window_points=100_000))
    vectors = some_vectors(seed, 300)
    detector.learn(batch_of(vectors))
    mass = detector.state()["latest"]
    known = int((~np.isnan(vectors[:, 0])).sum())
    for level in range(depth + 1):
        nodes = mass[:, 2**level - 1 : 2 ** (level + 1) - 1]
        assert nodes.sum(axis=1).tolist() == [known] * trees
    inner = np.arange(2**depth - 1)
    np.testing.assert_array_equal(mass[:, inner], mass[:, 2 * inner + 1] + mass[:, 2 * inner + 2])


def test_the_counts_of_a_full_window_score_the_next() -> None:
    detector = HalfSpaceTreesDetector(HalfSpaceTreesConfig(window_points=50))
    vectors = some_vectors(1, 150)
    trained = []
    for start, stop in [(0, 49), (49, 50)]:
        run(detector, batch_of(vectors[start:stop]))
        trained.append(detector.is_trained)
    assert trained == [False, True]
    probe = batch_of(some_vectors(2, 20))
    before = detector.score(probe)
    run(detector, batch_of(vectors[50:99]))
    np.testing.assert_array_equal(detector.score(probe), before)
    run(detector, batch_of(vectors[99:100]))
    assert not np.array_equal(detector.score(probe), before, equal_nan=True)
    fresh = HalfSpaceTreesDetector(HalfSpaceTreesConfig(window_points=50))
    fresh.train(vectors[50:100])
    np.testing.assert_array_equal(detector.score(probe), fresh.score(probe))


def test_a_window_with_hardly_any_history_is_counted_on() -> None:
    detector = HalfSpaceTreesDetector(HalfSpaceTreesConfig(window_points=50))
    thin = np.full((50, VECTOR_WIDTH), np.nan)
    thin[:12] = 0.5
    trained = []
    for _ in range(2):
        run(detector, batch_of(thin))
        trained.append(detector.is_trained)
    assert trained == [False, True]
    assert detector.state()["reference"][0, 0] == 24


def test_a_window_without_any_history_leaves_the_counts_that_score() -> None:
    detector = HalfSpaceTreesDetector(HalfSpaceTreesConfig(window_points=50))
    run(detector, batch_of(some_vectors(1, 50)))
    probe = batch_of(some_vectors(2, 20))
    before = detector.score(probe)
    run(detector, batch_of(np.full((50, VECTOR_WIDTH), np.nan)))
    np.testing.assert_array_equal(detector.score(probe), before)


def test_thin_air_is_odder_than_the_crowd() -> None:
    rng = np.random.default_rng(3)
    detector = HalfSpaceTreesDetector(HalfSpaceTreesConfig())
    detector.train(rng.normal(0.0, 0.1, (1000, VECTOR_WIDTH)))
    crowd = detector.score(batch_of(rng.normal(0.0, 0.1, (500, VECTOR_WIDTH))))
    corner = detector.score(batch_of(np.full((1, VECTOR_WIDTH), 0.9)))
    assert corner[0] > crowd.max()


def test_an_even_spread_scores_about_one() -> None:
    rng = np.random.default_rng(4)
    detector = HalfSpaceTreesDetector(HalfSpaceTreesConfig(trees=100, depth=4))
    detector.train(rng.uniform(-1, 1, (20_000, VECTOR_WIDTH)))
    oddness = detector.score(batch_of(rng.uniform(-1, 1, (2000, VECTOR_WIDTH))))
    assert np.median(oddness) == pytest.approx(1.0, abs=0.25)


def test_the_seed_alone_decides_on_the_trees() -> None:
    vectors = some_vectors(5, 200)

    def oddness(seed: int) -> Floats:
        detector = HalfSpaceTreesDetector(HalfSpaceTreesConfig(seed=seed))
        detector.train(vectors)
        return detector.score(batch_of(vectors))

    np.testing.assert_array_equal(oddness(7), oddness(7))
    assert not np.array_equal(oddness(7), oddness(8), equal_nan=True)


def test_a_state_of_other_trees_is_refused() -> None:
    state = HalfSpaceTreesDetector(HalfSpaceTreesConfig(depth=5)).state()
    with pytest.raises(ValueError, match="half_space_trees"):
        HalfSpaceTreesDetector(HalfSpaceTreesConfig(depth=6)).restore(state)
