from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.detectors import sketch
from service.kernels import kernel

Floats = npt.NDArray[np.float64]

PRIOR = sketch.prior_bins(1.25, 200.0)
POINT = 256.0  # weight of the first point
WIDTHS: list[type[np.unsignedinteger[Any]]] = [np.uint16, np.uint32]
EXPONENTIAL = np.random.default_rng(1).exponential(size=10_016)
GAUSSIAN = np.abs(np.random.default_rng(2).normal(size=10_016))


@kernel
def _feed(bins: sketch.Bins, fit: Floats, values: Floats, most: float) -> None:
    for i in range(values.shape[0]):
        sketch.refit_if_due(bins, fit)
        sketch.learn(bins, fit, sketch.bin_of(values[i], bins.shape[0]), min(most, max(230.0, 0.5 * i)))
    sketch.refit_if_due(bins, fit)


class Sketch:
    """One row of state."""

    def __init__(self, width: type[np.unsignedinteger[Any]] = np.uint32) -> None:
        self.bins: npt.NDArray[Any] = np.zeros(sketch.BINS, width)
        self.fit = np.zeros(sketch.NUMBERS)
        sketch.start(self.bins, self.fit, PRIOR)

    def feed(self, values: Sequence[float] | Floats, memory: float = 10_000.0) -> Sketch:
        _feed(self.bins, self.fit, np.asarray(values, np.float64), memory)
        return self

    def surprise(self, value: float) -> float:
        return sketch.surprise(self.bins, self.fit, value)

    def magnitude(self, value: float) -> float:
        return sketch.magnitude(self.curve, value)

    @property
    def curve(self) -> Floats:
        sketch.refit(self.bins, self.fit)
        curve = np.empty((2, len(self.bins)))
        sketch.draw_curve(self.bins, self.fit, curve)
        return curve


oddness = st.one_of(st.floats(0, 1e160), st.floats(0, 20), st.integers(0, 5).map(float))


@given(st.lists(oddness, max_size=60))
def test_every_point_adds_its_weight_and_nothing_else_changes(values: list[float]) -> None:
    one = Sketch()
    for value in values:
        before = one.bins.copy()
        one.feed([value])
        added = one.bins.astype(np.int64) - before
        assert (added > 0).sum() == 1
        assert added.sum() - one.fit[sketch.WEIGHT] == pytest.approx(0.0, abs=1.0)
        assert one.fit[sketch.TOTAL] == one.bins.sum()
    assert one.fit[sketch.SEEN] == len(values)


@pytest.mark.parametrize("width", WIDTHS)
def test_totals_stay_exact_where_weights_are_halved(width: type[np.unsignedinteger[Any]]) -> None:
    one = Sketch(width)
    largest = 0.0
    for chunk in np.array_split(np.tile(EXPONENTIAL, 12), 200):
        one.feed(chunk, memory=5000.0)
        assert one.fit[sketch.TOTAL] == one.bins.sum(dtype=np.int64)
        largest = max(largest, one.fit[sketch.WEIGHT])
    assert one.fit[sketch.WEIGHT] < largest, "never halved"
    assert one.fit[sketch.SEEN] == 12 * len(EXPONENTIAL)
    assert one.surprise(-math.log(0.01)) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_sketch_forgets_what_lies_further_back_than_its_memory(
    width: type[np.unsignedinteger[Any]],
) -> None:
    one = Sketch(width).feed(np.full(5000, 100.0), memory=500.0)
    assert one.surprise(50.0) < 0.01
    one.feed(EXPONENTIAL[:5000], memory=500.0)
    assert one.surprise(50.0) > 3.0


# What is rare


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("p", [0.5, 0.2, 0.1, 0.05, 0.01, 1e-3, 1e-4, 1e-5])
def test_on_an_exponential_stream_the_surprise_is_the_true_one(
    p: float, width: type[np.unsignedinteger[Any]]
) -> None:
    true = -math.log10(p)
    assert Sketch(width).feed(EXPONENTIAL).surprise(-math.log(p)) == pytest.approx(
        true, abs=0.02 + 0.07 * true
    )


# A normal tail is lighter than the one that is presumed: far out the sketch says less than the truth.
@pytest.mark.parametrize(
    ("value", "p"), [(0.674490, 0.5), (1.644854, 0.1), (2.575829, 1e-2), (3.290527, 1e-3), (3.890592, 1e-4)]
)
def test_on_a_gaussian_stream_the_surprise_is_the_true_one(value: float, p: float) -> None:
    true = -math.log10(p)
    assert Sketch().feed(GAUSSIAN).surprise(value) == pytest.approx(true, abs=0.02 + 0.12 * true)


@pytest.mark.parametrize("values", [EXPONENTIAL, GAUSSIAN], ids=["exponential", "gaussian"])
def test_half_as_many_bits_tell_the_same(values: Floats) -> None:
    one, other = (Sketch(width).feed(values) for width in WIDTHS)
    for value in (0.1, 0.5, 1.0, 2.0, 4.0, 8.0):
        assert one.surprise(value) == pytest.approx(other.surprise(value), rel=0.03, abs=0.003)


def test_before_the_first_point_the_prior_speaks() -> None:
    one = Sketch().feed([])
    for value in (0.2, 0.5, 1.0, 1.4):
        assert one.surprise(value) == pytest.approx(1.25 * value, abs=0.05)


def test_a_value_that_repeats_is_as_common_as_it_is() -> None:
    one = Sketch().feed(np.where(np.arange(10_016) % 10 == 0, 7.0, 1.0))
    assert one.surprise(7.0) == pytest.approx(1.0, abs=0.02)
    assert one.surprise(1.0) == pytest.approx(0.0, abs=0.02)
    assert one.surprise(9.0) > 2.5


def test_a_stream_of_zeros_finds_zero_usual_and_anything_else_odd() -> None:
    one = Sketch().feed(np.zeros(10_016))
    assert one.surprise(0.0) == pytest.approx(0.0, abs=0.01)
    assert one.surprise(1.0) > 3.0


many_streams = st.one_of(
    st.tuples(
        st.sampled_from(["exponential", "gaussian", "heavy", "atoms", "mixture"]), st.integers(0, 10**6)
    ),
)


def stream(kind: str, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, 4000))
    match kind:
        case "exponential":
            return rng.exponential(size=n) * 10 ** rng.uniform(-2, 2)
        case "gaussian":
            return np.abs(rng.normal(size=n))
        case "heavy":
            return np.abs(rng.standard_t(1.5, size=n))
        case "atoms":
            return rng.poisson(rng.uniform(0.1, 5), n).astype(np.float64)
        case _:
            k = int(rng.integers(1, 6))
            centers = rng.choice(10 ** rng.uniform(-2, 3, k), n, p=rng.dirichlet(np.full(k, 0.3)))
            return np.asarray(np.abs(centers * (1 + rng.uniform(0, 0.3) * rng.normal(size=n))), np.float64)


def ladder(one: Sketch, values: Floats) -> Floats:
    """Ascending values, among them those of the stream and those around the tail's beginning."""
    edge = one.fit[sketch.EDGE]
    around = edge * np.array([1 - 1e-3, 1 - 1e-9, 1.0, 1 + 1e-9, 1 + 1e-3])
    return np.sort(
        np.concatenate(
            [[0.0], np.geomspace(1e-4, 1e5, 300), np.quantile(values, np.linspace(0, 1, 200)), around]
        )
    )


@settings(max_examples=100)
@given(many_streams)
def test_between_refits_a_larger_value_is_never_less_surprising(drawn: tuple[str, int]) -> None:
    values = stream(*drawn)
    one = Sketch().feed(values)
    steps = ladder(one, values)
    # The blend of a counted and a fitted tail may turn back by a little where the two disagree.
    surprise = np.array([one.surprise(x) for x in steps])
    assert (np.maximum.accumulate(surprise) - surprise).max() <= 0.15
    magnitude = np.array([one.magnitude(x) for x in steps])
    assert (np.maximum.accumulate(magnitude) - magnitude).max() <= 1e-12


@pytest.mark.parametrize("values", [EXPONENTIAL, GAUSSIAN], ids=["exponential", "gaussian"])
def test_on_a_plain_stream_a_larger_value_is_always_at_least_as_surprising(values: Floats) -> None:
    one = Sketch().feed(values)
    surprise = np.array([one.surprise(x) for x in ladder(one, values)])
    assert (np.diff(surprise) >= -1e-12).all()
    assert surprise.max() == pytest.approx(12.0)


@given(st.lists(oddness, max_size=80), oddness)
def test_surprise_and_magnitude_are_finite_and_not_negative(values: list[float], probe: float) -> None:
    one = Sketch().feed(values)
    assert 0.0 <= one.surprise(probe) <= 12.0
    assert 0.0 <= one.magnitude(probe) < math.inf


def test_the_magnitude_goes_on_where_the_surprise_ends() -> None:
    one = Sketch().feed(EXPONENTIAL)
    for p in (0.1, 0.05, 0.01, 1e-3, 1e-4):
        assert one.magnitude(-math.log(p)) == pytest.approx(-math.log10(p), rel=0.15, abs=0.02)
    assert one.magnitude(1e6) > 2 * one.magnitude(1e5) > 1e4


def test_past_faults_do_not_blunt_the_magnitude_of_the_next() -> None:
    rng = np.random.default_rng(3)
    clean = rng.exponential(size=10_016)
    with_faults = np.where(rng.random(10_016) < 0.005, 60.0, clean)
    before, after = (Sketch().feed(values).magnitude(60.0) for values in (clean, with_faults))
    assert after == pytest.approx(before, rel=0.25)


def test_prior_bins_hold_the_weight_of_their_points() -> None:
    bins = sketch.prior_bins(1.0, 50.0)
    assert len(bins) == sketch.BINS
    assert bins.sum() == pytest.approx(50 * POINT, abs=sketch.BINS)


# Bins


@given(st.one_of(st.floats(0, 1e300), st.floats(0, 1e-2), st.floats(0, 20)))
@example(2.0**-10)
@example(math.nextafter(2.0**-10, 0))
@example(-0.0)
def test_a_value_lies_in_the_bin_between_its_edges(value: float) -> None:
    for bins in (128, sketch.BINS):
        i = sketch.bin_of(value, bins)
        assert i == np.clip(np.searchsorted(sketch.EDGES, value, side="right") - 1, 0, bins - 1)


def test_edges_rise_by_an_eighth_of_an_octave() -> None:
    assert sketch.EDGES[:3].tolist() == [0.0, 2.0**-10, 1.125 * 2.0**-10]
    assert len(sketch.EDGES) == sketch.BINS + 1
    assert (np.diff(sketch.EDGES) > 0).all()
    assert (sketch.EDGES[9::8] / sketch.EDGES[1:-8:8] == 2.0).all()


@settings(max_examples=50, deadline=None)
@given(many_streams)
def test_the_curve_is_the_counted_surprise_at_the_edges_and_a_straight_tail(drawn: tuple[str, int]) -> None:
    one = Sketch().feed(stream(*drawn))
    curve, (edge, tail) = one.curve, one.fit[[sketch.EDGE, sketch.TAIL]]
    below = np.flatnonzero(sketch.EDGES[1:] <= edge)
    at_or_above = one.bins[::-1].cumsum(dtype=np.float64)[::-1]
    for i in below:
        counted = -math.log10(min(max(at_or_above[i] / one.bins.sum(), tail), 1.0))
        assert sketch.magnitude(curve, sketch.EDGES[i]) == pytest.approx(counted, abs=1e-9)
    assert sketch.magnitude(curve, edge) == pytest.approx(-math.log10(tail), abs=1e-9)
    steps = np.diff([sketch.magnitude(curve, edge * (1.0 + k)) for k in range(4)])
    assert steps == pytest.approx(steps[0], rel=1e-9)
    assert steps[0] > 0
