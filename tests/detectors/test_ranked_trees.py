from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.detectors import register_walk
from service.detectors.ranked_trees import MOST_CUTS, RankedTrees

Floats = npt.NDArray[np.float64]
Heaps = tuple[npt.NDArray[np.int8], Floats, Floats]  # dimension, cut, what the leaves say


WAYS = (0, register_walk.LEVELS) if register_walk.AVAILABLE else (0,)
"""How many levels are walked in registers: none anywhere, and what this processor can."""


def forest(seed: int, trees: int, depth: int, dimensions: int = 6) -> Heaps:
    """Random heaps with equal cuts here and there, and branches that end early."""
    rng = np.random.default_rng(seed)
    shape = trees, 2**depth - 1
    dimension = rng.integers(0, dimensions, shape).astype(np.int8)
    cut = np.where(rng.random(shape) < 0.3, np.round(rng.uniform(-1, 1, shape), 1), rng.uniform(-1, 1, shape))
    cut[rng.random(shape) < 0.2] = np.inf
    return dimension, cut, rng.uniform(0, 10, (trees, 2**depth))


def points(seed: int, n: int, heaps: Heaps) -> Floats:
    """Vectors of which many lie exactly on cuts, and some are unknown."""
    rng = np.random.default_rng(seed)
    cuts = heaps[1][np.isfinite(heaps[1])]
    vectors = rng.uniform(-1.5, 1.5, (n, 6))
    on_cuts = rng.random((n, 6)) < 0.4
    vectors[on_cuts] = rng.choice(np.append(cuts, 0.0), on_cuts.sum())
    vectors[rng.random(n) < 0.1] = np.nan
    return vectors


def leaf_of(vector: Floats, dimension: npt.NDArray[np.int8], cut: Floats) -> int:
    """The leaf that a walk from cut to cut ends in."""
    node = 0
    while node < len(cut):
        node = 2 * node + 1 + int(np.float64(np.float32(vector[dimension[node]])) > cut[node])
    return node - len(cut)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 10), st.integers(0, 600), st.sampled_from(WAYS)
)
def test_points_end_where_a_walk_from_cut_to_cut_ends(
    seed: int, trees: int, depth: int, n: int, by_registers: int
) -> None:
    heaps = dimension, cut, says = forest(seed, trees, depth)
    vectors = points(seed + 1, n, heaps)
    counts = np.zeros(says.shape, np.int64)
    sums = RankedTrees.of(dimension, cut, 6, by_registers).add_up(vectors, says, counts)
    expected = np.zeros_like(counts)
    for vector, added in zip(vectors, sums, strict=True):
        if np.isnan(vector[0]):
            assert np.isnan(added)
            continue
        total = 0.0
        for tree in range(trees):
            leaf = leaf_of(vector, dimension[tree], cut[tree])
            expected[tree, leaf] += 1
            total += float(says[tree, leaf])
        assert added == total
    np.testing.assert_array_equal(counts, expected)


CUTS = st.floats(-2, 2) | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e-45, 0.1, float(np.float32(0.1))])


@given(st.lists(CUTS, min_size=1, max_size=40), st.data(), st.sampled_from(WAYS))
def test_a_coordinate_is_above_the_cuts_that_it_is_greater_than_as_a_32_bit_number(
    cuts: list[float], data: st.DataObject, by_registers: int
) -> None:
    near = [np.nextafter(np.float32(cut), np.float32(to)) for cut in cuts for to in (-3, 3)]
    coordinates = st.sampled_from([*cuts, *map(float, near), np.inf, -np.inf]) | st.floats(allow_nan=False)
    vectors = np.zeros((10, 6))
    vectors[:, 2] = data.draw(st.lists(coordinates, min_size=10, max_size=10))
    dimension, says = np.full((len(cuts), 1), 2, np.int8), np.tile([0.0, 1.0], (len(cuts), 1))
    sums = RankedTrees.of(dimension, np.array(cuts)[:, None], 6, by_registers).add_up(vectors, says)
    with np.errstate(over="ignore"):
        taken = vectors[:, 2].astype(np.float32).astype(np.float64)
    assert sums.tolist() == [sum(x > cut for cut in cuts) for x in taken]


@pytest.mark.parametrize("by_registers", WAYS)
def test_trees_with_many_cuts_walk_in_groups(by_registers: int) -> None:
    heaps = dimension, cut, says = forest(1, 400, 8)
    trees = RankedTrees.of(dimension, cut, 6, by_registers)
    assert len(trees.cuts) > 1
    assert trees.group_start.tolist() == sorted(set(trees.group_start.tolist()))
    vectors = points(2, 70, heaps)
    for vector, added in zip(vectors, trees.add_up(vectors, says), strict=True):
        if not np.isnan(vector[0]):
            leaves = [leaf_of(vector, dimension[tree], cut[tree]) for tree in range(400)]
            assert added == sum(float(says[tree, leaf]) for tree, leaf in enumerate(leaves))


@given(st.integers(0, 100), st.integers(0, 100))
def test_sums_are_the_same_for_any_batches(first: int, second: int) -> None:
    heaps = dimension, cut, says = forest(3, 20, 6)
    trees, vectors = RankedTrees.of(dimension, cut, 6), points(4, 100, heaps)
    edges = [0, *sorted([first, second]), 100]
    parts = [trees.add_up(vectors[a:b], says) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), trees.add_up(vectors, says))


@pytest.mark.parametrize("by_registers", WAYS)
def test_a_tree_may_have_as_many_cuts_of_a_dimension_as_a_rank_can_tell_apart(by_registers: int) -> None:
    cut = np.sort(np.random.default_rng(5).uniform(-1, 1, 2**13 - 1))[None]
    cut[0, MOST_CUTS:] = np.inf
    dimension = np.zeros(cut.shape, np.int8)
    says = np.arange(2.0**13)[None]
    vectors = np.random.default_rng(6).uniform(-1, 1, (50, 6))
    vectors[:2, 0] = -2, 2  # below all cuts, and above all
    sums = RankedTrees.of(dimension, cut, 6, by_registers).add_up(vectors, says)
    assert sums.tolist() == [leaf_of(vector, dimension[0], cut[0]) for vector in vectors]
    with pytest.raises(ValueError, match="tree 0"):
        RankedTrees.of(np.zeros((1, 2**14 - 1), np.int8), np.linspace(0, 1, 2**14 - 1)[None], 6)
