from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from service.detectors.isolation_trees import EULER_GAMMA, average_path_length, grow
from service.features.engine import VECTOR_WIDTH

Floats = npt.NDArray[np.float64]


def vectors(seed: int, n: int, digits: int, constants: int) -> Floats:
    """With heavy tails, ties when rounded to few digits, some dimensions constant, and some nearly so."""
    rng = np.random.default_rng(seed)
    out = np.round(np.tanh(0.3 * rng.standard_t(3, (n, VECTOR_WIDTH))), digits)
    out[:, rng.permutation(VECTOR_WIDTH)[:constants]] = 0.25
    out[:, -1] *= rng.choice([1.0, 1e-7])
    return np.asarray(out, np.float64)


def theirs(
    sample: Floats, trees: int, samples: int, seed: int
) -> tuple[npt.NDArray[np.int8], Floats, Floats]:
    """The trees of scikit-learn's forest, drawn out to complete heaps."""
    forest = IsolationForest(n_estimators=trees, max_samples=samples, random_state=seed).fit(sample)
    grown = [estimator.tree_ for estimator in forest.estimators_]
    depth = max(1, *(tree.max_depth for tree in grown))
    dimension, cut = np.zeros((trees, 2**depth - 1), np.int8), np.full((trees, 2**depth - 1), np.inf)
    path = np.zeros((trees, 2**depth))
    for t, tree in enumerate(grown):
        pending = [(0, 1)]
        while pending:
            node, number = pending.pop()
            level = number.bit_length() - 1
            if tree.children_left[node] < 0:
                leaf = number * 2 ** (depth - level) - 2**depth
                path[t, leaf] = level + average_path_length(float(tree.n_node_samples[node]))
                continue
            dimension[t, number - 1], cut[t, number - 1] = tree.feature[node], tree.threshold[node]
            pending += [(tree.children_left[node], 2 * number), (tree.children_right[node], 2 * number + 1)]
    return dimension, cut, path


def assert_the_same(sample: Floats, trees: int, samples: int, seed: int) -> None:
    for our, their in zip(
        grow(sample, trees, samples, seed), theirs(sample, trees, samples, seed), strict=True
    ):
        np.testing.assert_array_equal(our, their, strict=True)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    n=st.integers(1, 3000),
    digits=st.integers(0, 16),
    constants=st.integers(0, VECTOR_WIDTH),
    trees=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_trees_are_those_of_scikit_learn_to_the_last_bit(
    data: st.DataObject, n: int, digits: int, constants: int, trees: int, seed: int
) -> None:
    samples = data.draw(st.integers(1, min(n, 1024)))
    assert_the_same(vectors(seed, n, digits, constants), trees, samples, seed)


@pytest.mark.parametrize(("n", "samples"), [(8192, 256), (30_000, 256), (1024, 1020), (64, 64), (100, 1)])
def test_every_way_of_sampling_is_theirs(n: int, samples: int) -> None:
    assert_the_same(vectors(1, n, 16, 0), 100 if n == 8192 else 10, samples, 1)


@pytest.mark.parametrize("seed", [2094, 2566, 1034, 3811])
def test_a_branch_ends_where_its_random_targets_are_the_same_to_a_regression(seed: int) -> None:
    """These seeds give two targets that differ by less than 3e-8; their points are apart from the others."""
    order = np.argsort(targets := np.random.RandomState(seed).uniform(size=200))
    first = np.argmin(np.diff(targets[order]))
    sample = vectors(seed, 200, 16, 0)
    sample[order[first : first + 2]] = np.array([[0.98], [0.99]])
    assert_the_same(sample, 20, 200, seed)


def test_the_average_path_length_is_that_of_the_paper() -> None:
    assert [average_path_length(n) for n in (0, 1, 2)] == [0.0, 0.0, 1.0]
    harmonic = math.fsum(1 / i for i in range(1, 256))
    assert average_path_length(256) == pytest.approx(2 * harmonic - 2 * 255 / 256, abs=0.01)
    assert pytest.approx(np.euler_gamma) == EULER_GAMMA
