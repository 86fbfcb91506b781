from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.features.config import FeatureConfig
from service.features.engine import KINDS, VECTOR_WIDTH
from service.features.window import FEATURES, Feature
from tests.streams import MISSING, Features, a_point, noise, series

SHORT = FeatureConfig(window_points=16, min_history_points=8)
JUDGED = [feature for feature in Feature if feature is not Feature.VALUE]

finite = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1.0, 1e308, -1.7976931348623157e308, 5e-324, -2.2e-308, 1e-160, 1e154]),
)


def test_nothing_is_said_of_a_value_before_its_minimal_history() -> None:
    batch = Features(SHORT).of(series(range(12)))
    assert np.isnan(batch.rows[:8][:, JUDGED]).all()
    assert np.isnan(batch.vectors[:8]).all()
    assert not batch.has_history[:8].any()
    assert batch.has_history[8:].all()
    assert np.isfinite(batch.rows[8:]).all()
    assert np.isfinite(batch.vectors[8:]).all()
    assert batch.rows[:, Feature.VALUE].tolist() == list(range(12))


def test_history_is_counted_for_each_value_alone() -> None:
    points = [a_point("a", i + 1, {"old": float(i % 3)}) for i in range(10)]
    points += [
        a_point("b", i + 1, {"old": float(i % 3), "young": 1.0 if i > 6 else MISSING}) for i in range(10)
    ]
    batch = Features(SHORT).of(points)
    old, young = batch.rows[-2], batch.rows[-1]
    assert np.isfinite(old).all()
    assert np.isnan(young[JUDGED]).all()
    assert batch.has_history[-1]


def test_features_are_those_of_the_points_before() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 60)
    rows = Features(SHORT).of(series(values)).rows
    for i in range(8, 60):
        past, x, row = values[max(0, i - 16) : i], values[i], rows[i]
        mad = np.median(np.abs(past - np.median(past)))
        assert row[Feature.VALUE] == x
        assert row[Feature.MEAN] == pytest.approx(past.mean(), rel=1e-6, abs=1e-6)
        assert row[Feature.STD] == pytest.approx(past.std(ddof=1), rel=1e-6, abs=1e-6)
        assert row[Feature.Z_SCORE] == pytest.approx((x - past.mean()) / past.std(ddof=1), rel=1e-6, abs=1e-6)
        assert row[Feature.MEDIAN] == pytest.approx(np.median(past), rel=1e-6, abs=1e-6)
        assert row[Feature.MAD] == pytest.approx(mad, rel=1e-6, abs=1e-6)
        assert row[Feature.ROBUST_Z] == pytest.approx(
            (x - np.median(past)) / (1.4826 * mad), rel=1e-6, abs=1e-6
        )
        assert row[Feature.DIFFERENCE] == x - values[i - 1]


def test_the_smoothed_mean_and_the_scales_follow_their_definitions() -> None:
    config = FeatureConfig(window_points=16, min_history_points=8, ewma_gain=0.25, long_memory_points=100)
    values = np.random.default_rng(2).normal(3.0, 2.0, 300)
    rows = Features(config).of(series(values)).rows
    ewma, gap_square, step_square = values[0], 0.0, 0.0
    for i in range(1, 300):
        gain = max(1 / (i + 1), 1 / 100)
        ewma += 0.25 * (values[i] - ewma)
        gap, step = ewma - values[max(0, i - 16) : i].mean(), values[i] - values[i - 1]
        gap_square += gain * (gap**2 - gap_square)
        step_square += gain * (step**2 - step_square)
        if i >= 8:
            assert rows[i, Feature.EWMA] == pytest.approx(ewma, rel=1e-9)
            assert rows[i, Feature.EWMA_Z] == pytest.approx(gap / math.sqrt(gap_square), rel=1e-6, abs=1e-6)
            assert rows[i, Feature.DIFFERENCE_Z] == pytest.approx(step / math.sqrt(step_square), rel=1e-9)


def test_a_first_reading_from_far_away_does_not_blunt_what_comes_later() -> None:
    values = np.append(2.0**31, np.random.default_rng(5).normal(20.0, 0.1, 999))
    far, near = (Features(FeatureConfig()).of(series(some)) for some in (values, values[1:]))
    some = [Feature.MEAN, Feature.STD, Feature.Z_SCORE, Feature.MEDIAN, Feature.MAD, Feature.ROBUST_Z]
    np.testing.assert_allclose(far.rows[600:, some], near.rows[599:, some], rtol=1e-5, atol=1e-5)


def test_a_value_that_wanders_off_is_as_exact_as_at_its_beginning() -> None:
    steps = np.random.default_rng(6).normal(0.0, 0.1, 2000)
    drift = np.arange(2000) * 1e5
    rows = Features(FeatureConfig()).of(series([*(drift + steps), *(drift[-1] + steps)])).rows[2500:]
    expected = [drift[-1] + steps[max(i - 128, 0) : i] for i in range(500, 2000)]
    np.testing.assert_allclose(rows[:, Feature.STD], [past.std(ddof=1) for past in expected], rtol=1e-3)
    np.testing.assert_allclose(
        rows[:, Feature.MEDIAN] - drift[-1], [np.median(past) - drift[-1] for past in expected], atol=1e-4
    )


def test_what_a_point_holds_changes_no_feature_before_it() -> None:
    values = np.random.default_rng(3).normal(size=50)
    other = values.copy()
    other[40:] = 1e6
    one, two = (Features(SHORT).of(series(v)) for v in (values, other))
    np.testing.assert_array_equal(one.rows[:40], two.rows[:40])
    np.testing.assert_array_equal(one.vectors[:40], two.vectors[:40])


@given(st.lists(st.booleans(), min_size=40, max_size=40))
def test_missing_values_change_nothing(missing: list[bool]) -> None:
    values = np.random.default_rng(4).normal(size=40)
    holes = np.where(missing, MISSING, values)
    with_holes = Features(SHORT).of(series(holes))
    without = Features(SHORT).of(series(values[~np.array(missing)]))
    kept = ~np.array(missing)
    np.testing.assert_array_equal(with_holes.rows[kept], without.rows)
    np.testing.assert_array_equal(with_holes.vectors[kept], without.vectors)
    assert np.isnan(with_holes.rows[~kept]).all()
    assert not with_holes.has_history[~kept].any()


def test_sources_and_values_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(40, 2, 2)) * 10 ** rng.uniform(-3, 3, (40, 2, 2))
    together = Features(SHORT).of(
        [
            a_point("ab"[s], i + 1, {"x": float(values[i, s, 0]), "y": float(values[i, s, 1])})
            for i in range(40)
            for s in range(2)
        ]
    )
    for s in range(2):
        for v in range(2):
            alone = Features(SHORT).of(series(values[:, s, v]))
            np.testing.assert_array_equal(together.rows[2 * s + v :: 4], alone.rows)


@given(st.lists(finite, min_size=20, max_size=60))
def test_features_are_finite_whatever_finite_numbers_come(values: list[float]) -> None:
    batch = Features(SHORT).of(series(values))
    assert np.isfinite(batch.rows[8:]).all()
    assert (np.abs(batch.vectors[8:]) <= 1.0).all()
    assert np.isnan(batch.rows[:8][:, JUDGED]).all()


def test_the_furthest_of_each_kind_is_the_largest_among_the_values_that_are_known() -> None:
    points = noise(9, 120)
    points += [a_point("pump-0", 1000 + i, {"flow": MISSING, "pressure": float(i)}) for i in range(3)]
    batch = Features(SHORT).of(points)
    for j in range(len(batch)):
        rows = np.abs(batch.rows[batch.row_start[j] : batch.row_start[j + 1]][:, KINDS])
        expected = np.nanmax(rows, axis=0) if batch.has_history[j] else np.full(len(KINDS), np.nan)
        np.testing.assert_array_equal(batch.furthest[j], expected)


@given(st.lists(st.integers(0, 120), max_size=6))
def test_any_split_into_batches_gives_the_same_bits(cuts: list[int]) -> None:
    points = noise(6, 120)
    whole = Features(SHORT).of(points)
    features = Features(SHORT)
    edges = [0, *sorted(cuts), len(points)]
    parts = [features.of(points[a:b]) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate([p.rows for p in parts]), whole.rows)
    np.testing.assert_array_equal(np.concatenate([p.vectors for p in parts]), whole.vectors)
    np.testing.assert_array_equal(np.concatenate([p.has_history for p in parts]), whole.has_history)


def test_a_part_is_the_points_between_with_their_own_rows() -> None:
    batch = Features(SHORT).of(noise(7, 60))
    part = batch.part(20, 30)
    assert len(part) == 10
    np.testing.assert_array_equal(part.vectors, batch.vectors[20:30])
    np.testing.assert_array_equal(part.has_history, batch.has_history[20:30])
    start, stop = part.row_start[0], part.row_start[-1]
    np.testing.assert_array_equal(part.rows[start:stop], batch.rows[40:60])


def test_a_value_as_always_is_in_the_middle_of_the_vector_space_and_an_odd_one_at_its_edge() -> None:
    values = np.random.default_rng(8).normal(size=200)
    values[-1] = 1e6
    vectors = Features().of(series(values)).vectors
    assert (np.abs(vectors[30:-1]) < 0.8).all()
    assert (np.abs(vectors[-1, [0, 1, 4]]) > 0.999).all()
    assert vectors.shape == (200, VECTOR_WIDTH)


def test_a_constant_series_is_measured_by_a_millionth_of_its_level() -> None:
    rows = Features(SHORT).of(series([*[5.0] * 20, 5.1])).rows
    assert rows[19, Feature.Z_SCORE] == 0.0
    assert rows[19, Feature.ROBUST_Z] == 0.0
    assert rows[20, Feature.Z_SCORE] == pytest.approx(0.1 / (5e-6 + 1e-9), rel=1e-6)


def test_where_most_values_are_equal_the_robust_z_falls_back_on_the_standard_deviation() -> None:
    rows = Features(SHORT).of(series([*[1.0, 1.0, 1.0, 2.0] * 4, 3.0])).rows
    assert rows[16, Feature.MAD] == 0.0
    assert rows[16, Feature.ROBUST_Z] == pytest.approx(2.0 / rows[16, Feature.STD])


def test_rows_have_all_features() -> None:
    assert Features().of(series([1.0])).rows.shape == (1, FEATURES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_points": 7},
        {"window_points": 257},
        {"min_history_points": 7},
        {"window_points": 16, "min_history_points": 17},
        {"ewma_gain": 0.0},
        {"ewma_gain": 1.1},
        {"long_memory_points": 99},
        {"widow_points": 16},
    ],
)
def test_configurations_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        FeatureConfig.model_validate(wrong)
