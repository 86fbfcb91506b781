from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.detectors.ranking import MemberRanking

Floats = npt.NDArray[np.float64]


def some_oddness(n: int = 2000) -> Floats:
    rng = np.random.default_rng(20)
    oddness = np.stack([rng.exponential(size=n), 100 * rng.exponential(size=n), rng.normal(size=n) ** 2])
    oddness[1, ::7] = np.nan
    return oddness


def test_members_become_comparable_whatever_their_unit() -> None:
    surprise = MemberRanking([True] * 3).advance(some_oddness(20_000))[10_000:]
    for member in range(3):
        known = surprise[~np.isnan(surprise[:, member]), member]
        assert (known >= 1).mean() == pytest.approx(0.1, rel=0.15)
        assert (known >= 2).mean() == pytest.approx(0.01, rel=0.5)


def test_the_order_within_a_member_is_kept() -> None:
    members = MemberRanking([True])
    members.advance(np.random.default_rng(21).exponential(size=(1, 5000)))
    ascending = np.geomspace(1e-3, 1e12, 400)[None, :]
    surprise = members.peek(ascending)[:, 0]
    assert (np.diff(surprise) >= 0).all()
    assert np.isfinite(surprise).all()


def test_peeking_says_what_advancing_would_and_changes_nothing() -> None:
    members = MemberRanking([True] * 3)
    oddness = some_oddness()
    members.advance(oddness[:, :1000])
    before = members.state()
    peeked = members.peek(oddness[:, 1000:1001])
    members.peek(oddness)
    for name, array in members.state().items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(members.advance(oddness[:, 1000:1001]), peeked)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 2000), max_size=8))
def test_member_surprises_are_the_same_for_any_batches(cuts: list[int]) -> None:
    oddness = some_oddness()
    members = MemberRanking([True] * 3)
    parts = [members.advance(oddness[:, a:b]) for a, b in pairwise([0, *sorted(cuts), 2000])]
    np.testing.assert_array_equal(np.concatenate(parts), MemberRanking([True] * 3).advance(oddness))


def test_restored_members_go_on_as_if_never_stopped() -> None:
    oddness = some_oddness()
    members, resumed = MemberRanking([True] * 3), MemberRanking([True] * 3)
    members.advance(oddness[:, :777])
    resumed.restore(members.state())
    np.testing.assert_array_equal(resumed.advance(oddness[:, 777:]), members.advance(oddness[:, 777:]))


def test_a_member_that_is_a_surprise_already_is_not_ranked() -> None:
    oddness = some_oddness()
    members = MemberRanking([True, False, True])
    np.testing.assert_array_equal(members.peek(oddness)[:, 1], oddness[1])
    np.testing.assert_array_equal(members.advance(oddness)[:, 1], oddness[1])
