from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detectors.base import AnomalyDetector
from service.detectors.ensemble import EnsembleDetector, Strategy
from service.detectors.registry import EnsembleConfig, make_ensemble
from service.detectors.statistical import (
    DifferenceConfig,
    EwmaConfig,
    RobustZConfig,
    StatisticalDetector,
    ZScoreConfig,
)
from service.errors import ConfigurationError
from tests.streams import Features, noise

Floats = npt.NDArray[np.float64]


def four() -> list[AnomalyDetector]:
    return [
        StatisticalDetector(c) for c in (ZScoreConfig(), RobustZConfig(), EwmaConfig(), DifferenceConfig())
    ]


surprise = st.one_of(st.just(math.nan), st.floats(0, 12), st.integers(0, 3).map(float))
rows = st.lists(st.lists(surprise, min_size=4, max_size=4), min_size=1, max_size=20)
# Whole numbers, so that half of the weight is exactly half in any order of adding.
weights = st.lists(st.integers(0, 9).map(float), min_size=4, max_size=4).filter(any)


def combine(strategy: Strategy, surprises: list[list[float]], weights: list[float]) -> Floats:
    return EnsembleDetector(four(), weights, strategy).combine(np.array(surprises))


@given(rows, weights)
def test_weighted_average_is_that_of_numpy_over_those_that_take_part(
    surprises: list[list[float]], weights: list[float]
) -> None:
    for row, combined in zip(surprises, combine(Strategy.WEIGHTED_AVERAGE, surprises, weights), strict=True):
        there = ~np.isnan(row)
        if not np.array(weights)[there].any():
            assert math.isnan(combined)
        else:
            expected = np.average(np.array(row)[there], weights=np.array(weights)[there])
            assert combined == pytest.approx(expected, rel=1e-12, abs=1e-300)


@given(rows, weights)
def test_max_is_the_highest_of_those_that_have_weight(
    surprises: list[list[float]], weights: list[float]
) -> None:
    for row, combined in zip(surprises, combine(Strategy.MAX, surprises, weights), strict=True):
        there = [s for s, w in zip(row, weights, strict=True) if w > 0 and not math.isnan(s)]
        np.testing.assert_equal(combined, max(there, default=math.nan))


@given(rows, weights, st.floats(-1, 13))
def test_majority_vote_is_above_a_threshold_exactly_when_more_than_half_the_weight_is(
    surprises: list[list[float]], weights: list[float], anywhere: float
) -> None:
    for row, combined in zip(surprises, combine(Strategy.MAJORITY_VOTE, surprises, weights), strict=True):
        there = [(s, w) for s, w in zip(row, weights, strict=True) if w > 0 and not math.isnan(s)]
        assert math.isnan(combined) == (not there)
        thresholds = [anywhere, *(s for s, _ in there), *(np.nextafter(s, -1) for s, _ in there)]
        for threshold in thresholds if there else []:
            votes = sum(w for s, w in there if s > threshold)
            assert (combined > threshold) == (votes > sum(w for _, w in there) / 2)


@pytest.mark.parametrize("strategy", list(Strategy))
@given(row=st.lists(st.floats(0, 12), min_size=4, max_size=4), scale=st.sampled_from([0.001, 3.0, 1000.0]))
def test_only_the_proportions_of_weights_matter(strategy: Strategy, row: list[float], scale: float) -> None:
    one = combine(strategy, [row], [1.0, 2.0, 3.0, 4.0])
    other = combine(strategy, [row], [scale * w for w in (1.0, 2.0, 3.0, 4.0)])
    assert one[0] == pytest.approx(other[0], rel=1e-12)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_members_that_cannot_score_are_as_if_they_were_not_there(strategy: Strategy) -> None:
    nan = math.nan
    with_holes = combine(strategy, [[1.0, nan, 2.0, nan]], [1.0, 5.0, 3.0, 7.0])
    without = EnsembleDetector(four()[:2], [1.0, 3.0], strategy).combine(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(with_holes, without)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_member_without_weight_is_shown_but_not_used(strategy: Strategy) -> None:
    batch = Features().of(noise(1, 400))
    both = EnsembleDetector(four()[:2], [1.0, 0.0], strategy)
    alone = EnsembleDetector(four()[:1], [1.0], strategy)
    surprises = both.members(batch)
    assert np.isfinite(surprises[200:]).all()
    np.testing.assert_array_equal(both.combine(surprises), alone.combine(alone.members(batch)))


def test_without_weights_all_count_the_same() -> None:
    assert EnsembleDetector(four()).weights == (1.0,) * 4


def small() -> EnsembleDetector:
    return make_ensemble(
        EnsembleConfig.model_validate(
            {
                "detectors": [
                    {"type": "zscore"},
                    {"type": "half_space_trees", "window_points": 64},
                    {"type": "isolation_forest", "first_fit_points": 128, "trees": 5},
                ]
            }
        )
    )


def test_members_take_part_from_when_they_are_trained() -> None:
    surprises = small().members(Features().of(noise(1, 400, sources=1)))
    taking_part = np.isfinite(surprises)
    assert taking_part.argmax(axis=0).tolist() == [30, 64, 160]
    assert taking_part[160:].all()


def test_an_ensemble_is_trained_when_one_of_its_detectors_is() -> None:
    assert small().is_trained
    trees = EnsembleConfig.model_validate({"detectors": [{"type": "half_space_trees", "window_points": 64}]})
    ensemble = make_ensemble(trees)
    assert not ensemble.is_trained
    assert np.isnan(ensemble.score(Features().of(noise(1, 200)))).all()
    ensemble.train(np.zeros((64, 6)))
    assert ensemble.is_trained


def test_scoring_says_what_the_stream_would_and_learns_nothing() -> None:
    ensemble = small()
    batch = Features().of(noise(1, 400))
    ensemble.members(batch.part(0, 300))
    before = ensemble.state()
    peeked = ensemble.score(batch.part(300, 301))
    ensemble.score(batch)
    for name, array in ensemble.state().items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(ensemble.combine(ensemble.members(batch.part(300, 301))), peeked)


def test_run_as_a_detector_it_says_what_its_members_say_together() -> None:
    batch = Features().of(noise(1, 400))
    one, other = small(), small()
    np.testing.assert_array_equal(one.run(batch), other.combine(other.members(batch)))
    for name, array in one.state().items():
        np.testing.assert_array_equal(array, other.state()[name])


@pytest.mark.parametrize("stop", [0, 100, 200, 399])
def test_a_new_ensemble_with_the_state_of_another_goes_on_as_if_never_stopped(stop: int) -> None:
    batch = Features().of(noise(1, 400))
    ensemble, resumed = small(), small()
    ensemble.members(batch.part(0, stop))
    resumed.restore(ensemble.state())
    rest = batch.part(stop, 400)
    np.testing.assert_array_equal(resumed.members(rest), ensemble.members(rest))


def test_the_state_of_other_detectors_is_refused() -> None:
    with pytest.raises(ValueError, match="4 detectors"):
        EnsembleDetector(four()).restore(EnsembleDetector(four()[:3]).state())
    with pytest.raises(ValueError, match="3 detectors"):
        EnsembleDetector(four()[:3]).restore(EnsembleDetector(four()).state())
    with pytest.raises(ValueError):
        EnsembleDetector(four()).restore({})


@pytest.mark.parametrize(
    ("detectors", "weights", "strategy", "said"),
    [
        ([], None, "max", "detectors: at least one"),
        (four()[:1] * 2, None, "max", r"detectors: each type once, got \['zscore', 'zscore'\]"),
        (four(), [1.0], "max", "weights: 1 weights for 4 detectors"),
        (four()[:2], [1.0, -0.5], "max", "weights: .*-0.5"),
        (four()[:2], [1.0, math.nan], "max", "weights: .*nan"),
        (four()[:2], [0.0, 0.0], "max", "weights: at least one must be above 0"),
        (four(), None, "median", "strategy: 'median' is none of weighted_average, max, majority_vote"),
    ],
)
def test_what_is_wrong_is_named(
    detectors: list[AnomalyDetector], weights: list[float] | None, strategy: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        EnsembleDetector(detectors, weights, strategy)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        EnsembleDetector([], [1.0], "median")
    assert len(raised.value.problems) == 3
