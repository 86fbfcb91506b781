"""What every detector must do; a new one is found in the registry and run without being named here."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from service.detectors.base import AnomalyDetector, DetectorConfig, Floats
from service.detectors.registry import AnyDetectorConfig, make_detector
from service.features.engine import VECTOR_WIDTH, FeatureBatch
from tests.streams import MISSING, Features, a_point, noise

CONFIGS: list[type[DetectorConfig]] = list(get_args(get_args(AnyDetectorConfig)[0]))
NAMES = [str(config.model_fields["type"].default) for config in CONFIGS]

every_config = pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
cuts = st.lists(st.integers(0, 420), max_size=8)


def bounds(field: FieldInfo) -> tuple[float, float]:
    low, high = -np.inf, np.inf
    for limit in field.metadata:
        if isinstance(limit, Ge | Gt):
            low = float(limit.ge if isinstance(limit, Ge) else limit.gt)  # type: ignore[arg-type]
        if isinstance(limit, Le | Lt):
            high = float(limit.le if isinstance(limit, Le) else limit.lt)  # type: ignore[arg-type]
    return low, high


def quick(config: type[DetectorConfig]) -> AnomalyDetector:
    """A detector of this type, changing every 128 points and as small as 8 of whatever it is made of."""
    chosen: dict[str, int] = {}
    for name, field in config.model_fields.items():
        if field.annotation is int and name != "seed":
            low, high = bounds(field)
            chosen[name] = int(min(max(128 if name.endswith("_points") else 8, low), high))
    return make(config, **chosen)


def make(config: type[DetectorConfig], **fields: Any) -> AnomalyDetector:
    read: Any = TypeAdapter(AnyDetectorConfig).validate_python(
        {"type": config.model_fields["type"].default, **fields}
    )
    return make_detector(read)


@lru_cache(maxsize=1)
def stream() -> FeatureBatch:
    """Points of four sources, with missing values and some that are odd."""
    points = noise(1, 420)
    for i in range(0, 420, 23):
        points[i] = a_point(points[i].source_id, points[i].time_ms / 1000, {"flow": MISSING, "pressure": 1.0})
    for i in range(7, 420, 61):
        points[i] = a_point(points[i].source_id, points[i].time_ms / 1000, {"flow": 99.0, "pressure": -1e9})
    return Features().of(points)


@lru_cache(maxsize=20)
def whole(config: type[DetectorConfig]) -> tuple[Floats, AnomalyDetector]:
    """The oddness of the stream in one batch, and the detector after it."""
    detector = quick(config)
    return detector.run(stream()), detector


def states_equal(one: AnomalyDetector, two: AnomalyDetector) -> bool:
    a, b = one.state(), two.state()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@every_config
@settings(max_examples=6)
@given(cuts=cuts)
def test_batches_of_any_size_give_the_same_bits(config: type[DetectorConfig], cuts: list[int]) -> None:
    oddness, trained = whole(config)
    detector = quick(config)
    edges = [0, *sorted(cuts), 420]
    parts = [detector.run(stream().part(a, b)) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), oddness)
    assert states_equal(detector, trained)


@every_config
def test_batches_of_one_give_the_same_bits(config: type[DetectorConfig]) -> None:
    oddness, trained = whole(config)
    detector = quick(config)
    parts = [detector.run(stream().part(i, i + 1)) for i in range(420)]
    np.testing.assert_array_equal(np.concatenate(parts), oddness)
    assert states_equal(detector, trained)


@every_config
@pytest.mark.parametrize("stop", [0, 1, 127, 128, 129, 300])
def test_a_new_detector_with_the_state_of_another_goes_on_as_if_never_stopped(
    config: type[DetectorConfig], stop: int
) -> None:
    oddness, trained = whole(config)
    detector = quick(config)
    detector.run(stream().part(0, stop))
    resumed = quick(config)
    resumed.restore(detector.state())
    assert resumed.is_trained == detector.is_trained
    assert resumed.points_to_change == detector.points_to_change
    np.testing.assert_array_equal(resumed.run(stream().part(stop, 420)), oddness[stop:])
    assert states_equal(resumed, trained)


@every_config
def test_a_saved_state_does_not_change_while_the_detector_learns_on(config: type[DetectorConfig]) -> None:
    detector = quick(config)
    detector.run(stream().part(0, 200))
    saved = detector.state()
    copies = {name: array.copy() for name, array in saved.items()}
    detector.run(stream().part(200, 420))
    for name, array in copies.items():
        np.testing.assert_array_equal(saved[name], array)


@every_config
def test_a_restored_detector_does_not_change_the_state_that_it_took_up(config: type[DetectorConfig]) -> None:
    detector = quick(config)
    detector.run(stream().part(0, 200))
    saved = detector.state()
    copies = {name: array.copy() for name, array in saved.items()}
    resumed = quick(config)
    resumed.restore(saved)
    resumed.run(stream().part(200, 420))
    for name, array in copies.items():
        np.testing.assert_array_equal(saved[name], array)


@every_config
def test_a_state_that_is_not_its_own_is_refused(config: type[DetectorConfig]) -> None:
    with pytest.raises(ValueError):
        quick(config).restore({"foreign": np.zeros(3)})


@every_config
def test_until_it_is_trained_a_detector_says_so_and_scores_nothing(config: type[DetectorConfig]) -> None:
    detector = quick(config)
    for start in range(0, 420, 10):
        before = detector.is_trained
        oddness = detector.run(stream().part(start, start + 10))
        if not before and not detector.is_trained:
            assert np.isnan(oddness).all()
    assert detector.is_trained


@every_config
def test_a_point_without_history_has_no_score_and_every_other_has_one(config: type[DetectorConfig]) -> None:
    detector = whole(config)[1]
    oddness = detector.score(stream())
    np.testing.assert_array_equal(np.isfinite(oddness), stream().has_history)
    assert np.isnan(oddness[~stream().has_history]).all()
    assert (oddness[stream().has_history] >= 0).all()


@every_config
def test_scoring_changes_nothing(config: type[DetectorConfig]) -> None:
    detector = quick(config)
    detector.run(stream().part(0, 400))
    before = {name: array.copy() for name, array in detector.state().items()}
    left = detector.points_to_change
    first = detector.score(stream())
    np.testing.assert_array_equal(detector.score(stream()), first)
    assert detector.points_to_change == left
    after = detector.state()
    assert after.keys() == before.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


finite = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1e308, -1.7976931348623157e308, 5e-324, 1e-160, 1e154, 3.0]),
)


@every_config
@settings(max_examples=40)
@given(values=st.lists(finite, min_size=1, max_size=20))
def test_scores_are_finite_whatever_finite_numbers_come(
    config: type[DetectorConfig], values: list[float]
) -> None:
    detector = whole(config)[1]
    features = Features()
    features.of([a_point("a", i + 1, float(i % 5)) for i in range(40)])
    batch = features.of([a_point("a", 100 + i, x) for i, x in enumerate(values)])
    oddness = detector.score(batch)
    assert np.isfinite(oddness).all()
    assert (oddness >= 0).all()


@every_config
def test_learning_from_constant_series_gives_finite_scores(config: type[DetectorConfig]) -> None:
    detector = quick(config)
    points = [a_point("a", i + 1, 5.0 if i < 299 else 6.0) for i in range(300)]
    oddness = detector.run(Features().of(points))
    assert np.isfinite(oddness[170:]).all()


@every_config
def test_once_trained_an_obvious_outlier_is_odder_than_typical_points(config: type[DetectorConfig]) -> None:
    detector = make(config)
    features = Features()
    batch = features.of(noise(2, 3000))
    detector.run(batch.part(0, 2200))
    assert detector.is_trained
    typical = detector.score(batch.part(2200, 3000))
    outlier = features.of([a_point("pump-0", 1e6, {"flow": 60.0, "pressure": -60.0})])
    assert detector.score(outlier)[0] > np.quantile(typical, 0.99)


@every_config
def test_training_on_past_vectors_makes_a_detector_ready(config: type[DetectorConfig]) -> None:
    vectors = np.random.default_rng(1).uniform(-0.5, 0.5, (500, VECTOR_WIDTH))
    detector = quick(config)
    detector.train(vectors)
    assert detector.is_trained
    assert np.isfinite(detector.score(stream())[stream().has_history]).all()


# Configurations


@every_config
def test_a_configuration_is_found_by_its_type_and_names_its_detector(config: type[DetectorConfig]) -> None:
    assert make(config).name == config.model_fields["type"].default
    assert config.__doc__


@every_config
def test_fields_outside_their_bounds_are_refused(config: type[DetectorConfig]) -> None:
    for name, field in config.model_fields.items():
        low, high = bounds(field)
        outside = [edge for edge in (low - 1, high + 1) if np.isfinite(edge)]
        if name not in ("type", "seed"):
            assert len(outside) == 2, f"{name} has no bounds on both sides"
        for value in outside:
            with pytest.raises(ValidationError, match=name):
                make(config, **{name: int(value) if field.annotation is int else value})


@every_config
@pytest.mark.parametrize("wrong", [{"weight": float("nan")}, {"weight": float("inf")}, {"wieght": 1.0}])
def test_senseless_fields_are_refused(config: type[DetectorConfig], wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        make(config, **wrong)


@every_config
def test_a_configuration_cannot_be_changed(config: type[DetectorConfig]) -> None:
    with pytest.raises(ValidationError):
        config().weight = 2.0  # type: ignore[misc]
