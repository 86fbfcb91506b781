from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.features import changes, deviations

Floats = npt.NDArray[np.float64]


def evidence(values: Floats, step_ms: int = 300_000) -> Floats:
    """The evidence (n,) of a series of points so far apart."""
    state, ring = np.zeros(changes.NUMBERS), np.zeros(deviations.LAGS, np.float32)
    residuals = np.zeros(changes.LONG, np.float32)
    slots, visits = np.zeros(changes.SLOTS, np.float32), np.zeros(changes.SLOTS, np.uint8)
    bins = np.zeros((changes.SIGNS, changes.HISTOGRAM), np.uint32)
    signs, out = np.empty(changes.SIGNS), np.empty(len(values))
    past = np.zeros(deviations.NUMBERS)
    past[deviations.SEEN], past[deviations.FIRST] = 1.0, values[0]
    for i, x in enumerate(values):
        slot = i * step_ms % 86_400_000 // changes.SLOT_MS
        step, distance = float(x - values[max(i - 1, 0)]), deviations.from_first(float(x), past)
        deviations.remember(distance, i, ring)
        out[i] = changes.evidence(step, distance, slot, i, ring, state, residuals, slots, visits, bins, signs)
    return out


def noise(n: int = 3000) -> Floats:
    return np.random.default_rng(1).normal(size=n)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_noise_gives_little_evidence_whatever_its_unit(scale: float) -> None:
    found = evidence(noise() * scale)[500:]
    assert np.quantile(found, 0.99) < 2.0
    assert found.mean() < 1.0


def test_a_spike_and_a_shift_give_much() -> None:
    values = noise()
    values[2000] += 12.0
    values[2500:] += 6.0
    found = evidence(values)
    assert found[2000] > found[500:2000].max()
    assert found[2500:2505].max() > 2.0


def test_what_is_wrong_for_the_time_of_day_gives_more_than_noise() -> None:
    t = np.arange(288 * 20)
    values = 10.0 * np.sin(2 * np.pi * t / 288) + 0.3 * np.random.default_rng(2).normal(size=len(t))
    values[288 * 18 : 288 * 18 + 60] = values[288 * 18 - 144 : 288 * 18 - 84]
    found = evidence(values)
    assert found[288 * 18 : 288 * 18 + 30].max() > np.quantile(found[288 * 5 : 288 * 18], 0.999)


@given(
    st.lists(
        st.one_of(st.floats(-1e140, 1e140), st.sampled_from([0.0, 1.0, 5e-324, 1e140])),
        min_size=1,
        max_size=200,
    )
)
def test_evidence_is_finite_for_anything(values: list[float]) -> None:
    found = evidence(np.array(values))
    assert np.isfinite(found).all()
    assert (found >= 0.0).all()
