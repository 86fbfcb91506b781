from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.explanation import Contribution, contributions, expected_ranges, sentence, usual_reach
from service.features.window import FEATURES, Feature
from tests.streams import Features, a_point

DETECTORS = ["zscore", "robust_z", "ewma", "difference", "half_space_trees"]
EQUAL = [1.0] * len(DETECTORS)


def a_row(
    value: float,
    mean: float = 1.02,
    std: float = 0.118,
    robust_z: float = 0.0,
    ewma: float = 1.02,
    ewma_z: float = 0.0,
    difference: float = 0.0,
    difference_z: float = 0.0,
) -> list[float]:
    """The features of one value, its z score being what mean and std make it."""
    row = [0.0] * FEATURES
    row[Feature.VALUE], row[Feature.MEAN], row[Feature.STD] = value, mean, std
    row[Feature.Z_SCORE] = (value - mean) / max(std, 1e-9 + 1e-6 * abs(mean))
    row[Feature.ROBUST_Z], row[Feature.EWMA], row[Feature.EWMA_Z] = robust_z, ewma, ewma_z
    row[Feature.DIFFERENCE], row[Feature.DIFFERENCE_Z] = difference, difference_z
    return row


def missing_row() -> list[float]:
    return [math.nan] * FEATURES


def told(rows: dict[str, list[float]], by: str = "zscore", budget: float = 0.001) -> str:
    """The sentence where one detector alone is surprised."""
    names, table = list(rows), list(rows.values())
    surprises = [3.0 if name == by else 0.0 for name in DETECTORS]
    shares = contributions(names, table, DETECTORS, surprises, EQUAL)
    return sentence(names, table, shares, expected_ranges(names, table, budget))


# The sentence


def test_a_spike_is_told_with_its_numbers_and_with_what_would_have_been_normal() -> None:
    assert told({"pressure": a_row(2.13)}) == (
        "pressure 2.13 is 9.4 standard deviations above its usual 1.02 ± 0.12; "
        "below 1.41 would have been normal"
    )


def test_a_dip_is_told_the_other_way_round() -> None:
    assert told({"pressure": a_row(-0.09)}) == (
        "pressure -0.09 is 9.4 standard deviations below its usual 1.02 ± 0.12; "
        "above 0.63 would have been normal"
    )


def test_a_spike_far_beyond_measure_is_not_counted_in_digits() -> None:
    assert "is over 1000 standard deviations above" in told({"pressure": a_row(1e12)})


def test_a_series_that_stood_still_is_said_to_have_moved() -> None:
    assert (
        told({"valve": a_row(5.1, mean=5.0, std=0.0)}) == "valve 5.1 left the 5 at which it had stood still"
    )
    moved = told({"level": a_row(1013.3, mean=1013.25, std=0.0)})
    assert moved == "level 1013.3 left the 1013.25 at which it had stood still"


def test_a_drift_is_told_by_the_average_of_the_latest_points() -> None:
    row = a_row(1.2, ewma=1.18, ewma_z=7.25)
    assert told({"flow": row}, by="ewma") == (
        "flow has drifted: its latest points average 1.18, 7.2 times the usual wander above 1.02; "
        "the newest is 1.2"
    )


def test_a_jump_within_the_usual_range_is_told_as_a_step() -> None:
    row = a_row(1.2, difference=-0.31, difference_z=-12.0)
    assert told({"flow": row}, by="difference") == (
        "flow fell by 0.31 to 1.2 in one step, 12.0 times its usual step; "
        "between 0.63 and 1.41 it is normal at rest"
    )


def test_an_odd_combination_within_the_usual_range_is_told_as_that() -> None:
    assert told({"flow": a_row(1.1)}, by="half_space_trees") == (
        "flow 1.1 is within its usual 1.02 ± 0.12, but moves as it has not before"
    )


def test_numbers_have_as_many_digits_as_their_spread_needs() -> None:
    assert told({"p": a_row(1013.30, mean=1013.25, std=0.005)}).startswith(
        "p 1013.3 is 10.0 standard deviations above its usual 1013.25 ± 0.005; below 1013.2665"
    )
    assert told({"n": a_row(123456.0, mean=100000.0, std=1234.5)}) == (
        "n 123456 is 19.0 standard deviations above its usual 100000 ± 1234; "
        "below 104062 would have been normal"
    )


def test_others_that_moved_too_are_counted() -> None:
    two = {"a": a_row(2.2), "b": a_row(2.0)}
    assert told(two).endswith("; 1 other value moved with it")
    assert told({**two, "c": a_row(2.1)}).endswith("; 2 other values moved with it")
    assert "other" not in told({"a": a_row(2.2), "b": a_row(1.1)})


def test_the_value_that_contributes_most_is_told_of() -> None:
    assert told({"a": a_row(1.5), "b": a_row(3.0), "c": missing_row()}).startswith("b 3 is")


def test_without_contributions_the_combination_is_blamed() -> None:
    assert sentence(["a"], [a_row(1.0)], [], []) == "The combination of values is unusual for this source."


# What would have been normal


def test_the_expected_range_leaves_out_the_budget() -> None:
    assert usual_reach(0.0455) == pytest.approx(2.0, abs=1e-3)
    [expected] = expected_ranges(["a"], [a_row(9.0, mean=10.0, std=2.0)], 0.0455)
    assert (expected.value, expected.typical) == ("a", 10.0)
    assert [expected.lower, expected.upper] == pytest.approx([6.0, 14.0], abs=1e-2)


@pytest.mark.parametrize("budget", [0.1, 0.001, 1e-9])
def test_a_smaller_budget_expects_more(budget: float) -> None:
    assert 1.6 < usual_reach(budget) < 6.2


def test_a_value_without_history_has_no_expected_range() -> None:
    rows = [missing_row(), a_row(1.0)]
    assert [e.value for e in expected_ranges(["young", "old"], rows, 0.001)] == ["old"]


# Contributions


def test_a_detectors_part_goes_to_the_values_that_it_looks_at() -> None:
    rows = [a_row(1.02, robust_z=5.0), a_row(2.2)]
    shares = contributions(["a", "b"], rows, ["zscore", "robust_z"], [1.0, 3.0], [1.0, 1.0])
    assert shares == [Contribution("a", "robust_z", 0.75), Contribution("b", "zscore", 0.25)]


def test_weights_count() -> None:
    rows = [a_row(2.2, robust_z=5.0)]
    shares = contributions(["a"], rows, ["zscore", "robust_z"], [1.0, 1.0], [1.0, 3.0])
    assert [(c.detector, c.share) for c in shares] == [("robust_z", 0.75), ("zscore", 0.25)]


def test_a_detector_that_takes_no_part_or_is_not_surprised_has_no_share() -> None:
    rows = [a_row(2.2)]
    surprises = [math.nan, 0.0, 2.0, 1.0, 1.0]
    shares = contributions(["a"], rows, DETECTORS, surprises, [1.0, 1.0, 1.0, 1.0, 0.0])
    assert {c.detector for c in shares} == {"ewma", "difference"}


def test_a_missing_value_has_no_share_and_is_not_told_of() -> None:
    rows = {"a": missing_row(), "b": a_row(1.02), "c": a_row(1.02)}
    names, table = list(rows), list(rows.values())
    shares = contributions(names, table, ["half_space_trees"], [3.0], [1.0])
    assert [(c.value, c.share) for c in shares] == [("b", 0.5), ("c", 0.5)]
    assert "nan" not in told(rows, by="half_space_trees")


def test_shares_below_a_hundredth_are_left_out() -> None:
    rows = [a_row(2.2)] + [a_row(1.025)] * 30
    shares = contributions([str(i) for i in range(31)], rows, ["zscore"], [3.0], [1.0])
    assert [c.value for c in shares if c.share >= 0.01] == ["0"]
    assert len(shares) == 10


def test_many_small_shares_do_not_vanish_all() -> None:
    rows = [a_row(2.2)] * 200
    shares = contributions([str(i) for i in range(200)], rows, DETECTORS, [2.0] * 5, EQUAL)
    assert len(shares) == 10
    assert sum(c.share for c in shares) == pytest.approx(1.0)


z = st.one_of(st.floats(-1e150, 1e150), st.floats(-10, 10), st.just(0.0))
a_value_row = st.one_of(
    st.builds(
        a_row,
        st.floats(-1e308, 1e308),
        mean=st.floats(-1e140, 1e140),
        std=st.floats(0, 1e140),
        robust_z=z,
        ewma=st.floats(-1e140, 1e140),
        ewma_z=st.floats(-150, 150),
        difference=st.floats(-1e141, 1e141),
        difference_z=st.floats(-150, 150),
    ),
    st.builds(missing_row),
)
some_rows = st.lists(a_value_row, min_size=1, max_size=5).filter(
    lambda rows: any(not math.isnan(row[Feature.MEAN]) for row in rows)
)


@given(
    some_rows,
    st.lists(st.one_of(st.just(math.nan), st.floats(0, 30)), min_size=5, max_size=5),
    st.sampled_from([0.1, 0.001, 1e-9]),
)
def test_shares_add_up_to_one_and_no_text_holds_a_number_that_is_none(
    rows: list[list[float]], surprises: list[float], budget: float
) -> None:
    names = [f"v{i}" for i in range(len(rows))]
    shares = contributions(names, rows, DETECTORS, surprises, EQUAL)
    if any(s > 0 for s in surprises):
        assert sum(c.share for c in shares) == pytest.approx(1.0)
    assert all(0 < c.share <= 1 for c in shares)
    assert [c.share for c in shares] == sorted((c.share for c in shares), reverse=True)
    expected = expected_ranges(names, rows, budget)
    assert all(e.lower <= e.typical <= e.upper for e in expected)
    text = sentence(names, rows, shares, expected)
    assert not re.search(r"\b(nan|inf)\b", text)
    assert len(text) < 300


def test_the_sentence_of_real_features_tells_the_planted_fault() -> None:
    rng = np.random.default_rng(1)
    features = Features()
    features.of(
        [
            a_point("p", i + 1, {"flow": float(8 + rng.normal()), "pressure": float(1 + 0.1 * rng.normal())})
            for i in range(300)
        ]
    )
    batch = features.of([a_point("p", 400, {"flow": 8.3, "pressure": 2.4})])
    names, rows = ["flow", "pressure"], batch.rows.tolist()
    shares = contributions(names, rows, ["zscore", "difference"], [4.0, 3.0], [1.0, 1.0])
    text = sentence(names, rows, shares, expected_ranges(names, rows, 0.001))
    assert re.fullmatch(
        r"pressure 2\.4 is 1\d\.\d standard deviations above its usual (1|1\.0\d|0\.9\d) ± 0\.(1|09\d?|1\d); "
        r"below 1\.\d+ would have been normal",
        text,
    )
