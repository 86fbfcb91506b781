"""What is odd about a value is told by what drove it, with its numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.features.deviations import Deviation
from service.features.marks import MARKS, Mark
from service.features.window import FEATURES, Feature
from service.oddities import Odd, number, told


def odd(
    marks: Mapping[Any, float], *, alone: bool = True, by_evidence: bool = False, oddness: float = 9.0
) -> Odd:
    """A flow of 12.3, usually 10 ± 1, with these marks."""
    features = [0.0] * FEATURES
    features[Feature.VALUE], features[Feature.STD], features[Feature.DIFFERENCE] = 12.3, 1.0, -2.1
    row = [0.0] * MARKS
    row[Mark.MEAN], row[Mark.SHORT_MEDIAN], row[Mark.LONG_MEDIAN] = 10.0, 10.1, 9.9
    for mark, size in marks.items():
        row[mark] = size
    return Odd("flow", features, row, alone, oddness, by_evidence)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Deviation.STEP, "flow fell by 2.1 to 12.3 in one step, 7.2 times its usual step"),
        (Deviation.LEVEL, "flow 12.3 lies 7.2 times as far as usual from 10, the mean of its whole past"),
        (Deviation.SHORT, "flow is 12.3: it lies 7.2 times as far as usual from its level of late, 10.1"),
        (
            Deviation.LONG_OF_3,
            "the last three values of flow, now 12.3, lie 7.2 times as far as usual from 9.9, "
            "its level in the long run",
        ),
        (
            Deviation.RECURRENCE,
            "the last few values of flow, now 12.3, take a course that none of the 250 points before "
            "resembles: 7.2 times as far as usual from the nearest",
        ),
    ],
)
def test_the_deviation_with_the_largest_part_is_told(kind: int, text: str) -> None:
    assert told(odd({Deviation.STEP: 1.0, kind: 7.2})) == text


def test_a_standstill_that_made_the_oddness_is_told() -> None:
    marks = {Mark.STANDSTILL: 9.0, Mark.REPEATS: 12.0, Deviation.STEP: 50.0}
    text = "flow has been 12.3 13 times in a row, far longer than it usually stays"
    assert told(odd(marks)) == text
    assert told(odd(marks, oddness=9.1)) != text


def test_a_value_that_leaves_the_others_is_told() -> None:
    marks = {Deviation.STEP: 2.0, Mark.RESIDUAL: 7.2, Deviation.RECURRENCE: 3.0}
    assert told(odd(marks, alone=False)) == (
        "flow 12.3 does not go with the other values: 7.2 times as far as usual from where they put it"
    )


@pytest.mark.parametrize(
    ("sign", "size", "text"),
    [
        (0, 2.1, "flow rose by 2.1 to 12.3 in one step"),
        (2, -1.5, "the last 24 values of flow average 1.5 below their usual level"),
        (3, 0.6931, "the last 48 values of flow spread more than usual, by 2.0 times"),
        (3, -0.6931, "the last 48 values of flow spread less than usual, by 2.0 times"),
        (4, 4.0, "flow 12.3 is 4 above its usual value at this time of day"),
        (5, 4.0, "the last 6 values of flow average 4 above what is usual at this time of day"),
    ],
)
def test_what_opened_on_evidence_is_told_by_its_rarest_sign(sign: int, size: float, text: str) -> None:
    marks = {Mark.SIZES + sign: size, Mark.SURPRISES + sign: 3.0, Deviation.STEP: 99.0}
    assert told(odd(marks, by_evidence=True)) == text


@given(
    st.lists(st.floats(0, 1e6), min_size=MARKS, max_size=MARKS),
    st.booleans(),
    st.booleans(),
    st.floats(0, 1e6),
)
def test_every_oddity_has_words(marks: list[float], alone: bool, by_evidence: bool, oddness: float) -> None:
    marks[Mark.SIZES + 3] = min(marks[Mark.SIZES + 3], 50.0)
    text = told(odd(dict(enumerate(marks)), alone=alone, by_evidence=by_evidence, oddness=oddness))
    assert "flow" in text
    assert not re.search(r"\b(nan|inf)\b", text)
    assert len(text) < 250


def test_numbers_have_two_digits_of_their_scale() -> None:
    assert (number(1013.3049, 0.05), number(0.1234567), number(-0.0001, 1.0)) == ("1013.305", "0.1235", "0")
