"""Isolation forest over the partition's pooled vectors (Liu, Ting and Zhou, ICDM 2008).

scikit-learn fits; its trees, drawn out to complete heaps, are walked by `ranked_trees`. Equal to
scikit-learn's `score_samples` with the sign turned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from service.detectors.base import AnomalyDetector, Array, Floats
from service.detectors.fitting import FittedConfig, Fitting, InlineExecutor
from service.detectors.ranked_trees import RankedTrees
from service.features.engine import VECTOR_WIDTH, FeatureBatch
from service.kernels import kernel

EULER_GAMMA = 0.5772156649015329


class IsolationForestConfig(FittedConfig):
    """How few random cuts set a point apart from the others: odd combinations of features."""

    type: Literal["isolation_forest"] = "isolation_forest"
    trees: int = Field(100, ge=1, le=1000)
    max_samples: int = Field(256, ge=16, le=1024)
    """Points that each tree sees."""


def average_path_length(count: float) -> float:
    """Mean depth of an unsuccessful search in a binary search tree of `count` points."""
    if count <= 1:
        return 0.0
    if count <= 2:
        return 1.0
    return 2.0 * (math.log(count - 1.0) + EULER_GAMMA) - 2.0 * (count - 1.0) / count


@dataclass(frozen=True, slots=True)
class DenseForest:
    """Trees as complete heaps of one depth: node i has the children 2i + 1 and 2i + 2.

    A branch that ends early is drawn out with cuts that always go left, and its path length stands in
    the leaf that this leads to.
    """

    dimension: npt.NDArray[np.int8]  # (trees, inner nodes)
    cut: Floats  # (trees, inner nodes), right where the coordinate is greater
    path: Floats  # (trees, leaves)
    scale: Floats  # (1,), path length of a usual point
    ranked: RankedTrees  # the same trees once more, to be walked

    @classmethod
    def of(cls, forest: Any) -> DenseForest:
        """The fitted trees of a scikit-learn `IsolationForest`."""
        trees = [estimator.tree_ for estimator in forest.estimators_]
        depth = max(max(tree.max_depth for tree in trees), 1)
        dimension = np.zeros((len(trees), 2**depth - 1), np.int8)
        cut = np.full((len(trees), 2**depth - 1), np.inf)
        path = np.zeros((len(trees), 2**depth))
        for t, tree in enumerate(trees):
            pending = [(0, 0, 0)]
            while pending:
                node, place, level = pending.pop()
                left, right = int(tree.children_left[node]), int(tree.children_right[node])
                if left == right:  # a leaf
                    leaf = (place + 1) * 2 ** (depth - level) - 1 - (2**depth - 1)
                    path[t, leaf] = level + average_path_length(float(tree.n_node_samples[node]))
                    continue
                features = forest.estimators_features_[t]
                dimension[t, place] = features[tree.feature[node]]
                cut[t, place] = tree.threshold[node]
                pending += [(left, 2 * place + 1, level + 1), (right, 2 * place + 2, level + 1)]
        scale = len(trees) * average_path_length(float(forest._max_samples))  # noqa: SLF001
        return cls.restored(dimension, cut, path, np.array([scale]))

    @classmethod
    def restored(
        cls,
        dimension: npt.NDArray[np.int8],
        cut: Floats,
        path: Floats,
        scale: Floats,
    ) -> DenseForest:
        return cls(dimension, cut, path, scale, RankedTrees.of(dimension, cut, VECTOR_WIDTH))


@kernel
def _score(path: Floats, scale: float) -> Floats:
    """Scores (n,) of summed path lengths; compiled, as numpy's powers may end otherwise in another batch."""
    out = np.empty_like(path)
    for point in range(path.shape[0]):
        out[point] = 2.0 ** (-path[point] / scale)
    return out


class IsolationForestDetector(AnomalyDetector):
    """One forest for the partition, fitted anew at fixed counts of points."""

    def __init__(self, config: IsolationForestConfig, executor: Executor | None = None) -> None:
        self.name = config.type
        self._config = config
        self._fitting = Fitting(config, self._fit, executor or InlineExecutor())
        self._forest: DenseForest | None = None

    @property
    def is_trained(self) -> bool:
        return self._forest is not None

    @property
    def points_to_change(self) -> int:
        return self._fitting.points_to_change

    def train(self, vectors: Floats) -> None:
        self._forest = self._fit(vectors)

    def warm(self, vectors: Floats) -> None:  # noqa: ARG002 - one tree of one cut will do
        dimension, cut = np.zeros((1, 1), np.int8), np.zeros((1, 1))
        self._forest = DenseForest.restored(dimension, cut, np.ones((1, 2)), np.ones(1))

    def _fit(self, vectors: Floats) -> DenseForest:
        from sklearn.ensemble import IsolationForest  # takes a second to import; few commands fit

        config = self._config
        forest = IsolationForest(
            n_estimators=config.trees,
            max_samples=min(config.max_samples, len(vectors)),
            random_state=config.seed,
            n_jobs=1,
        )
        return DenseForest.of(forest.fit(vectors))

    def score(self, batch: FeatureBatch) -> Floats:
        forest = self._forest
        assert forest is not None, "scored before trained"
        return _score(forest.ranked.add_up(batch.vectors, forest.path), float(forest.scale[0]))

    def learn(self, batch: FeatureBatch) -> None:
        self._forest = self._fitting.take(batch.vectors) or self._forest

    def state(self) -> dict[str, Array]:
        state = self._fitting.state()
        if (forest := self._forest) is not None:
            state |= {
                "dimension": forest.dimension,
                "cut": forest.cut,
                "path": forest.path,
                "scale": forest.scale,
            }
        return state

    def restore(self, state: Mapping[str, Array]) -> None:
        self._fitting.restore(state)
        self._forest = None
        if "cut" in state:
            if int(state["dimension"].max(initial=0)) >= VECTOR_WIDTH:
                raise ValueError(f"{self.name}: saved forest is of other features")
            self._forest = DenseForest.restored(
                state["dimension"], state["cut"], state["path"], state["scale"]
            )
