from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.detectors.half_space_trees import HalfSpaceTreesConfig, HalfSpaceTreesDetector
from service.features.engine import KINDS, VECTOR_WIDTH, FeatureBatch
from service.features.marks import MARKS
from service.features.window import FEATURES

Floats = npt.NDArray[np.float64]


def batch_of(vectors: Floats) -> FeatureBatch:
    """Points of which only the vectors are known."""
    n = len(vectors)
    known = ~np.isnan(vectors[:, 0])
    return FeatureBatch(
        np.zeros(n, np.int64),
        np.zeros(n + 1, np.int64),
        np.empty((0, FEATURES)),
        vectors,
        np.full((n, len(KINDS)), np.nan),
        np.full(n, np.nan),
        np.empty(0),
        np.full(n, np.nan),
        np.full(n, 100.0),
        np.zeros(n, np.bool_),
        np.empty((0, MARKS)),
        known,
        np.empty(0, np.bool_),
        np.full(n, -1),
    )


def some_vectors(seed: int, n: int) -> Floats:
    vectors = np.random.default_rng(seed).uniform(-1, 1, (n, VECTOR_WIDTH))
    vectors[::9] = np.nan
    return vectors


def walked(detector: HalfSpaceTreesDetector, vector: Floats, tree: int) -> list[int]:
    """The nodes from the root to the leaf that hold the vector, one comparison after another."""
    node, path = 0, [0]
    while node < len(detector.splits[tree]):
        dimension, split = detector.dimensions[tree, node], detector.splits[tree, node]
        node = 2 * node + 1 + int(vector[dimension] >= split)
        path.append(node)
    return path


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 100))
def test_counts_and_scores_are_those_of_walking_node_by_node(trees: int, depth: int, seed: int) -> None:
    detector = HalfSpaceTreesDetector(HalfSpaceTreesConfig(trees=trees, depth=depth, window_points=300))
    past, probes = some_vectors(seed, 300), some_vectors(seed + 1000, 20)
    detector.learn(batch_of(past))
    mass = np.zeros((trees, 2 ** (depth + 1) - 1), np.int64)
    for vector in past[~np.isnan(past[:, 0])]:
        for tree in range(trees):
            mass[tree, walked(detector, vector, tree)] += 1
    np.testing.assert_array_equal(detector.state()["reference"], mass[:, 2**depth - 1 :])
    known = mass[0, 0]
    for vector, oddness in zip(probes, detector.score(batch_of(probes)), strict=True):
        density = 0.0
        for tree in range(trees) if not np.isnan(vector[0]) else ():
            path = walked(detector, vector, tree)
            level = next((i for i, node in enumerate(path) if mass[tree, node] <= known // 100), depth)
            density += (mass[tree, path[level]] + 1) * 2**level / (known + 1)
        assert oddness == pytest.approx(trees / density if density else np.nan, rel=1e-12, nan_ok=True)


def test_the_counts_of_a_full_window_score_the_next() -> None:
    detector = HalfSpaceTreesDetector(HalfSpaceTreesConfig(window_points=50))
    vectors = some_vectors(1, 150)
    trained = []
    for start, stop in [(0, 49), (49, 50)]:
        detector.run(batch_of(vectors[start:stop]))
        trained.append(detector.is_trained)
    assert trained == [False, True]
    probe = batch_of(some_vectors(2, 20))
    before = detector.score(probe)
    detector.run(batch_of(vectors[50:99]))
    np.testing.assert_array_equal(detector.score(probe), before)
    detector.run(batch_of(vectors[99:100]))
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
        detector.run(batch_of(thin))
        trained.append(detector.is_trained)
    assert trained == [False, True]
    assert detector.state()["reference"][0].sum() == 24


def test_a_window_without_any_history_leaves_the_counts_that_score() -> None:
    detector = HalfSpaceTreesDetector(HalfSpaceTreesConfig(window_points=50))
    detector.run(batch_of(some_vectors(1, 50)))
    probe = batch_of(some_vectors(2, 20))
    before = detector.score(probe)
    detector.run(batch_of(np.full((50, VECTOR_WIDTH), np.nan)))
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
