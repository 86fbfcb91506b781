from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.neural_network import MLPRegressor

from service.detectors.autoencoder import AutoencoderConfig, AutoencoderDetector
from service.features.engine import VECTOR_WIDTH
from tests.detectors.test_half_space_trees import batch_of

Floats = npt.NDArray[np.float64]


def on_a_plane(seed: int, n: int) -> Floats:
    """Vectors that two numbers decide on."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(2, VECTOR_WIDTH))
    return np.tanh(0.4 * rng.normal(size=(n, 2)) @ directions) + rng.normal(0, 0.01, (n, VECTOR_WIDTH))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_oddness_is_the_error_of_scikit_learns_network() -> None:
    past, probes = on_a_plane(1, 600), np.random.default_rng(2).uniform(-1, 1, (200, VECTOR_WIDTH))
    detector = AutoencoderDetector(AutoencoderConfig(epochs=20, seed=5))
    detector.train(past)
    center, spread = past.mean(axis=0), past.std(axis=0)
    theirs = MLPRegressor(hidden_layer_sizes=(8, 3, 8), activation="tanh", max_iter=20, random_state=5)
    theirs.fit((past - center) / spread, (past - center) / spread)
    x = (probes - center) / spread
    errors = np.sqrt(((x - theirs.predict(x)) ** 2).mean(axis=1))
    np.testing.assert_allclose(detector.score(batch_of(probes)), errors, rtol=1e-9)


def test_a_combination_that_never_was_is_odd_though_each_coordinate_is_usual() -> None:
    past = on_a_plane(3, 1500)
    detector = AutoencoderDetector(AutoencoderConfig())
    detector.train(past)
    usual = detector.score(batch_of(on_a_plane(4, 500)))
    rng = np.random.default_rng(5)
    mixed = np.column_stack([rng.permutation(past[:500, d]) for d in range(VECTOR_WIDTH)])
    assert np.median(detector.score(batch_of(mixed))) > np.quantile(usual, 0.95)


def test_a_network_of_other_layers_is_refused() -> None:
    detector = AutoencoderDetector(AutoencoderConfig(epochs=1))
    detector.train(on_a_plane(1, 100))
    state = detector.state()
    del state["weight_2"]
    with pytest.raises(ValueError, match="autoencoder"):
        AutoencoderDetector(AutoencoderConfig()).restore(state)
