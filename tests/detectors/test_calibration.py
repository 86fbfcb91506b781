from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.detectors.calibration import (
    _REFERENCE_DECADES,
    BudgetCalibration,
    Calibrated,
    Refusal,
)

Floats = npt.NDArray[np.float64]


def white(rng: np.random.Generator, n: int) -> Floats:
    return rng.normal(size=n)


def heavy_tailed(rng: np.random.Generator, n: int) -> Floats:
    return rng.standard_t(3, size=n)


def autoregressive(rng: np.random.Generator, n: int) -> Floats:
    x = rng.normal(size=n)
    for i in range(1, n):
        x[i] += 0.5 * x[i - 1]
    return x


def seasonal(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray(2 * np.sin(2 * np.pi * np.arange(n) / 288) + rng.normal(size=n), np.float64)


def surprises(oddness: Floats, calibration: BudgetCalibration | None = None, level: float = 3.0) -> Floats:
    """Surprise (n, sources) of oddness (n, sources), the sources in turn, at a budget of 10^-level."""
    n, sources = oddness.shape
    calibration = calibration or BudgetCalibration()
    calibration.table.ensure(sources)
    source = np.tile(np.arange(sources), n)
    return judged(calibration, source, oddness.ravel(), level).reshape(n, sources)


def judged(
    calibration: BudgetCalibration, source: npt.NDArray[np.int64], oddness: Floats, level: float = 3.0
) -> Floats:
    budget, nothing = np.full(len(source), 10.0**-level), np.full(len(source), np.nan)
    reference, held = _REFERENCE_DECADES * np.log1p(oddness), np.zeros(len(source), np.bool_)
    return calibration.advance(source, reference, nothing, budget, held, held).surprise


def with_evidence(evidence: Floats, oddness: Floats) -> Calibrated:
    """Points of one source at a budget of 1 in 1,000."""
    n = len(evidence)
    source, held = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    return BudgetCalibration().advance(source, oddness, evidence, np.full(n, 1e-3), held, held)


def of_one(oddness: Floats, level: float = 3.0) -> Floats:
    return surprises(oddness[:, None], level=level)[:, 0]


def incidents(exceeds: npt.NDArray[np.bool_]) -> int:
    """Runs of exceedances, one run being those at most 24 points apart."""
    at = np.flatnonzero(exceeds)
    return int(len(at) > 0) + int((np.diff(at) > 24).sum())


# The budget


@pytest.mark.parametrize("make", [white, autoregressive, heavy_tailed, seasonal])
def test_incidents_on_streams_without_faults_keep_to_the_budget(make: object) -> None:
    assert callable(make)
    rng = np.random.default_rng(7)
    sources, n, probation = 10, 20_000, 1000
    oddness = np.abs(np.column_stack([make(rng, n) for _ in range(sources)]))
    for level in (2, 3):
        surprise = surprises(oddness, level=level)[probation:]
        due = (n - probation) * 10.0**-level
        counts = [incidents(surprise[:, s] >= level) for s in range(sources)]
        assert 0.5 <= sum(counts) / (sources * due) <= 2.0
        assert all(0.5 <= count / due <= 2.0 for count in counts)


def test_the_first_points_of_sources_keep_to_the_budget_already() -> None:
    rng = np.random.default_rng(8)
    oddness = np.abs(rng.normal(size=(1000, 300)))
    for level in (2, 3):
        surprise = surprises(oddness, level=level)
        count = sum(incidents(surprise[:, s] >= level) for s in range(300))
        assert count / (300 * 1000 * 10.0**-level) <= 2.0


def test_a_planted_fault_is_an_exceedance() -> None:
    oddness = np.abs(np.random.default_rng(9).normal(size=5000))
    oddness[4000] = 12.0
    surprise = of_one(oddness)
    assert surprise[4000] > 3.0
    assert surprise[4000] == surprise[1000:].max()


def test_a_young_source_is_judged_by_what_is_usual_elsewhere_and_an_old_one_by_its_own_past() -> None:
    rng = np.random.default_rng(10)
    loud = 5.0 + 3.0 * rng.exponential(size=20_000)
    surprise = of_one(loud)
    assert (surprise[:100] > 3.0).mean() > 0.2
    assert (surprise[10_000:] > 3.0).mean() < 0.002


def test_above_and_below_the_budget_points_keep_the_order_of_their_oddness() -> None:
    oddness = np.abs(np.random.default_rng(11).standard_t(3, size=5000))
    surprise = of_one(oddness)[1000:]
    for side in (surprise > 3.0, surprise < 3.0):
        order = np.argsort(oddness[1000:][side])
        assert (np.diff(surprise[side][order]) >= 0.0).all()
        assert len(np.unique(surprise[side])) > 0.99 * side.sum()


def test_what_is_far_out_is_never_equally_odd() -> None:
    surprise = of_one(np.append(np.abs(np.random.default_rng(11).normal(size=1000)), [1e2, 1e4, 1e6, 1e9]))
    assert (np.diff(surprise[-4:]) > 0.0).all()


def test_an_incident_rests_and_its_threshold_rises_with_the_alarms() -> None:
    n = 4000
    opening = with_evidence(np.full(n, 1.5), np.zeros(n)).opening
    apart = np.diff(np.flatnonzero(opening))
    assert not opening[:100].any(), "so few points do not tell evidence from chance"
    assert (apart >= 110).all()
    assert opening.sum() < 10
    assert apart.max() > 300


def test_a_point_that_opens_an_incident_is_above_the_budget() -> None:
    n = 2000
    evidence = np.zeros(n)
    evidence[1000] = 4.0
    quiet = np.abs(np.random.default_rng(12).normal(size=n)) * 0.1
    surprise, opening, _ = with_evidence(evidence, quiet)
    assert np.flatnonzero(opening).tolist() == [1000]
    assert surprise[1000] > 3.0


@pytest.mark.parametrize("make", [white, autoregressive, heavy_tailed, seasonal])
def test_incidents_open_as_often_as_stated(make: object) -> None:
    assert callable(make)
    rng = np.random.default_rng(13)
    n = 40_000
    evidence = np.abs(np.asarray(make(rng, n))) * 0.4
    opening = with_evidence(evidence, np.zeros(n)).opening
    assert 0.5 <= opening[1000:].sum() / (n / 1000) <= 2.0


# What is learned


def test_a_long_outage_is_not_learned_and_later_faults_are_found() -> None:
    rng = np.random.default_rng(12)
    oddness = np.abs(rng.normal(size=12_000))
    oddness[6000:6200] += 15.0
    faults = [8000, 9000, 10_000, 11_000]
    oddness[faults] = 12.0
    surprise = of_one(oddness)
    assert surprise[6000] >= 3.0
    assert (surprise[faults] >= 3.0).all()


def test_what_goes_on_for_long_becomes_the_new_normal() -> None:
    oddness = np.abs(np.random.default_rng(13).normal(size=12_000))
    oddness[6000:] += 15.0
    surprise = of_one(oddness)
    assert surprise[6000] >= 3.0
    assert (surprise[6000:6100] >= 3.0).all()
    assert (surprise[9000:] < 3.0).mean() > 0.99


def an_outage(after: int = 12_000) -> Floats:
    oddness = np.abs(np.random.default_rng(13).normal(size=after))
    oddness[6000:] += 15.0
    return oddness


def one_by_one(
    calibration: BudgetCalibration, oddness: Floats, *, held: bool = False, away: bool = False
) -> Calibrated:
    """The points of one source, judged together."""
    n = len(oddness)
    reference, nothing = _REFERENCE_DECADES * np.log1p(oddness), np.full(n, np.nan)
    held_, away_ = np.full(n, held, np.bool_), np.full(n, away, np.bool_)
    return calibration.advance(np.zeros(n, np.int64), reference, nothing, np.full(n, 1e-3), held_, away_)


def test_the_point_that_makes_an_outage_the_new_normal_says_how_long_it_lasted() -> None:
    accepted = one_by_one(BudgetCalibration(), an_outage()).accepted
    (at,) = np.flatnonzero(accepted)
    assert accepted[at] == at - 6000 + 1
    assert 200 < accepted[at] <= 241  # a 25th of the points before


def test_an_outage_that_was_refused_is_never_learned_and_the_next_one_is_judged_anew() -> None:
    oddness = an_outage()
    calibration = BudgetCalibration()
    one_by_one(calibration, oddness[:6100])
    assert calibration.refuse(0) is Refusal.KEPT_OUT
    after = one_by_one(calibration, oddness[6100:])
    assert not after.accepted.any()
    assert (after.surprise >= 3.0).all()
    one_by_one(calibration, oddness[:1000])
    assert one_by_one(calibration, oddness[6000:]).accepted.any()


def test_an_outage_that_was_learned_can_be_forgotten_again() -> None:
    oddness = an_outage()
    calibration = BudgetCalibration()
    before = one_by_one(calibration, oddness[:6100])
    learned = one_by_one(calibration, oddness[6100:9000])
    assert learned.accepted.any()
    assert (learned.surprise[-500:] < 3.0).mean() > 0.99
    assert calibration.refuse(0) is Refusal.FORGOTTEN
    assert (one_by_one(calibration, oddness[9000:]).surprise >= 3.0).all()
    usual = one_by_one(calibration, oddness[1000:3000]).surprise
    assert (usual >= 3.0).mean() < 0.003
    assert (before.surprise[6000:] >= 3.0).all()


def test_without_an_outage_there_is_nothing_to_refuse() -> None:
    calibration = BudgetCalibration()
    one_by_one(calibration, an_outage()[:5990])
    before = calibration.table.arrays(1)
    assert calibration.refuse(0) is Refusal.NOTHING
    for name, array in calibration.table.arrays(1).items():
        np.testing.assert_array_equal(array, before[name])


def test_what_was_learned_long_ago_is_not_forgotten() -> None:
    calibration = BudgetCalibration()
    one_by_one(calibration, np.append(an_outage(), an_outage()[6000:]))
    assert calibration.refuse(0) is Refusal.NOTHING


def test_points_that_wait_can_be_learned_at_once() -> None:
    calibration = BudgetCalibration()
    one_by_one(calibration, an_outage()[:6004])
    assert calibration.release(0) == 4
    assert calibration.release(0) == 0


def test_points_that_are_held_are_judged_but_change_nothing() -> None:
    calibration = BudgetCalibration()
    one_by_one(calibration, an_outage()[:6000])
    before = calibration.table.arrays(1)
    held = one_by_one(calibration, an_outage()[6000:6032], held=True)
    assert (held.surprise > 3.0).all()
    assert not held.opening.any()
    for name, array in calibration.table.arrays(1).items():
        np.testing.assert_array_equal(array[0], before[name][0])


def test_a_stream_that_comes_alive_is_not_alarming_for_ever() -> None:
    rng = np.random.default_rng(14)
    oddness = np.append(np.zeros(3000), np.abs(rng.normal(size=3000)))
    surprise = of_one(oddness)
    assert incidents(surprise[3500:] >= 3) <= 5


def test_constant_oddness_is_never_surprising() -> None:
    assert of_one(np.full(3000, 0.7))[500:].max() < 3.0
    assert of_one(np.zeros(3000)).max() < 3.0


# Mechanics


def test_points_without_oddness_have_no_surprise_and_change_nothing() -> None:
    oddness = np.abs(np.random.default_rng(15).normal(size=2000))
    holes = np.insert(oddness, [0, 500, 500, 1999], np.nan)
    surprise = of_one(holes)
    np.testing.assert_array_equal(np.isnan(surprise), np.isnan(holes))
    np.testing.assert_array_equal(surprise[~np.isnan(holes)], of_one(oddness))


@settings(max_examples=20)
@given(st.lists(st.integers(0, 600), max_size=8))
def test_batches_of_any_size_give_the_same_bits(cuts: list[int]) -> None:
    rng = np.random.default_rng(16)
    source, oddness = rng.integers(0, 5, 600), np.abs(rng.standard_t(2, 600))
    whole, split = BudgetCalibration(), BudgetCalibration()
    expected = judged(whole, source, oddness)
    parts = [judged(split, source[a:b], oddness[a:b]) for a, b in pairwise([0, *sorted(cuts), 600])]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    for name, array in whole.table.arrays(16).items():
        np.testing.assert_array_equal(split.table.arrays(16)[name], array)


def test_sources_do_not_touch_each_other() -> None:
    oddness = np.abs(np.random.default_rng(17).normal(size=(3000, 3))) * np.array([1.0, 10.0, 0.1])
    together = surprises(oddness)
    for s in range(3):
        np.testing.assert_array_equal(together[:, s], of_one(oddness[:, s]))


def test_a_cleared_row_starts_anew() -> None:
    oddness = np.abs(np.random.default_rng(18).standard_t(1, size=(500, 1)))
    calibration = BudgetCalibration()
    first = surprises(oddness, calibration)
    assert not np.array_equal(surprises(oddness, calibration), first)
    calibration.table.clear(0, 1)
    np.testing.assert_array_equal(surprises(oddness, calibration), first)


def test_a_restored_table_goes_on_as_if_never_stopped() -> None:
    oddness = np.abs(np.random.default_rng(19).standard_t(2, size=(3000, 4)))
    calibration, resumed = BudgetCalibration(), BudgetCalibration()
    surprises(oddness[:1234], calibration)
    resumed.table.restore(calibration.table.arrays(4))
    np.testing.assert_array_equal(surprises(oddness[1234:], resumed), surprises(oddness[1234:], calibration))
