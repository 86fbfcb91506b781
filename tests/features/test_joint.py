from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.features import joint

Floats = npt.NDArray[np.float64]


def related(w: Floats) -> Floats:
    """The residuals (n, k, 2) of signed distances (n, k); NaN while too few were seen."""
    n, k = w.shape
    covariance, precision = np.zeros((k, k), np.float32), np.zeros((k, k), np.float32)
    numbers, work, out = np.zeros((k, joint.NUMBERS)), np.empty((k, k)), np.empty((n, k, 2))
    for i in range(n):
        if not joint.relate(w[i], k, i, covariance, precision, numbers, work, out[i]):
            out[i] = np.nan
    return out


def correlated(seed: int, n: int) -> Floats:
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 1))
    return 0.98 * shared + 0.2 * rng.normal(size=(n, 4))


def test_a_value_that_leaves_the_others_is_found_within_its_usual_range() -> None:
    w = correlated(1, 2000)
    w[1500, 2] = -w[1500, 2] + (1.5 if w[1500, 2] < 0 else -1.5)
    residual = related(w)[:, :, 0]
    assert abs(w[1500, 2]) < 4.0
    assert residual[1500].argmax() == 2
    assert residual[1500, 2] > np.nanquantile(residual[:1500], 0.999)


def test_nothing_is_said_of_the_first_points() -> None:
    residual = related(correlated(2, 200))
    assert np.isnan(residual[:120]).all()
    assert np.isfinite(residual[120:]).all()


def test_values_without_a_spread_are_no_trouble() -> None:
    w = np.zeros((300, 3))
    w[:, 0] = np.random.default_rng(3).normal(size=300)
    assert np.isfinite(related(w)[120:]).all()


def test_residuals_are_in_units_of_their_own_size() -> None:
    residual = related(correlated(4, 5000))[1000:]
    np.testing.assert_allclose(np.sqrt((residual**2).mean((0, 1))), 1.0, rtol=0.1)
