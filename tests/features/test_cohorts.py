from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.features import cohorts
from service.features.cohorts import MOST_NAMES, Cohorts
from service.features.config import FeatureConfig
from service.features.deviations import NUMBERS, PRIOR, SCALES, SEEN, SQUARES, Deviation
from tests.streams import Features, series

Floats = npt.NDArray[np.float64]
STEP = SQUARES + Deviation.STEP


def a_value(scale: float, seen: int = 256, prior: float = 0.0) -> Floats:
    """A value's numbers after so many points, all its scales of one size."""
    value = np.zeros(NUMBERS)
    value[list(SCALES)] = scale
    value[SEEN], value[PRIOR] = seen, prior
    return value


def cohort_of(scales: list[float] | Floats, name: int = 7) -> Cohorts:
    found = Cohorts()
    for scale in scales:
        cohorts.learn(found.rows, np.uint64(name), a_value(scale))
    return found


def born_into(found: Cohorts, name: int = 7) -> Floats:
    value = np.zeros(NUMBERS)
    cohorts.begin(found.rows, np.uint64(name), value)
    return value


@settings(max_examples=30)
@given(st.lists(st.floats(0.9, 1.1), min_size=8, max_size=60))
def test_a_new_value_begins_with_the_geometric_mean_of_its_cohort(scales: list[float]) -> None:
    value = born_into(cohort_of(scales))
    np.testing.assert_allclose(value[list(SCALES)], np.exp(np.mean(np.log(scales))), rtol=1e-9)
    assert 16.0 <= value[PRIOR] <= 200.0


def test_the_more_a_cohort_differs_the_less_it_says() -> None:
    spread = np.random.default_rng(1).normal(size=400)
    likeness = [born_into(cohort_of(np.exp(apart * spread)))[PRIOR] for apart in (0.1, 0.3, 0.5)]
    assert likeness[0] == 200.0
    assert likeness[0] > likeness[1] > likeness[2] > 0.0
    assert likeness[1] == pytest.approx(8.0 / np.var(0.3 * spread), rel=0.1)
    assert not born_into(cohort_of(np.exp(3.0 * spread))).any()


def test_few_sources_are_no_cohort() -> None:
    assert not born_into(cohort_of([1.0] * 7)).any()
    assert born_into(cohort_of([1.0] * 8)).any()


def test_another_name_says_nothing() -> None:
    assert not born_into(cohort_of([1.0] * 20), name=8).any()


def test_a_value_that_never_moved_teaches_nothing() -> None:
    assert not born_into(cohort_of([0.0] * 20)).any()


def test_one_fault_does_not_make_the_cohort() -> None:
    value = born_into(cohort_of([*np.exp(0.1 * np.random.default_rng(2).normal(size=50)), 1e12]))
    assert value[STEP] == pytest.approx(1.0, rel=0.1)


def test_what_a_value_began_with_is_not_learned_again() -> None:
    found = cohort_of([1.0] * 10)
    # 256 points of its own at a scale of e with 64 of the cohort's make this, in logarithms.
    cohorts.learn(found.rows, np.uint64(7), a_value(np.exp(0.2 * 256 / 320), prior=64.0))
    assert np.log(born_into(found)[STEP]) == pytest.approx(0.2 / 11, rel=1e-9)


def test_lessons_are_rare_once_a_source_is_old() -> None:
    given = [seen for seen in range(1, 5000) if cohorts.is_lesson(seen)]
    assert given == [256, 512, 1024, 2048, 3072, 4096]


def test_the_name_that_was_not_used_for_longest_makes_room() -> None:
    found = Cohorts()
    for name in range(1, MOST_NAMES + 1):
        for _ in range(8):
            cohorts.learn(found.rows, np.uint64(name), a_value(1.0))
    assert born_into(found, 1).any()  # used again
    cohorts.learn(found.rows, np.uint64(5000), a_value(1.0))
    assert born_into(found, 1).any()
    assert not born_into(found, 2).any()
    assert born_into(found, 3).any()


def test_what_is_restored_goes_on_alike() -> None:
    found, other = cohort_of([1.0, 1.2] * 10), Cohorts()
    other.restore(found.state())
    np.testing.assert_array_equal(born_into(other), born_into(found))
    with pytest.raises(ValueError, match="counters"):
        other.restore({})


def fleet(config: FeatureConfig | None = None) -> tuple[Features, Floats]:
    """Twelve sources of one kind that have been there for long, and the values of a new one."""
    rng = np.random.default_rng(3)
    features = Features(config)
    for i in range(12):
        features.of(series(rng.normal(5.0 * i, 1.0, size=300), f"pump-{i}"))
    return features, rng.normal(size=40)


def test_a_source_of_a_known_kind_is_judged_from_its_ninth_point_on() -> None:
    features, values = fleet()
    batch = features.of(series(values, "new"))
    assert np.flatnonzero(batch.has_history)[0] == 8
    assert np.isfinite(batch.oddness[8:]).all()
    assert batch.known[0] >= 16.0
    other = features.of(series(values, "other", name="another"))
    assert np.flatnonzero(other.has_history)[0] == 30
    assert other.known[-1] == 39.0


def test_a_spike_in_the_first_points_is_as_odd_as_in_later_ones() -> None:
    features, values = fleet()
    values[14] += 9.0
    odd = features.of(series(values, "new")).oddness
    alone = fleet(FeatureConfig(cohorts=False, min_history_points=8))[0].of(series(values, "new")).oddness
    assert odd[14] > 6.4
    assert odd[14] > 1.5 * alone[14]
    assert np.nanargmax(odd) == 14
