"""Half-space trees over the partition's pooled vectors (Tan, Ting and Liu, IJCAI 2011).

Random halvings of the feature space count how many points fall where; a point in thin air is odd. The
counts of one window of points score the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from service.detectors.base import AnomalyDetector, Array, DetectorConfig, Floats
from service.features.engine import VECTOR_WIDTH, FeatureBatch
from service.kernels import kernel


class HalfSpaceTreesConfig(DetectorConfig):
    """Density in random halvings of the feature space: odd combinations of features."""

    type: Literal["half_space_trees"] = "half_space_trees"
    trees: int = Field(10, ge=1, le=100)
    depth: int = Field(8, ge=1, le=12)
    window_points: int = Field(1024, ge=16, le=1_000_000)
    """Points after which the counts just made become the counts that score."""
    seed: int = Field(1, ge=0)


@kernel
def _leaf(vector: Floats, dimension: npt.NDArray[np.int64], split: Floats, depth: int) -> int:
    """The heap index of the node at `depth` that holds the vector."""
    node = 0
    for _ in range(depth):
        node = 2 * node + (2 if vector[dimension[node]] >= split[node] else 1)
    return node


@kernel
def _count(
    vectors: Floats, dimension: npt.NDArray[np.int64], split: Floats, mass: npt.NDArray[np.int64]
) -> None:
    depth = int(math.log2(mass.shape[1] + 1)) - 1
    for point in range(vectors.shape[0]):
        if math.isnan(vectors[point, 0]):
            continue
        for tree in range(mass.shape[0]):
            node = _leaf(vectors[point], dimension[tree], split[tree], depth)
            mass[tree, node] += 1
            while node > 0:
                node = (node - 1) // 2
                mass[tree, node] += 1


@kernel
def _score(
    vectors: Floats,
    dimension: npt.NDArray[np.int64],
    split: Floats,
    mass: npt.NDArray[np.int64],
    smallest: int,
    out: Floats,
) -> None:
    """Inverse of the mean density over the trees, 1 for the density of an even spread."""
    trees, nodes = mass.shape
    depth = int(math.log2(nodes + 1)) - 1
    for point in range(vectors.shape[0]):
        if math.isnan(vectors[point, 0]):
            out[point] = np.nan
            continue
        density = 0.0
        for tree in range(trees):
            node, level = 0, 0
            while level < depth and mass[tree, node] > smallest:
                node = 2 * node + (2 if vectors[point, dimension[tree, node]] >= split[tree, node] else 1)
                level += 1
            density += (mass[tree, node] + 1) * 2.0**level / (mass[tree, 0] + 1)
        out[point] = trees / density


class HalfSpaceTreesDetector(AnomalyDetector):
    """One set of trees for the partition, scoring by the counts of the last full window."""

    def __init__(self, config: HalfSpaceTreesConfig) -> None:
        self.name = config.type
        self._config = config
        nodes = 2 ** (config.depth + 1) - 1
        self._dimension = np.zeros((config.trees, nodes), np.int64)
        self._split = np.zeros((config.trees, nodes))
        self._plant(np.random.Generator(np.random.Philox(config.seed)))
        self._reference = np.zeros((config.trees, nodes), np.int64)
        self._latest = np.zeros((config.trees, nodes), np.int64)
        self._learned = 0

    def _plant(self, rng: np.random.Generator) -> None:
        """Halve a random box around the middle of the feature space along random dimensions."""
        for tree in range(self._config.trees):
            middle = rng.uniform(-0.3, 0.3, VECTOR_WIDTH)
            half = 1.0 - np.abs(middle)
            boxes = {0: (middle - half, middle + half)}
            for node in range(2**self._config.depth - 1):
                low, high = boxes.pop(node)
                d = int(rng.integers(VECTOR_WIDTH))
                split = (low[d] + high[d]) / 2
                self._dimension[tree, node], self._split[tree, node] = d, split
                left_high, right_low = high.copy(), low.copy()
                left_high[d] = right_low[d] = split
                boxes[2 * node + 1], boxes[2 * node + 2] = (low, left_high), (right_low, high)

    @property
    def is_trained(self) -> bool:
        return bool(self._reference[0, 0] > 0)

    @property
    def points_to_change(self) -> int:
        return self._config.window_points - self._learned % self._config.window_points

    def train(self, vectors: Floats) -> None:
        self._reference[:] = 0
        _count(vectors, self._dimension, self._split, self._reference)

    def score(self, batch: FeatureBatch) -> Floats:
        out = np.empty(len(batch))
        smallest = int(self._reference[0, 0] // 100)
        _score(batch.vectors, self._dimension, self._split, self._reference, smallest, out)
        return out

    def learn(self, batch: FeatureBatch) -> None:
        _count(batch.vectors, self._dimension, self._split, self._latest)
        self._learned += len(batch)
        # A window in which few points had a history is too thin to score by: it is counted on.
        enough = 4 * int(self._latest[0, 0]) >= self._config.window_points
        if self._learned % self._config.window_points == 0 and enough:
            self._reference, self._latest = self._latest, self._reference
            self._latest[:] = 0

    def state(self) -> dict[str, Array]:
        return {
            "reference": self._reference.copy(),
            "latest": self._latest.copy(),
            "learned": np.array([self._learned]),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        if set(state) != {"reference", "latest", "learned"} or state["latest"].shape != self._latest.shape:
            raise ValueError(f"{self.name}: saved state is of another configuration")
        self._reference, self._latest = state["reference"].copy(), state["latest"].copy()
        self._learned = int(state["learned"][0])
