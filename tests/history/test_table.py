from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.history.table import Column, StateTable

COLUMNS = {
    "count": Column(np.int64),
    "ring": Column(np.float64, 3),
    "level": Column(np.float32, 0, fill=-1.0),
}


def filled(rows: int) -> StateTable:
    """Every row holds numbers of its own."""
    table = StateTable(COLUMNS, rows=rows)
    table["count"][:] = np.arange(rows) + 1
    table["ring"][:] = np.arange(rows)[:, None] + np.array([0.25, 0.5, 0.75])
    table["level"][:] = np.arange(rows) + 0.5
    return table


def row(table: StateTable, i: int) -> list[object]:
    return [table[name][i].tolist() for name in COLUMNS]


NEW = [0, [0.0, 0.0, 0.0], -1.0]


def test_new_rows_hold_their_columns_fill() -> None:
    table = StateTable(COLUMNS, rows=2)
    assert [row(table, i) for i in range(2)] == [NEW, NEW]


@given(st.lists(st.integers(0, 200), max_size=8))
def test_growing_keeps_the_rows_there_are_and_makes_the_others_new(sizes: list[int]) -> None:
    table = filled(4)
    before = [row(table, i) for i in range(4)]
    for size in sizes:
        table.ensure(size)
        assert len(table) >= size
    assert [row(table, i) for i in range(4)] == before
    assert all(row(table, i) == NEW for i in range(4, len(table)))
    assert {len(table[name]) for name in COLUMNS} == {len(table)}


def test_a_table_that_is_large_grows_as_a_small_one_does() -> None:
    table = filled(12_000)  # 288 kB of rings: pages of their own
    before = [row(table, i) for i in (0, 6_000, 11_999)]
    table.ensure(20_000)
    assert [row(table, i) for i in (0, 6_000, 11_999)] == before
    assert all(row(table, i) == NEW for i in range(12_000, 24_000))
    table.clear(0, 12_000)
    assert not table["ring"].any()


def test_growing_one_row_at_a_time_doubles() -> None:
    table = StateTable(COLUMNS, rows=4)
    sizes = set()
    for rows in range(1, 1000):
        table.ensure(rows)
        sizes.add(len(table))
    assert sizes == {4, 8, 16, 32, 64, 128, 256, 512, 1024}


def test_clearing_makes_the_rows_new_and_leaves_their_neighbours() -> None:
    table, untouched = filled(6), filled(6)
    table.clear(2, 4)
    assert [row(table, i) for i in (2, 3)] == [NEW, NEW]
    assert [row(table, i) for i in (0, 1, 4, 5)] == [row(untouched, i) for i in (0, 1, 4, 5)]


def test_moved_rows_are_the_old_ones() -> None:
    table, untouched = filled(8), filled(8)
    table.move(1, 5, 2)
    assert [row(table, i) for i in (5, 6)] == [row(untouched, i) for i in (1, 2)]
    assert [row(table, i) for i in (0, 1, 2, 3, 4, 7)] == [row(untouched, i) for i in (0, 1, 2, 3, 4, 7)]


def test_restored_rows_are_those_that_were_saved() -> None:
    table = filled(40)
    restored = StateTable(COLUMNS)
    restored.restore(table.arrays(33))
    assert [row(restored, i) for i in range(33)] == [row(table, i) for i in range(33)]
    restored.ensure(34)
    assert row(restored, 33) == NEW


def test_saved_rows_do_not_change_with_the_table() -> None:
    table = filled(4)
    saved = table.arrays(2)
    table.clear(0, 4)
    assert saved["count"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("count", None),
        ("count", np.zeros(2, np.int32)),
        ("ring", np.zeros((2, 4))),
        ("ring", np.zeros(2)),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused_by_name(name: str, array: object) -> None:
    arrays: dict[str, object] = {**filled(2).arrays(2), name: array}
    if array is None:
        del arrays[name]
    with pytest.raises(ValueError, match=name):
        StateTable(COLUMNS).restore(arrays)  # type: ignore[arg-type]


def test_nbytes_is_the_memory_of_all_columns() -> None:
    assert StateTable(COLUMNS, rows=10).nbytes == 10 * (8 + 3 * 8 + 4)
