from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.features import changes, deviations, octaves, rolling, window

Floats = npt.NDArray[np.float64]


def never(_: int) -> bool:
    return False


def evidence(
    values: Floats, step_ms: int = 300_000, off: Callable[[int], bool] = never, anchored_at: int = 0
) -> Floats:
    """The evidence (n,) of a series of points so far apart, which gets another anchor behind one of them."""
    ring, past = np.zeros(deviations.LAGS, np.float32), np.empty(deviations.LAGS + 1, np.float32)
    tables = changes.SignTables(
        np.zeros((1, changes.NUMBERS)),
        np.zeros((1, changes.LONG), np.float32),
        np.zeros((1, changes.PROFILES), np.float32),
        np.zeros((1, changes.PROFILES), np.uint8),
        np.zeros((1, changes.SIGNS, octaves.HISTOGRAM), np.uint16),
    )
    signs, room, out = np.empty(changes.SIGNS), np.zeros(octaves.ROOM), np.empty(len(values))
    order, anchor = np.zeros(128, np.uint8), float(values[0])
    for i, x in enumerate(values):
        half_hour = i * step_ms // changes.SLOT_MS
        is_off = off(half_hour // changes.SLOTS)
        step, distance = float(x - values[max(i - 1, 0)]), window.distance(float(x), anchor)
        rolling.unroll(distance, i, ring, past)
        rolling.push(past, i, ring, order)
        out[i] = changes.evidence(step, distance, half_hour, is_off, i, past, 0, tables, signs, room)
        if i == anchored_at > 0:
            shift, anchor = float(x) - anchor, float(x)
            rolling.shift(shift, window.FURTHEST, i, ring, past, order)
            changes.anchor_by(shift, past, 0, tables)
    return out


def noise(n: int = 3000) -> Floats:
    return np.random.default_rng(1).normal(size=n)


@given(st.floats(1e-300, 1.0))
def test_decades_of_a_share_are_its_logarithm(share: float) -> None:
    assert octaves._decades(share) == pytest.approx(-math.log10(share), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_noise_gives_little_evidence_whatever_its_unit(scale: float) -> None:
    found = evidence(noise() * scale)[500:]
    assert np.quantile(found, 0.99) < 2.0
    assert found.mean() < 1.0


def test_another_anchor_changes_no_evidence() -> None:
    values = 10.0 * np.sin(2 * np.pi * np.arange(3000) / 288) + noise()
    values[2500:] += 6.0
    np.testing.assert_allclose(evidence(values, anchored_at=1535), evidence(values), rtol=1e-3, atol=1e-3)


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


STEP_MS = 900_000
A_DAY = 86_400_000 // STEP_MS
WEEKS = 16


def office_hours(quiet: set[int], busy: set[int]) -> Floats:
    """Days of a building, the first a Thursday: busy from 8 to 18 but for weekends and `quiet` days."""
    rng, t = np.random.default_rng(5), np.arange(7 * A_DAY * WEEKS)
    day, hour = t // A_DAY, t % A_DAY * 24 / A_DAY
    works = ~np.isin(day, list(quiet)) & (((day + 3) % 7 < 5) | np.isin(day, list(busy)))
    level = (1.0 + 0.04 * rng.normal(size=7 * WEEKS))[day]
    found: Floats = level * (10.0 + 90.0 * works * (hour >= 8) * (hour < 18)) + 2.0 * rng.normal(size=len(t))
    return found


def highest(found: Floats, day: int) -> float:
    return float(found[day * A_DAY : (day + 1) * A_DAY].max())


def test_a_missing_working_day_and_a_busy_off_day_give_much_and_a_holiday_of_the_calendar_does_not() -> None:
    holiday, missing, saturday = 7 * 11 + 5, 7 * 13 + 6, 7 * 14 + 2
    values = office_hours({holiday, missing}, {saturday})
    found = evidence(values, STEP_MS, lambda day: (day + 3) % 7 >= 5 or day == holiday)
    usual = found[7 * 8 * A_DAY : 7 * 11 * A_DAY]
    assert highest(found, missing) > 1.2 * usual.max()
    assert highest(found, saturday) > usual.max()
    assert highest(found, holiday) < np.quantile(usual, 0.999)
    alike = evidence(values, STEP_MS)
    assert highest(alike, missing) < alike[7 * 8 * A_DAY : 7 * 11 * A_DAY].max()


def test_off_days_change_nothing_where_they_are_like_others() -> None:
    t = np.arange(7 * A_DAY * WEEKS)
    values = 50.0 + 40.0 * np.sin(2 * np.pi * t / A_DAY) + np.random.default_rng(6).normal(size=len(t))
    apart = evidence(values, STEP_MS, lambda day: (day + 3) % 7 >= 5)
    np.testing.assert_array_equal(apart, evidence(values, STEP_MS))


def test_off_days_that_become_like_others_are_no_longer_told_apart() -> None:
    values = np.concatenate([office_hours(set(), set()), office_hours(set(), set(range(7 * WEEKS)))])
    found = evidence(values, STEP_MS, lambda day: (day + 3) % 7 >= 5)
    saturdays = [day for day in range(7 * WEEKS + 7 * 8, 14 * WEEKS) if (day + 3) % 7 == 5]
    others = found[(7 * WEEKS + 7 * 8) * A_DAY :]
    assert np.median([highest(found, day) for day in saturdays]) < np.quantile(others, 0.99)
