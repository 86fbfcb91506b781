from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detectors.fitting import FitSchedule, FittedConfig, Fitting, InlineExecutor
from service.features.engine import VECTOR_WIDTH

NO_HISTORY = np.nan


def vectors(start: int, stop: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Every row holds its own number; each seventh point has no history."""
    rows = np.repeat(np.arange(start, stop, dtype=np.float64)[:, None], VECTOR_WIDTH, axis=1)
    rows[rows[:, 0] % 7 == 3] = NO_HISTORY
    return rows


def fits(schedule: FitSchedule, points: int, cuts: list[int]) -> list[int]:
    """After how many points a fit was due, the stream coming in batches cut there."""
    counts = []
    for start, stop in pairwise([0, *sorted(cuts), points]):
        while start < stop:
            upto = min(stop, start + schedule.points_to_fit)
            if schedule.take(vectors(start, upto)):
                counts.append(upto)
            start = upto
    return counts


def test_the_first_fits_come_at_fourfold_counts_and_later_ones_regularly() -> None:
    schedule = FitSchedule(FittedConfig(first_fit_points=100, refit_points=3000))
    assert fits(schedule, 10_000, []) == [100, 400, 1600, 3000, 6000, 9000]


def test_no_fit_comes_before_the_first_even_if_refits_are_closer() -> None:
    schedule = FitSchedule(FittedConfig(first_fit_points=1000, refit_points=300))
    assert fits(schedule, 2000, []) == [1000, 1200, 1500, 1800]


@given(st.integers(64, 300), st.integers(64, 900), st.lists(st.integers(0, 2000), max_size=12))
def test_fits_are_due_at_the_same_counts_for_any_batches(first: int, every: int, cuts: list[int]) -> None:
    config = FittedConfig(first_fit_points=first, refit_points=every)
    early = {first * 4**k for k in range(6) if first * 4**k < every}
    expected = sorted(n for n in {first} | early | set(range(every, 2001, every)) if first <= n <= 2000)
    assert fits(FitSchedule(config), 2000, cuts) == expected


@given(st.integers(64, 200), st.lists(st.integers(0, 700), max_size=8))
def test_the_sample_is_the_newest_known_vectors_oldest_first(sample: int, cuts: list[int]) -> None:
    schedule = FitSchedule(FittedConfig(sample_points=sample, first_fit_points=500))
    fits(schedule, 700, cuts)
    everything = vectors(0, 700)
    known = everything[~np.isnan(everything[:, 0])]
    np.testing.assert_array_equal(schedule.sample(), known[-sample:])


@given(st.lists(st.integers(0, 700), max_size=8))
def test_the_saved_state_does_not_depend_on_the_batches(cuts: list[int]) -> None:
    one, other = (FitSchedule(FittedConfig(sample_points=100, first_fit_points=300)) for _ in range(2))
    fits(one, 700, [])
    fits(other, 700, cuts)
    for name, array in one.state().items():
        np.testing.assert_array_equal(other.state()[name], array)


@given(st.integers(0, 700))
def test_a_restored_schedule_goes_on_as_if_never_stopped(stop: int) -> None:
    config = FittedConfig(sample_points=128, first_fit_points=200, refit_points=250)
    schedule, resumed = FitSchedule(config), FitSchedule(config)
    fits(schedule, stop, [])
    resumed.restore(schedule.state())
    assert resumed.points_to_fit == schedule.points_to_fit
    for one in (schedule, resumed):
        one.take(vectors(stop, stop + 1))
    np.testing.assert_array_equal(resumed.sample(), schedule.sample())


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"counts": np.array([0, 0])},
        {"sample": np.zeros((5, VECTOR_WIDTH + 1)), "counts": np.array([5, 5])},
        {"sample": np.zeros((65, VECTOR_WIDTH)), "counts": np.array([65, 65])},
        {"sample": np.zeros((5, VECTOR_WIDTH)), "counts": np.array([60, 60])},
    ],
)
def test_a_state_of_another_configuration_is_refused(
    wrong: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
) -> None:
    with pytest.raises(ValueError):
        FitSchedule(FittedConfig(sample_points=64)).restore(wrong)


class LateExecutor(Executor):
    """Does the work only when its result is asked for: as slow as a fit beside the loop can be."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        class Late(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:  # noqa: ARG002 - Future has it
                return fn(*args, **kwargs)

        return Late()


def models(
    executor: Executor, points: int, cuts: list[int], stop: int | None = None
) -> list[tuple[int, float]]:
    """(count from which it scores, the newest vector it learned from) of every model."""
    config = FittedConfig(first_fit_points=100, refit_points=500, sample_points=64)

    def fit(sample: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        return float(sample[-1, 0])

    fitting = Fitting(config, fit, executor)
    found = []
    edges = sorted({0, points, *cuts, *([stop] if stop is not None else [])})
    for start, end in pairwise(edges):
        if start == stop:
            saved = fitting.state()
            fitting = Fitting(config, fit, executor)
            fitting.restore(saved)
        while start < end:
            upto = min(end, start + fitting.points_to_change)
            if (model := fitting.take(vectors(start, upto))) is not None:
                found.append((upto, model))
            start = upto
    return found


def test_a_model_comes_into_force_a_quarter_of_its_count_later() -> None:
    assert models(InlineExecutor(), 1800, []) == [
        (125, 99.0),
        (500, 399.0),
        (625, 499.0),
        (1250, 999.0),
        (1750, 1499.0),
    ]


@given(st.lists(st.integers(0, 1500), max_size=10), st.integers(0, 1500))
def test_models_are_the_same_for_any_batches_any_executor_and_after_a_restart(
    cuts: list[int], stop: int
) -> None:
    expected = models(InlineExecutor(), 1500, [])
    assert models(LateExecutor(), 1500, cuts) == expected
    assert models(InlineExecutor(), 1500, cuts, stop) == expected
    with ThreadPoolExecutor(1) as threads:
        assert models(threads, 1500, cuts) == expected
