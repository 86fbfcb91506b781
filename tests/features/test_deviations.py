from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from service.features import deviations
from service.features.deviations import DEVIATIONS, LAGS, NUMBERS, Deviation

Floats = npt.NDArray[np.float64]


def told(values: Floats, newest: int) -> npt.NDArray[np.float32]:
    """Value number `newest` and those before it, as `rolling.unroll` tells them."""
    past = np.full(LAGS + 1, np.nan, np.float32)
    some = values[max(newest - LAGS, 0) : newest + 1][::-1]
    past[: len(some)] = some
    return past


def deviated(values: Floats) -> Floats:
    """Deviations (n, DEVIATIONS) of a series."""
    out, state = np.empty((len(values), DEVIATIONS)), np.zeros(NUMBERS)
    for i, x in enumerate(values):
        nearest = deviations.recurrence(i, told(values - values[0], i))
        deviations.deviate(float(x), state, *nearest, out[i])
    return out


def stood_still(values: Floats) -> Floats:
    state, room = np.zeros(NUMBERS), np.empty(DEVIATIONS)
    told = np.empty(len(values))
    for i, x in enumerate(values):
        told[i] = deviations.standstill(float(x), state)
        deviations.deviate(float(x), state, 0.0, 0.0, room)
    return told


def nearest(values: Floats) -> Floats:
    """The same by the book, (n, 2): the newest values and steps of each point beside those of each lag.

    What lies before the first value is no distance away.
    """
    newest, weights, step_weights = np.array([0, 1, 2, 4, 8, 12]), [4, 3, 2, 2, 1, 1], [4, 3, 2, 2, 1]
    all_lags, least = np.arange(6, LAGS - 12), np.zeros((len(values), 2))
    padded = np.append(np.full(LAGS, np.nan), values)
    for t in range(12, len(values)):
        lags = all_lags[all_lags < t]
        now, then = padded[LAGS + t - newest], padded[LAGS + t - newest - lags[:, None]]
        steps = np.abs(np.diff(now) - np.diff(then))
        least[t, 0] = np.average(np.nan_to_num(np.abs(now - then)), axis=1, weights=weights).min()
        least[t, 1] = np.average(np.nan_to_num(steps), axis=1, weights=step_weights).min()
    return least


def test_recurrence_is_the_least_distance_over_all_lags() -> None:
    values = np.random.default_rng(1).normal(size=900)
    found = [deviations.recurrence(i, told(values, i)) for i in range(len(values))]
    np.testing.assert_allclose(found, nearest(values), rtol=1e-4, atol=1e-5)


def test_a_rhythm_recurs_and_a_changed_cycle_does_not() -> None:
    t = np.arange(4000)
    values = np.sin(2 * np.pi * t / 40) + 0.05 * np.random.default_rng(2).normal(size=4000)
    values[3200:3240] = values[3200:3240][::-1]
    recurrence = deviated(values)[1000:, Deviation.RECURRENCE]
    assert 3200 <= 1000 + int(np.argmax(recurrence)) <= 3250


def test_a_first_move_after_rest_is_bounded_by_the_history() -> None:
    values = np.append(np.full(400, 5.0), 6.0)
    assert deviated(values)[-1, Deviation.STEP] == pytest.approx(math.sqrt(401), rel=0.05)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_unit_of_a_value_does_not_matter(scale: float) -> None:
    values = np.random.default_rng(3).normal(size=600)
    np.testing.assert_allclose(deviated(values * scale)[50:], deviated(values)[50:], rtol=2e-2, atol=1e-2)


def test_what_stays_the_same_is_told_every_fourth_time_and_not_for_ever() -> None:
    values = np.append(np.random.default_rng(4).normal(size=1000), np.full(100, 1.5))
    told = stood_still(values)
    assert (told[:1000] == 0.0).all()
    assert np.flatnonzero(told).tolist() == [1000 + i for i in range(4, 33, 4)]
    assert told[1012] > 6.4


def test_a_value_that_often_repeats_is_not_told_for_it() -> None:
    values = np.random.default_rng(5).integers(0, 2, 5000).astype(float)
    assert stood_still(values)[500:].max() < 6.4
