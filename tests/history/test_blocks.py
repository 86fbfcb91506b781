from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.history.blocks import ALL, KINDS, NONE, Blocks, Kind
from service.history.sources import Sources
from service.history.table import Column, StateTable
from service.wire.batch import PointBatch
from tests.streams import a_point


class Tables:
    """A table of each kind: for all sources, for those of one value, of up to three, of several in pairs."""

    def __init__(self) -> None:
        self.series, self.alone, self.few, self.pairs = (
            StateTable({"x": Column(np.int64)}, rows=1) for _ in range(4)
        )
        self.kinds = (
            Kind([self.series]),
            Kind([self.alone], most=1),
            Kind([self.few], most=3),
            Kind([self.pairs], least=2, side=5, square=True),
        )
        self.blocks = Blocks(self.kinds)

    def used(self) -> list[int]:
        return [self.blocks.used(kind) for kind in range(KINDS)]


@pytest.mark.parametrize(
    ("names", "lengths"), [(1, [1, 1, 1, 0]), (2, [2, 0, 2, 4]), (3, [3, 0, 3, 9]), (7, [7, 0, 0, 25])]
)
def test_a_source_has_blocks_of_the_kinds_for_its_width(names: int, lengths: list[int]) -> None:
    tables = Tables()
    firsts = tables.blocks.take(names, names)
    assert tables.used() == lengths
    assert [first != NONE for first in firsts.tolist()] == [n > 0 for n in lengths]
    assert tables.blocks.bytes_of(names) == 8 * sum(lengths)


def test_a_widened_source_keeps_its_history_where_it_still_has_a_block() -> None:
    tables = Tables()
    firsts = tables.blocks.take(2, 2)
    tables.series["x"][:2] = 1, 2
    tables.few["x"][:2] = 3, 4
    tables.pairs["x"][:4] = 11, 12, 21, 22
    wider = tables.blocks.widen(firsts, 2, 2, 3, 4)
    assert tables.series["x"][wider[0] : wider[0] + 4].tolist() == [1, 2, 0, 0]
    assert tables.few["x"][wider[2] : wider[2] + 4].tolist() == [3, 4, 0, 0]
    assert tables.pairs["x"][wider[3] : wider[3] + 8].tolist() == [11, 12, 0, 0, 21, 22, 0, 0]
    widest = tables.blocks.widen(wider, 4, 3, 6, 8)
    assert widest[1] == widest[2] == NONE
    assert tables.pairs["x"][widest[3] : widest[3] + 25].reshape(5, 5)[:2, :2].tolist() == [
        [11, 12],
        [21, 22],
    ]


def test_blocks_that_were_given_back_are_given_out_again_and_clean() -> None:
    tables = Tables()
    firsts = tables.blocks.take(2, 2)
    used = tables.used()
    for table in (tables.series, tables.few, tables.pairs):
        table["x"][:] = 7
    tables.blocks.release(firsts, 2)
    assert tables.blocks.free == 3
    again = tables.blocks.take(2, 2)
    np.testing.assert_array_equal(again, firsts)
    assert tables.used() == used
    assert tables.pairs["x"][again[3] : again[3] + 4].tolist() == [0, 0, 0, 0]


def test_what_was_given_out_and_given_back_is_saved() -> None:
    one, other = Tables(), Tables()
    one.blocks.release(one.blocks.take(3, 3), 3)
    one.blocks.take(1, 1)
    other.blocks.restore(one.blocks.state())
    assert other.used() == one.used()
    assert len(other.pairs) >= 9
    np.testing.assert_array_equal(other.blocks.take(3, 3), one.blocks.take(3, 3))


def test_history_is_copied_between_sources_of_any_widths() -> None:
    tables = Tables()
    widths = np.array([1, 2, 6])
    froms, targets = (np.stack([tables.blocks.take(k, k) for k in widths.tolist()]) for _ in range(2))
    for table in (tables.series, tables.alone, tables.few, tables.pairs):
        table["x"][:] = np.arange(len(table))
    tables.blocks.copy(froms, targets, widths)
    for i in range(KINDS):
        kind = tables.kinds[i]
        for k, first, target in zip(
            widths.tolist(), froms[:, i].tolist(), targets[:, i].tolist(), strict=True
        ):
            if first == NONE:
                continue
            length = min(k, kind.side) ** 2 if kind.square else k
            x = kind.tables[0]["x"]
            np.testing.assert_array_equal(x[target : target + length], x[first : first + length])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6), st.booleans()), max_size=40))
def test_no_two_sources_share_a_row_whatever_comes_and_goes(steps: list[tuple[str, int, bool]]) -> None:
    tables = Tables()
    sources = Sources(2, 8, [], [tables.series], tables.kinds[1:])
    for i, (name, width, forgets) in enumerate(steps):
        if forgets:
            sources.forget(name)
        batch = PointBatch.of([a_point(name, i + 1, {f"v{j}": 1.0 for j in range(width)})])
        placed = sources.place(batch, 0)
        assert placed.width[0] == len(sources.names(name))
    rows = [(f"v{s}", sources.slot_of(s)) for s in "abc" if sources.names(s)]
    held = sources.state()["rows"].reshape(-1)
    assert len(rows) <= 2
    owners: dict[tuple[int, int], int] = {}
    for _, slot in rows:
        source = held.view(sources._rows.dtype)[slot]
        for i, kind in enumerate(tables.kinds):
            first, side = int(source["first"][i]), min(int(source["rows"]), kind.side)
            for row in range(first, first + (side * side if kind.square else side)) if first != NONE else ():
                assert owners.setdefault((i, row), slot) == slot
                assert row < sources.used(i) <= len(kind.tables[0])


def test_a_kind_for_nobody_costs_nothing() -> None:
    table = StateTable({"x": Column(np.int64)})
    assert Blocks([Kind([table], least=ALL)]).bytes_of(40) == 0
    assert Blocks([Kind([table], most=0)]).bytes_of(1) == 0
