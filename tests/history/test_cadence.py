from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from service.history import cadence
from service.history.cadence import DAY_MS, GAP, LONGEST, PATIENCE, SEEN, TOLD

HOUR_MS = 3_600_000
AT_LEAST_MS = 60_000.0

Gaps = Callable[[np.random.Generator], npt.NDArray[Any]]


class Source:
    """One source's row, fed with the times of its points."""

    def __init__(self) -> None:
        self.times = np.zeros(3, np.int64)
        self.numbers = np.zeros(7, np.float32)
        self.offset = 0

    def feed(self, time_ms: Iterable[float], arrived_ms: Iterable[float] | None = None) -> Source:
        times = [int(t) for t in time_ms]
        for time, arrived in zip(times, times if arrived_ms is None else arrived_ms, strict=True):
            cadence.learn(self.times, self.numbers, time, int(arrived), self.offset, 5.0, AT_LEAST_MS)
            self.offset += 1
        return self

    def every(self, gap_ms: float, count: int) -> Source:
        """So many points more, one each `gap_ms`."""
        return self.feed(self.times[0] + gap_ms * np.arange(1, count + 1))

    @property
    def is_watched(self) -> bool:
        return bool(self.numbers[PATIENCE] > 0)

    @property
    def patience_ms(self) -> float:
        return float(self.numbers[PATIENCE])


def of_gaps(gaps_ms: Iterable[float]) -> Source:
    return Source().feed(DAY_MS + np.cumsum(np.fromiter(gaps_ms, float)))


@pytest.mark.parametrize("every_ms", [1000, 60_000, HOUR_MS])
def test_the_usual_gap_is_the_one_between_points(every_ms: int) -> None:
    assert of_gaps([every_ms] * 100).numbers[GAP] == pytest.approx(every_ms)


def test_a_pause_is_no_change_of_cadence() -> None:
    source = Source().every(1000, 1000)
    source.feed([source.times[0] + 30 * DAY_MS])
    assert source.numbers[GAP] == pytest.approx(1000, rel=0.01)


def test_a_new_cadence_is_learned() -> None:
    assert Source().every(1000, 1000).every(2000, 8000).numbers[GAP] == pytest.approx(2000, rel=0.01)


def test_a_source_whose_first_points_have_one_time_has_a_cadence_later() -> None:
    assert of_gaps([0, 0, 0] + [1000] * 2000).numbers[GAP] == pytest.approx(1000, rel=0.02)


def test_a_source_is_watched_once_thirty_gaps_are_known() -> None:
    assert not Source().every(1000, 30).is_watched
    assert Source().every(1000, 31).is_watched


def test_patience_is_five_usual_gaps_but_never_less_than_a_minute() -> None:
    assert of_gaps([60_000] * 6000).patience_ms == pytest.approx(300_000, rel=0.011)
    assert of_gaps([1000] * 100).patience_ms == AT_LEAST_MS


def test_a_young_source_is_waited_for_longer() -> None:
    assert of_gaps([60_000] * 32).patience_ms > 2.5 * 300_000
    assert of_gaps([60_000] * 62).patience_ms > 1.9 * 300_000


def test_patience_is_twice_the_longest_wait() -> None:
    gaps = [60_000.0] * 300
    gaps[200] = 240_000.0
    assert of_gaps(gaps).patience_ms == pytest.approx(480_000)


REGULAR: dict[str, Gaps] = {
    "jitter": lambda rng: np.abs(rng.normal(10_000, 3_000, 2000)),
    "one in ten lost": lambda rng: 10_000.0 * rng.geometric(0.9, 2000),
    "messages in pairs": lambda _: np.tile([10.0, 9_990.0], 1000),
    "ten at a time": lambda _: np.tile([*[10.0] * 9, 60_000.0], 200),
    "fifty at a time": lambda _: np.tile([*[10.0] * 49, 60_000.0], 100),
    "nights off": lambda _: np.tile([*[60_000.0] * 959, 8.0 * HOUR_MS], 5),
}
BURSTS: dict[str, Gaps] = {
    "at random": lambda rng: rng.exponential(10_000, 2000),
    "heavy tail": lambda rng: 1000 * (1 + rng.pareto(1.5, 2000)),
}


@pytest.mark.parametrize("name", REGULAR)
def test_a_source_with_a_regular_cadence_is_watched(name: str) -> None:
    assert of_gaps(REGULAR[name](np.random.default_rng(1))).is_watched


@pytest.mark.parametrize("name", BURSTS)
def test_a_source_that_comes_in_bursts_is_hardly_ever_missed(name: str) -> None:
    missed = 0
    for seed in range(20):
        source = Source()
        for gap in BURSTS[name](np.random.default_rng(seed)).tolist():
            missed += source.is_watched and gap > source.patience_ms
            source.feed([source.times[0] + gap])
    assert missed <= 2  # of 40,000 gaps


def test_points_that_come_an_hour_at_a_time_are_waited_for_an_hour() -> None:
    n = 360 * 24
    measured = DAY_MS + 10_000 * np.arange(n)
    uploaded = DAY_MS + HOUR_MS * (1 + np.arange(n) // 360)
    source = Source().feed(measured, uploaded)
    assert source.numbers[GAP] == pytest.approx(10_000)
    assert source.patience_ms > 1.8 * HOUR_MS


def test_the_nights_off_are_still_known_after_a_weekend() -> None:
    night = [*[60_000.0] * 959, 8.0 * HOUR_MS]
    source = of_gaps(night * 5).every(60_000, 4 * 1440)
    assert source.patience_ms > 8 * HOUR_MS
    assert source.numbers[LONGEST] < 8 * HOUR_MS


def test_a_silence_that_was_told_makes_patience_at_most_four_times_as_long() -> None:
    source = of_gaps([10_000] * 100)
    before = source.patience_ms
    source.numbers[TOLD] = 1.0
    source.every(100 * HOUR_MS, 1)
    assert source.patience_ms == pytest.approx(4 * before)
    assert source.numbers[TOLD] == 0.0


def test_points_that_only_came_late_may_make_it_sixteen_times_as_long() -> None:
    source = of_gaps([10_000] * 100)
    before = source.patience_ms
    source.numbers[TOLD] = 1.0
    source.feed([source.times[0] + 10_000], [source.times[0] + 100 * HOUR_MS])
    assert source.patience_ms == pytest.approx(16 * before)


def test_the_count_of_gaps_stands_still_where_it_cannot_be_told_apart_any_more() -> None:
    source = of_gaps([1000] * 100)
    source.numbers[SEEN] = 2.0**24
    assert source.every(1000, 100).numbers[SEEN] == 2.0**24
    assert source.is_watched
