"""Rows of per-source or per-series state in columns; knows how to grow, clear, move and save them.

A row is a slot: the same number in every column. What the columns mean is their owner's business.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_OWN_PAGES, _HUGE_PAGES = 1 << 18, 1 << 22  # bytes from which an array has pages of its own, and large ones

Copied: TypeAlias = Callable[[Array], Array]
"""Makes a copy of an array that is contiguous."""


def lent(array: Array) -> Array:
    """An array as it is, where a state's copy is asked for and the state will change no more."""
    return array


@dataclass(frozen=True, slots=True)
class Column:
    """`width` 0 is one number a row; otherwise a row holds `width` of them. New rows hold `fill`."""

    dtype: npt.DTypeLike
    width: int = 0
    fill: float = 0


class StateTable:
    """Named columns of equal length that grow by doubling.

    A column taken with `table["name"]` is a view that stays valid until the next `ensure`.
    """

    def __init__(self, columns: Mapping[str, Column], rows: int = 16) -> None:
        self._columns = dict(columns)
        self._arrays = {name: self._new(column, rows) for name, column in self._columns.items()}
        self._rows = rows

    @staticmethod
    def _new(column: Column, rows: int) -> Array:
        shape = (rows, column.width) if column.width else (rows,)
        array = zeros(shape, np.dtype(column.dtype))
        if column.fill != 0:
            array[...] = column.fill
        return array

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays.values())

    @property
    def row_bytes(self) -> int:
        return sum(array[:1].nbytes for array in self._arrays.values())

    def ensure(self, rows: int) -> None:
        """Make room for at least `rows` rows; views taken before may be stale afterwards."""
        if rows <= self._rows:
            return
        grown = max(rows, 2 * self._rows)
        for name, column in self._columns.items():
            array = self._new(column, grown)
            array[: self._rows] = self._arrays[name]
            self._arrays[name] = array
        self._rows = grown

    def clear(self, start: int, stop: int) -> None:
        """Make rows `start` to `stop` (exclusive) as new."""
        for name, column in self._columns.items():
            self._arrays[name][start:stop] = column.fill

    def move(self, start: int, target: int, count: int) -> None:
        """Copy `count` rows from `start` to `target`; the old ones are left as they are."""
        for array in self._arrays.values():
            array[target : target + count] = array[start : start + count]

    def copy(self, rows: Array, targets: Array) -> None:
        """Copy each of the rows over the target at the same place; what is as new stays untouched."""
        for array in self._arrays.values():
            copied = array[rows]
            if copied.any() or array[targets].any():
                array[targets] = copied

    def arrays(self, rows: int, copied: Copied = np.copy) -> dict[str, Array]:
        """Copies of the first `rows` rows of every column, for a snapshot."""
        return {name: copied(array[:rows]) for name, array in self._arrays.items()}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take up what `arrays` gave.

        Raises:
            ValueError: a column is missing, or has another type or width.
        """
        for name, column in self._columns.items():
            saved = arrays.get(name)
            mine = self._arrays[name]
            if saved is None or saved.dtype != np.dtype(column.dtype) or saved.shape[1:] != mine.shape[1:]:
                raise ValueError(f"saved state does not fit column {name!r}")
            self.ensure(len(saved))
            self._arrays[name][: len(saved)] = saved


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Zeros that take no memory where they are not touched, and give all of it back when they are let go.

    Of arrays below 32 MB that grow the allocator keeps the places they leave: of a million sources 150 MB.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _OWN_PAGES:
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if nbytes >= _HUGE_PAGES and hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)  # where memory is looked up by 2 MB, four values took 8 % less
    return np.frombuffer(pages, dtype).reshape(shape)
