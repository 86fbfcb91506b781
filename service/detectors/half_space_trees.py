"""Half-space trees over the partition's pooled vectors (Tan, Ting and Liu, IJCAI 2011).

Random halvings of the feature space count how many points fall where; a point in thin air is odd. The
counts of one window of points score the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from service.detectors.base import AnomalyDetector, Array, DetectorConfig, Floats
from service.detectors.ranked_trees import RankedTrees
from service.features.engine import VECTOR_WIDTH, FeatureBatch
from service.kernels import kernel

Counts = npt.NDArray[np.int64]


class HalfSpaceTreesConfig(DetectorConfig):
    """Density in random halvings of the feature space: odd combinations of features."""

    type: Literal["half_space_trees"] = "half_space_trees"
    trees: int = Field(10, ge=1, le=100)
    depth: int = Field(8, ge=1, le=12)
    window_points: int = Field(1024, ge=16, le=1_000_000)
    """Points after which the counts just made become the counts that score."""
    seed: int = Field(1, ge=0)


@kernel
def _densities(counts: Counts) -> Floats:
    """For each leaf (trees, leaves) the density in its highest node that holds at most 1 % of the points.

    `counts` (trees, leaves) are the points in each leaf. The density of an even spread is 1.
    """
    trees, leaves = counts.shape
    nodes = 2 * leaves - 1
    mass, density, of_leaf = np.empty(nodes, np.int64), np.empty(nodes), np.empty(counts.shape)
    for tree in range(trees):
        for leaf in range(leaves):
            mass[leaves - 1 + leaf] = counts[tree, leaf]
        for node in range(leaves - 2, -1, -1):
            mass[node] = mass[2 * node + 1] + mass[2 * node + 2]
        smallest = mass[0] // 100
        density[0] = 1.0
        first, many = 1, 2  # of the nodes of a level; each has one of so many equal parts of the space
        while first < nodes:
            for node in range(first, first + many):
                parent = (node - 1) // 2
                if mass[parent] <= smallest:
                    density[node] = density[parent]
                else:
                    density[node] = (mass[node] + 1) * many / (mass[0] + 1)
            first, many = first + many, 2 * many
        for leaf in range(leaves):
            of_leaf[tree, leaf] = density[leaves - 1 + leaf]
    return of_leaf


@cache
def _planted(trees: int, depth: int, seed: int) -> tuple[npt.NDArray[np.int8], Floats, RankedTrees]:
    """Random boxes around the middle of the feature space, halved along random dimensions.

    Their dimensions and splits, and both to walk through. All partitions have the same and none changes them.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    dimensions, splits = np.zeros((trees, 2**depth - 1), np.int8), np.zeros((trees, 2**depth - 1))
    for tree in range(trees):
        middle = rng.uniform(-0.3, 0.3, VECTOR_WIDTH)
        half = 1.0 - np.abs(middle)
        boxes = {0: (middle - half, middle + half)}
        for node in range(2**depth - 1):
            low, high = boxes.pop(node)
            d = int(rng.integers(VECTOR_WIDTH))
            split = (low[d] + high[d]) / 2
            dimensions[tree, node], splits[tree, node] = d, split
            left_high, right_low = high.copy(), low.copy()
            left_high[d] = right_low[d] = split
            boxes[2 * node + 1], boxes[2 * node + 2] = (low, left_high), (right_low, high)
    # At or above a split is above the next smaller number.
    return dimensions, splits, RankedTrees.of(dimensions, np.nextafter(splits, -np.inf), VECTOR_WIDTH)


class HalfSpaceTreesDetector(AnomalyDetector):
    """One set of trees for the partition, scoring by the counts of the last full window."""

    def __init__(self, config: HalfSpaceTreesConfig) -> None:
        self.name = config.type
        self._config = config
        leaves = 2**config.depth
        self.dimensions, self.splits, self._trees = _planted(config.trees, config.depth, config.seed)
        self._score_by(np.zeros((config.trees, leaves), np.int64))
        self._latest = np.zeros((config.trees, leaves), np.int64)
        self._learned = 0

    def _score_by(self, counts: Counts) -> None:
        """Make these points in each leaf (trees, leaves) the ones that score."""
        self._reference = counts
        self._trained = bool(counts[0].sum() > 0)
        self._density = _densities(counts)

    @property
    def is_trained(self) -> bool:
        return self._trained

    @property
    def points_to_change(self) -> int:
        return self._config.window_points - self._learned % self._config.window_points

    def train(self, vectors: Floats) -> None:
        counts = np.zeros_like(self._latest)
        self._trees.add_up(vectors, self._density, counts)
        self._score_by(counts)

    def score(self, batch: FeatureBatch) -> Floats:
        return len(self._density) / self._trees.add_up(batch.vectors, self._density)

    def learn(self, batch: FeatureBatch) -> None:
        self.advance(batch)

    def advance(self, batch: FeatureBatch) -> Floats:
        return self._advance(batch.vectors)

    def run(self, batch: FeatureBatch) -> Floats:
        """Window by window, of which a batch holds several, over the vectors alone."""
        oddness, start = np.empty(len(batch)), 0
        while start < len(batch):
            stop = min(len(batch), start + self.points_to_change)
            oddness[start:stop] = self._advance(batch.vectors[start:stop])
            start = stop
        return oddness

    def _advance(self, vectors: Floats) -> Floats:
        """Score at most `points_to_change` vectors and learn them, in one walk."""
        density = self._trees.add_up(vectors, self._density, self._latest)
        oddness = len(self._density) / density
        if not self._trained:
            oddness[:] = np.nan
        self._learned += len(vectors)
        if self._learned % self._config.window_points == 0:
            self._turn()
        return oddness

    def _turn(self) -> None:
        """Score by the window just filled; if few of its points had a history, it is counted on instead."""
        if 4 * int(self._latest[0].sum()) >= self._config.window_points:
            self._score_by(self._latest)
            self._latest = np.zeros_like(self._latest)

    def state(self) -> dict[str, Array]:
        return {
            "reference": self._reference.copy(),
            "latest": self._latest.copy(),
            "learned": np.array([self._learned]),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        if set(state) != {"reference", "latest", "learned"} or state["latest"].shape != self._latest.shape:
            raise ValueError(f"{self.name}: saved state is of another configuration")
        self._score_by(state["reference"].copy())
        self._latest = state["latest"].copy()
        self._learned = int(state["learned"][0])
