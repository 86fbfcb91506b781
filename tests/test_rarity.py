from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.rarity import Rarity

MANY = 10_000_000


@pytest.mark.parametrize(
    ("surprise", "every_s", "text"),
    [
        (3.0, 10, "about once in 2.8 hours"),
        (4.6355, 80, "about once in 40 days"),
        (3.0, 0.05, "about once in 50 seconds"),
        (3.0, 0.001, "about once in 1 second"),
        (3.0, 0.0015, "about once in 1.5 seconds"),
        (3.0, 0.3, "about once in 5 minutes"),
        (3.0, 3600, "about once in 42 days"),
        (6.0, 60, "about once in 690 days"),
        (6.0, 600, "about once in 19 years"),
    ],
)
def test_a_rarity_is_told_in_the_time_of_its_source(surprise: float, every_s: float, text: str) -> None:
    told = Rarity.of(surprise, every_s * 1000, MANY).text
    assert told == text + " for this source"


def test_without_a_pace_points_are_counted() -> None:
    assert Rarity.of(4.6355, 0.0, MANY).text == "about once in 43,000 points of this source"


def test_what_is_rarer_than_its_source_is_old_is_told_as_that() -> None:
    rarity = Rarity.of(5.0, 1000, 9000)
    assert rarity.text == "rarer than once in the 9,000 points seen of this source"
    assert rarity[:2] == pytest.approx((1e5, 1e5))


@given(st.floats(-5, 500), st.floats(0, 1e15), st.integers(1, 2**53))
def test_every_rarity_has_words_and_numbers(surprise: float, gap_ms: float, seen: int) -> None:
    rarity = Rarity.of(surprise, gap_ms, float(seen))
    assert 1.0 <= rarity.points <= 1e15
    assert rarity.seen == seen
    assert "once in" in rarity.text
