"""Copies are equal, stay as they are, and lie in the room where it has some left."""

from __future__ import annotations

import numpy as np
import pytest

from service.history.copies import CopyRoom
from service.history.table import Array


def arrays() -> list[Array]:
    return [np.arange(7, dtype=np.uint8), np.arange(12.0).reshape(3, 4), np.zeros((0, 5)), np.arange(9)[2:]]


@pytest.mark.parametrize("room", [0, 70, 1000])
def test_copies_are_equal_and_no_later_one_changes_them(room: int) -> None:
    copies = CopyRoom()
    copies.ensure(room)
    for _ in range(2):
        copies.clear()
        originals = arrays()
        made = [copies.copied(array) for array in originals]
        for array in originals:
            array[...] = 99
        for copy, array in zip(made, arrays(), strict=True):
            assert copy.dtype == array.dtype
            np.testing.assert_array_equal(copy, array)


def test_what_was_wanted_fits_the_next_time() -> None:
    copies = CopyRoom()
    first = copies.copied(np.arange(10))
    copies.fit()
    copies.clear()
    second, third = copies.copied(np.arange(10)), copies.copied(np.arange(1000))
    assert first.base is None
    assert second.base is not None
    assert third.base is None


def test_columns_lie_at_cache_lines() -> None:
    copies = CopyRoom()
    copies.ensure(10_000)
    begin = [copies.copied(array).ctypes.data for array in (np.zeros(3, np.uint8), np.zeros(5))]
    assert begin[1] - begin[0] == 64
