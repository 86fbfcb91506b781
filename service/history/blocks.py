"""Blocks of neighbouring rows in tables, each for one source that needs it; knows widths, no sources.

A source has a block of every kind that its number of values is among. Blocks that were given back are given
out again, by their length, before the tables grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.history.table import Array, StateTable
from service.kernels import kernel

Firsts = npt.NDArray[np.int32]

KINDS = 4
NONE = -1  # where a source has no block of a kind
ALL = int(np.iinfo(np.int32).max)

KIND = np.dtype(
    [
        ("least", np.int64),
        ("most", np.int64),
        ("side", np.int64),
        ("square", np.int64),
        ("used", np.int64),  # rows that were ever given out
        ("room", np.int64),  # rows that the tables have
    ],
    align=True,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """Tables in which every source of `least` to `most` values has a block.

    A block has a row for each value, of the first `side` at most; if `square`, for each pair of those: that
    of values i and j is i times the block's side, and j.
    """

    tables: Sequence[StateTable]
    least: int = 1
    most: int = ALL
    side: int = ALL
    square: bool = False

    @property
    def row_bytes(self) -> int:
        return sum(table.row_bytes for table in self.tables)


@kernel
def wanted(kind: Any, names: int) -> bool:
    """Whether a source of so many values has a block of the kind."""
    return bool(kind.least <= names <= kind.most)


@kernel
def length(kind: Any, rows: int) -> int:
    """Rows of a block that is to hold so many values."""
    side = min(rows, kind.side)
    return int(side * side if kind.square else side)


class Blocks:
    """Gives out the rows of all kinds of tables; `rows` (KINDS,) of type KIND is what kernels share."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        assert len(kinds) <= KINDS, "SOURCE has no place for more"
        self._kinds = tuple(kinds)
        self.rows = np.zeros(KINDS, KIND)
        self.rows["least"] = ALL  # a kind that there is not is nobody's
        for i, kind in enumerate(kinds):
            room = min((len(table) for table in kind.tables), default=0)
            self.rows[i] = (kind.least, kind.most, kind.side, kind.square, 0, room)
        self._free: dict[tuple[int, int], list[int]] = {}  # by kind and length

    def used(self, kind: int) -> int:
        """How many rows of a kind's tables were ever in use."""
        return int(self.rows["used"][kind])

    @property
    def free(self) -> int:
        """How many blocks wait to be given out again."""
        return sum(map(len, self._free.values()))

    def bytes_of(self, names: int) -> int:
        """Memory of the blocks of a source with so many values."""
        return sum(
            length(row, names) * kind.row_bytes
            for row, kind in zip(self.rows, self._kinds, strict=False)
            if wanted(row, names)
        )

    def take(self, names: int, rows: int) -> Firsts:
        """Where the cleared blocks (KINDS,) of a source with so many values begin, NONE where it has none."""
        return np.array(
            [
                self._take(i, length(row, rows)) if wanted(row, names) else NONE
                for i, row in enumerate(self.rows)
            ],
            np.int32,
        )

    def release(self, firsts: Firsts, rows: int) -> None:
        """Take back the blocks of a source."""
        for i, first in enumerate(firsts.tolist()):
            if first != NONE:
                self._free.setdefault((i, int(length(self.rows[i], rows))), []).append(first)

    def widen(self, firsts: Firsts, rows: int, known: int, names: int, wider: int) -> Firsts:
        """Blocks of `wider` rows for a source that has `names` values now, with the history of those `known`.

        Its blocks of `rows` rows are taken back.
        """
        targets = self.take(names, wider)
        for kind, first, target in zip(self._kinds, firsts.tolist(), targets.tolist(), strict=False):
            if first == NONE or target == NONE:
                continue
            count = min(known, kind.side)
            lines = count if kind.square else 1
            for table in kind.tables:
                for i in range(lines):
                    table.move(first + i * min(rows, kind.side), target + i * min(wider, kind.side), count)
        self.release(firsts, rows)
        return targets

    def clear(self, firsts: Firsts, rows: int) -> None:
        """Make the blocks of a source as new."""
        for row, kind, first in zip(self.rows, self._kinds, firsts.tolist(), strict=False):
            for table in kind.tables if first != NONE else ():
                table.clear(first, first + int(length(row, rows)))

    def copy(self, firsts: Firsts, targets: Firsts, rows: Array) -> None:
        """Copy blocks (n, KINDS) of so many rows (n,) over others of the same kinds and lengths."""
        for i, kind in enumerate(self._kinds):
            has = firsts[:, i] != NONE
            side = np.minimum(rows[has], kind.side)
            lengths = side * side if kind.square else side
            within = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
            for table in kind.tables:
                table.copy(
                    np.repeat(firsts[has, i], lengths) + within, np.repeat(targets[has, i], lengths) + within
                )

    def ensure(self) -> None:
        """Make room for all rows in use."""
        for row, kind in zip(self.rows, self._kinds, strict=False):
            if row["used"] > row["room"]:
                row["room"] = max(row["used"], 2 * row["room"])
                for table in kind.tables:
                    table.ensure(int(row["room"]))

    def _take(self, i: int, rows: int) -> int:
        if free := self._free.get((i, rows)):
            first = free.pop()
            for table in self._kinds[i].tables:
                table.clear(first, first + rows)
            return first
        first = self.used(i)  # rows that were never given out are as new
        self.rows[i]["used"] += rows
        self.ensure()
        return first

    def state(self) -> dict[str, Array]:
        """What is given out and what was given back, as copies; what the tables hold is with their owners."""
        # Sorted, as the order in which lengths were first given back is forgotten by a restore.
        free = [(*key, first) for key, firsts in sorted(self._free.items()) for first in firsts]
        return {"used": self.rows["used"].copy(), "free": np.array(free, np.int64).reshape(-1, 3)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` gave; the tables get room for all rows, to be filled by their owners."""
        self.rows["used"] = state["used"]
        self.ensure()
        self._free = {}
        for kind, rows, first in state["free"].tolist():
            self._free.setdefault((kind, rows), []).append(first)
