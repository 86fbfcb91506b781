"""Autoencoder over the partition's pooled vectors: what a narrow network cannot rebuild is odd.

scikit-learn's MLPRegressor fits; a kernel rebuilds one vector at a time in a fixed order of sums, because a
matrix product of a whole batch gives other last bits than the same row alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from concurrent.futures import Executor
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from service.detectors.base import AnomalyDetector, Array, Floats
from service.detectors.fitting import STATE_NAMES, FittedConfig, Fitting, InlineExecutor
from service.features.engine import VECTOR_WIDTH, FeatureBatch
from service.kernels import kernel


class AutoencoderConfig(FittedConfig):
    """How badly a narrow network rebuilds the features: combinations that were not seen together."""

    type: Literal["autoencoder"] = "autoencoder"
    hidden: int = Field(8, ge=2, le=64)
    """Units of the outer hidden layers."""
    bottleneck: int = Field(3, ge=1, le=VECTOR_WIDTH - 1)
    """Units of the layer that everything has to pass."""
    epochs: int = Field(60, ge=1, le=1000)
    fits_with: ClassVar[str | None] = "sklearn.neural_network"


_WEIGHTS = tuple(f"weight_{i}" for i in range(4))
_BIASES = tuple(f"bias_{i}" for i in range(4))


@kernel
def _dense(inputs: Floats, weight: Floats, bias: Floats, curved: bool, out: Floats) -> None:
    for j in range(weight.shape[1]):
        total = bias[j]
        for i in range(weight.shape[0]):
            total += inputs[i] * weight[i, j]
        out[j] = math.tanh(total) if curved else total


@kernel
def _score(
    vectors: Floats,
    center: Floats,
    spread: Floats,
    w0: Floats,
    b0: Floats,
    w1: Floats,
    b1: Floats,
    w2: Floats,
    b2: Floats,
    w3: Floats,
    b3: Floats,
    out: Floats,
) -> None:
    width = vectors.shape[1]
    x, rebuilt = np.empty(width), np.empty(width)
    first, narrow, last = np.empty(w0.shape[1]), np.empty(w1.shape[1]), np.empty(w2.shape[1])
    for point in range(vectors.shape[0]):
        if math.isnan(vectors[point, 0]):
            out[point] = np.nan
            continue
        for i in range(width):
            x[i] = (vectors[point, i] - center[i]) / spread[i]
        _dense(x, w0, b0, True, first)
        _dense(first, w1, b1, True, narrow)
        _dense(narrow, w2, b2, True, last)
        _dense(last, w3, b3, False, rebuilt)
        error = 0.0
        for i in range(width):
            error += (x[i] - rebuilt[i]) ** 2
        out[point] = math.sqrt(error / width)


class AutoencoderDetector(AnomalyDetector):
    """One network for the partition, fitted anew at fixed counts of points."""

    def __init__(self, config: AutoencoderConfig, executor: Executor | None = None) -> None:
        self.name = config.type
        self._config = config
        self._fitting = Fitting(config, self._fit, executor or InlineExecutor())
        self._network: dict[str, Array] = {}

    @property
    def is_trained(self) -> bool:
        return bool(self._network)

    @property
    def points_to_change(self) -> int:
        return self._fitting.points_to_change

    def train(self, vectors: Floats) -> None:
        self._network = self._fit(vectors)

    def warm(self, vectors: Floats) -> None:
        config, width = self._config, vectors.shape[1]
        widths = (width, config.hidden, config.bottleneck, config.hidden, width)
        weights = [np.zeros((inputs, outputs)) for inputs, outputs in pairwise(widths)]
        self._network = {"center": np.zeros(width), "spread": np.ones(width)}
        self._network |= dict(zip(_WEIGHTS, weights, strict=True))
        self._network |= dict(zip(_BIASES, map(np.zeros, widths[1:]), strict=True))

    def _fit(self, vectors: Floats) -> dict[str, Array]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        config = self._config
        center, spread = vectors.mean(axis=0), np.maximum(vectors.std(axis=0), 1e-6)
        x = (vectors - center) / spread
        network = MLPRegressor(
            hidden_layer_sizes=(config.hidden, config.bottleneck, config.hidden),
            activation="tanh",
            max_iter=config.epochs,
            random_state=config.seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are a budget, not a goal
            network.fit(x, x)
        return {
            "center": center,
            "spread": spread,
            **dict(zip(_WEIGHTS, map(np.ascontiguousarray, network.coefs_), strict=True)),
            **dict(zip(_BIASES, network.intercepts_, strict=True)),
        }

    def score(self, batch: FeatureBatch) -> Floats:
        out = np.empty(len(batch))
        n = self._network
        w0, w1, w2, w3 = (n[name] for name in _WEIGHTS)
        b0, b1, b2, b3 = (n[name] for name in _BIASES)
        _score(batch.vectors, n["center"], n["spread"], w0, b0, w1, b1, w2, b2, w3, b3, out)
        return out

    def learn(self, batch: FeatureBatch) -> None:
        self._network = self._fitting.take(batch.vectors) or self._network

    def state(self) -> dict[str, Array]:
        return self._fitting.state() | self._network

    def restore(self, state: Mapping[str, Array]) -> None:
        self._fitting.restore(state)
        self._network = {name: array for name, array in state.items() if name not in STATE_NAMES}
        wanted = {"center", "spread", *_WEIGHTS, *_BIASES}
        if self._network and set(self._network) != wanted:
            raise ValueError(f"{self.name}: saved network is of another configuration")
