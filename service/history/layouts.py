"""Sets of value names in the order in which a source showed them, each kept once; knows no sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from service.history.table import Array, Column, StateTable
from service.kernels import kernel
from service.wire.texts import NO_NAMES, Text, hash_of, same, with_name

LAYOUT = np.dtype([("shape", np.uint64), ("first", np.int64), ("stop", np.int64)], align=True)
NAME = np.dtype([("hash", np.uint64), ("start", np.int64), ("stop", np.int64)], align=True)

_FEW = 1024  # as many as are looked through one by one
_LEAST_REBUILD = 4096


class LayoutRows(NamedTuple):
    """What kernels see: names `first` to `stop` of a layout, and their spans in `text`."""

    layouts: Array  # (l,) LAYOUT
    names: Array  # (n,) NAME
    text: Text


@kernel
def place_of_name(
    layout: Any, names: Array, names_text: Text, hash_: np.uint64, text: Text, start: int, stop: int
) -> int:
    """The place of a name in a layout, -1 if it is not there."""
    for i in range(layout.first, layout.stop):
        name = names[i]
        if name.hash == hash_ and same(names_text, name.start, name.stop, text, start, stop):
            return int(i - layout.first)
    return -1


class Layouts:
    """A number for each set of names that some source has."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[bytes, ...], int] = {}
        self._names: list[tuple[bytes, ...]] = []
        self._users: list[int] = []
        self._free: list[int] = []
        self._start_over()

    def _start_over(self) -> None:
        self._table = StateTable({"layout": Column(LAYOUT)})
        self._name_table = StateTable({"name": Column(NAME), "byte": Column(np.uint8, 32)})
        self._rows = self._bytes = self._dead = 0

    def __len__(self) -> int:
        return len(self._names)

    def names(self, number: int) -> tuple[bytes, ...]:
        return self._names[number]

    @property
    def few(self) -> int:
        """How many layouts a kernel may look through for one; 0 if they are too many."""
        return len(self._names) if len(self._names) <= _FEW else 0

    @property
    def arrays(self) -> LayoutRows:
        return LayoutRows(
            self._table["layout"], self._name_table["name"], self._name_table["byte"].reshape(-1)
        )

    def take(self, names: tuple[bytes, ...]) -> int:
        """The number of these names, for one more source."""
        number = self._numbers.get(names)
        if number is None:
            if self._dead > max(_LEAST_REBUILD, self._rows // 2):
                self._rebuild()
            number = self._free.pop() if self._free else len(self._names)
            if number == len(self._names):
                self._names.append(names)
                self._users.append(0)
            self._names[number] = names
            self._numbers[names] = number
            self._write(number)
        self._users[number] += 1
        return number

    def took(self, number: int, sources: int) -> None:
        """So many more sources have it."""
        self._users[number] += sources

    def release(self, number: int) -> None:
        """One source fewer has it."""
        self._users[number] -= 1
        if self._users[number] == 0:
            self._dead += len(self._names[number])
            del self._numbers[self._names[number]]
            self._table["layout"][number] = 0
            self._names[number] = ()
            self._free.append(number)

    def state(self) -> dict[str, Array]:
        """All layouts by number: their names one after the other, and how many sources have each."""
        names = [name for layout in self._names for name in layout]
        return {
            "text": np.frombuffer(b"".join(names), np.uint8).copy(),
            "lengths": np.array([len(name) for name in names], np.int64),
            "widths": np.array([len(layout) for layout in self._names], np.int64),
            "users": np.array(self._users, np.int64),
            "free": np.array(self._free, np.int64),
        }

    @classmethod
    def of(cls, state: Mapping[str, Array]) -> Layouts:
        """The layouts that `state` gave, under the same numbers.

        Raises:
            ValueError: a part is missing.
        """
        if missing := {"text", "lengths", "widths", "users", "free"} - state.keys():
            raise ValueError(f"saved layouts have no {', '.join(sorted(missing))}")
        layouts = cls()
        text, at = state["text"].tobytes(), 0
        lengths = iter(state["lengths"].tolist())
        for number, width in enumerate(state["widths"].tolist()):
            names = []
            for _ in range(width):
                length = next(lengths)
                names.append(text[at : at + length])
                at += length
            layouts._names.append(tuple(names))
            if names:
                layouts._numbers[tuple(names)] = number
                layouts._write(number)
        layouts._users = state["users"].tolist()
        layouts._free = state["free"].tolist()
        return layouts

    def _write(self, number: int) -> None:
        names = self._names[number]
        self._table.ensure(number + 1)
        self._name_table.ensure(max(self._rows + len(names), (self._bytes + sum(map(len, names))) // 32 + 1))
        _, rows, text = self.arrays
        first, shape = self._rows, NO_NAMES
        for name in names:
            body = np.frombuffer(name, np.uint8)
            stop = self._bytes + len(body)
            text[self._bytes : stop] = body
            rows[self._rows] = (hash_of(body, 0, len(body)), self._bytes, stop)
            shape = np.uint64(with_name(shape, rows[self._rows]["hash"]))
            self._rows, self._bytes = self._rows + 1, stop
        self._table["layout"][number] = (shape, first, self._rows)

    def _rebuild(self) -> None:
        """Lay out anew what is in use, so that names of the past take no room."""
        self._start_over()
        for number, names in enumerate(self._names):
            if names:
                self._write(number)
