"""Isolation forest over the partition's pooled vectors (Liu, Ting and Zhou, ICDM 2008).

`isolation_trees` grows the trees, as complete heaps, and `ranked_trees` walks them. Equal to scikit-learn's
`score_samples` with the sign turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from service.detectors.base import AnomalyDetector, Array, Floats
from service.detectors.fitting import FittedConfig, Fitting, InlineExecutor
from service.detectors.isolation_trees import average_path_length, grow
from service.detectors.ranked_trees import RankedTrees
from service.features.engine import VECTOR_WIDTH, FeatureBatch
from service.kernels import kernel


class IsolationForestConfig(FittedConfig):
    """How few random cuts set a point apart from the others: odd combinations of features."""

    type: Literal["isolation_forest"] = "isolation_forest"
    trees: int = Field(100, ge=1, le=1000)
    max_samples: int = Field(256, ge=16, le=1024)
    """Points that each tree sees."""


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
    def of(cls, dimension: npt.NDArray[np.int8], cut: Floats, path: Floats, scale: Floats) -> DenseForest:
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

    def _fit(self, vectors: Floats) -> DenseForest:
        config, samples = self._config, min(self._config.max_samples, len(vectors))
        dimension, cut, path = grow(vectors, config.trees, samples, config.seed)
        scale = config.trees * average_path_length(samples)
        return DenseForest.of(dimension, cut, path, np.array([scale]))

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
            self._forest = DenseForest.of(state["dimension"], state["cut"], state["path"], state["scale"])
