"""Which slot a source and its values have; knows names and recency, not what is kept in the slots.

Every source has one row in the source tables and blocks of neighbouring rows: one per value name in the
series tables, others where it is of the width for them. Least-recently-seen sources make room for new
ones beyond `max_sources`. The kernels of `directory` do what comes with every point; here is what comes
now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from service.history import blocks, directory
from service.history.blocks import Blocks, Firsts, Kind
from service.history.directory import (
    BYTES_USED,
    LIVE,
    PLACED,
    RECENT_IDS,
    SLOTS_USED,
    SOURCE,
    DirectoryRows,
    Placed,
)
from service.history.layouts import Layouts
from service.history.table import Array, Column, StateTable
from service.wire.batch import PointBatch, escaped, unescaped
from service.wire.texts import hash_of

__all__ = ["RECENT_IDS", "Arrival", "Placement", "Sources"]

_FIRST_BUCKETS = 64
_FIRST_BYTES = 1024
_LEAST_QUEUE = 1024  # sources that are found at once to make room


class Arrival(IntEnum):
    """What a point is to its source's history.

    A record's own time says nothing against an untimed point: producers write several records in one
    millisecond, and their clocks differ, so such points count in the order in which they arrive.
    """

    FRESH = directory.FRESH
    LATE = directory.LATE  # older than the newest of its source
    DUPLICATE = directory.DUPLICATE  # same time as the newest, or an id seen among the last few
    TOO_WIDE = directory.TOO_WIDE  # would give the source more value names than allowed


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the points `start` to `stop` of a batch belong; only fresh ones have rows here.

    `fresh` holds their indices in the batch; `source` one slot each; value rows `row_start[j]` to
    `row_start[j + 1]` of fresh point j have the series slots `series` and the numbers `values`.
    """

    start: int
    stop: int
    arrival: npt.NDArray[np.uint8]  # (stop - start,)
    fresh: npt.NDArray[np.int64]  # (n,)
    source: npt.NDArray[np.int64]  # (n,)
    first: Firsts  # (n, KINDS), where the source's blocks begin, the series first, then the other kinds
    rows: npt.NDArray[np.int32]  # (n,), values that the blocks can hold
    width: npt.NDArray[np.int32]  # (n,), value names of the source, this point's among them
    row_start: npt.NDArray[np.int64]  # (n + 1,)
    series: npt.NDArray[np.int64]  # (m,)
    names: npt.NDArray[np.uint64]  # (m,), hashes of the values' names
    values: npt.NDArray[np.float64]  # (m,)

    def of_fresh(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What a column of the batch says of the fresh points, as a rule of all."""
        if len(self.fresh) == self.stop - self.start:
            return np.ascontiguousarray(column[self.start : self.stop])
        return column[self.fresh]


class Sources:
    """The directory of a partition's sources, and the owner of the rows of all state tables."""

    def __init__(
        self,
        max_sources: int,
        max_values: int,
        source_tables: Sequence[StateTable],
        series_tables: Sequence[StateTable],
        others: Sequence[Kind] = (),
        is_watched: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """`others` are tables for sources of certain widths; their blocks follow that of the series.

        `is_watched`: whether points of others may yet say something of the source in a slot.
        """
        self._is_watched = is_watched
        self._max_sources = max_sources
        self._max_values = max_values
        self._own = StateTable({"source": Column(SOURCE)})
        self._source_tables = source_tables
        self._blocks = Blocks((Kind(series_tables), *others))
        self._buckets = np.zeros(_FIRST_BUCKETS, np.int32)
        self._ids = np.empty(_FIRST_BYTES, np.uint8)
        self._layouts = Layouts()
        self._counters = np.zeros(directory.COUNTERS, np.int64)
        self._free_slots: list[int] = []
        self._queue: list[tuple[int, int]] = []  # (slot, seen), least recently seen last
        self.evicted = 0

    def __len__(self) -> int:
        return int(self._counters[LIVE])

    @property
    def slots(self) -> int:
        """How many rows of the source tables were ever in use."""
        return int(self._counters[SLOTS_USED])

    @property
    def series(self) -> int:
        """How many rows of the series tables were ever in use."""
        return self.used(0)

    def used(self, kind: int) -> int:
        """How many rows of a kind of blocks were ever in use; 0 is the series, the others follow."""
        return self._blocks.used(kind)

    def bytes_of(self, values: int) -> int:
        """Memory of a source with so many values in all tables but the directory's own."""
        return sum(table.row_bytes for table in self._source_tables) + self._blocks.bytes_of(values)

    @property
    def nbytes(self) -> int:
        """Memory of the directory itself."""
        return self._own.nbytes + self._buckets.nbytes + self._ids.nbytes

    @property
    def _rows(self) -> Array:
        return self._own["source"]

    def source_id(self, slot: int) -> str:
        """The source that has a slot."""
        source = self._rows[slot]
        return unescaped(self._ids[source["id_start"] : source["id_stop"]].tobytes())

    def names(self, source_id: str) -> tuple[str, ...]:
        """The value names of a source, in the order of its series rows; empty if it is unknown."""
        slot = self._find(source_id)
        names = self._layouts.names(int(self._rows[slot]["layout"])) if slot >= 0 else ()
        return tuple(unescaped(name) for name in names)

    def slot_of(self, source_id: str) -> int:
        """The slot of a source.

        Raises:
            KeyError: the source is unknown.
        """
        slot = self._find(source_id)
        if slot < 0:
            raise KeyError(source_id)
        return slot

    def hash_of(self, slot: int) -> int:
        """The hash of the source's id, as `PointBatch` has it."""
        return int(self._rows[slot]["hash"])

    def newest_ms(self, slot: int) -> int:
        """The latest timestamp of its own that a point of the source had; -1 if none had one."""
        return int(self._rows[slot]["newest_ms"])

    def clear_values(self, slot: int) -> None:
        """Make everything as new that is kept of the source's values."""
        self._blocks.clear(self._rows[slot]["first"], int(self._rows[slot]["rows"]))

    def copy_history(self, source: npt.NDArray[np.int64], target: npt.NDArray[np.int64]) -> None:
        """Give sources (slots) the history of others that show the same names in the same order."""
        for table in self._source_tables:
            table.copy(source, target)
        rows = self._rows
        self._blocks.copy(rows["first"][source], rows["first"][target], rows["rows"][source])

    def forget(self, source_id: str) -> bool:
        """Drop a source and all its history; false if there was none."""
        slot = self._find(source_id)
        if slot >= 0:
            self._release(slot)
        return slot >= 0

    def place(self, batch: PointBatch, start: int) -> Placement:
        """Find or make the rows of the points from `start` on.

        Stops short of the batch's end where going on would overwrite rows that a point before it in
        the same call still needs (its source is evicted or moves to a wider block); the caller
        advances the state over what was placed and calls again.
        """
        n = len(batch.points)
        room = n - start
        placed = Placed(
            arrival=np.empty(n, np.uint8),
            fresh=np.empty(room, np.int64),
            source=np.empty(room, np.int64),
            first=np.empty((room, blocks.KINDS), np.int32),
            rows=np.empty(room, np.int32),
            width=np.empty(room, np.int32),
            row_start=np.zeros(room + 1, np.int64),
            series=np.empty(len(batch.values), np.int64),
            names=np.empty(len(batch.values), np.uint64),
            values=np.empty(len(batch.values)),
        )
        began = int(self._counters[PLACED])
        point, fresh = start, 0
        while True:
            admitted = np.zeros(max(self._layouts.few, 1), np.int64)
            point, fresh, why = directory.place(
                batch,
                point,
                n,
                DirectoryRows(self._rows, self._buckets, self._ids, self._counters, self._blocks.rows),
                self._layouts.arrays,
                self._layouts.few,
                self._max_sources,
                self._max_values,
                self._blocks.free,
                fresh,
                admitted,
                placed,
            )
            for layout in np.flatnonzero(admitted).tolist():
                self._layouts.took(layout, int(admitted[layout]))
            if why == directory.DONE:
                break
            if why == directory.UNKNOWN_SOURCE:
                if not self._admit(batch, point, began):
                    break
            elif not self._fits(batch, point):
                placed.arrival[point] = Arrival.TOO_WIDE
                point += 1
            elif not self._widen(batch, point, began):
                break
        rows = placed.row_start[fresh]
        return Placement(
            start=start,
            stop=point,
            arrival=placed.arrival[start:point],
            fresh=placed.fresh[:fresh],
            source=placed.source[:fresh],
            first=placed.first[:fresh],
            rows=placed.rows[:fresh],
            width=placed.width[:fresh],
            row_start=placed.row_start[: fresh + 1],
            series=placed.series[:rows],
            names=placed.names[:rows],
            values=placed.values[:rows],
        )

    def _find(self, source_id: str) -> int:
        body = np.frombuffer(escaped(source_id).encode(), np.uint8)
        digest = np.uint64(hash_of(body, 0, len(body)))
        slot = directory.find(self._rows, self._buckets, self._ids, digest, body, 0, len(body))
        return int(slot)

    # New sources.

    def _admit(self, batch: PointBatch, i: int, began: int) -> bool:
        """Make rows for the source of point i; false if one that is needed must go first."""
        if len(self) >= self._max_sources:
            oldest = self._oldest()
            goes_on = self._counters[PLACED] > began
            if self._rows[oldest]["seen"] > began or (goes_on and self._is_watched(oldest)):
                return False
            self._release(oldest)
            self.evicted += 1
        point = batch.points[i]
        body = batch.text[point["source_start"] : point["source_stop"]]
        names = _names(batch, i)
        slot = self._slot()
        start = self._room_for_id(len(body))
        self._ids[start : start + len(body)] = body
        self._rows[slot] = (
            point["source_hash"],
            start,
            start + len(body),
            0,
            -1,
            self._blocks.take(len(names), len(names)),
            len(names),
            self._layouts.take(names),
            0,
            0,
        )
        self._counters[LIVE] += 1
        if 2 * len(self) > len(self._buckets):
            self._buckets = np.zeros(2 * len(self._buckets), np.int32)
            directory.insert_all(self._rows, self._buckets, self.slots)
        directory.insert(self._rows, self._buckets, slot)
        return True

    def _slot(self) -> int:
        """A cleared row of the source tables."""
        if self._free_slots:
            slot = self._free_slots.pop()
        else:
            slot = self.slots
            self._counters[SLOTS_USED] += 1
            self._own.ensure(slot + 1)
            for table in self._source_tables:
                table.ensure(len(self._own))
        return slot

    def _room_for_id(self, length: int) -> int:
        """Where an id of so many bytes may stand."""
        if self._counters[BYTES_USED] + length > len(self._ids):
            rows = self._rows[: self.slots]
            live = int((rows["id_stop"] - rows["id_start"])[rows["seen"] > 0].sum())
            target = np.empty(max(2 * (live + length), _FIRST_BYTES), np.uint8)
            self._counters[BYTES_USED] = directory.compact(self._rows, self._ids, self.slots, target)
            self._ids = target
        start = int(self._counters[BYTES_USED])
        self._counters[BYTES_USED] += length
        return start

    # New names.

    def _union(self, batch: PointBatch, i: int) -> tuple[int, tuple[bytes, ...]]:
        """The slot of point i's source, and its names with those that are new."""
        point = batch.points[i]
        start, stop = int(point["source_start"]), int(point["source_stop"])
        slot = int(
            directory.find(
                self._rows, self._buckets, self._ids, point["source_hash"], batch.text, start, stop
            )
        )
        known = self._layouts.names(int(self._rows[slot]["layout"]))
        return slot, tuple(dict.fromkeys((*known, *_names(batch, i))))

    def _fits(self, batch: PointBatch, i: int) -> bool:
        return len(self._union(batch, i)[1]) <= self._max_values

    def _widen(self, batch: PointBatch, i: int, began: int) -> bool:
        """Give the source of point i rows for all names; false if it has points that need the present ones.

        Lengths double, so that a source that shows its names one by one leaves few dead blocks behind.
        """
        slot, names = self._union(batch, i)
        source = self._rows[slot]
        if len(names) > source["rows"]:
            if source["seen"] > began:
                return False
            rows, known = 1 << (len(names) - 1).bit_length(), len(self._layouts.names(int(source["layout"])))
            source["first"] = self._blocks.widen(
                source["first"], int(source["rows"]), known, len(names), rows
            )
            source["rows"] = rows
        before = int(source["layout"])
        source["layout"] = self._layouts.take(names)
        self._layouts.release(before)
        return True

    # Old sources.

    def _oldest(self) -> int:
        """The least recently seen source.

        Many are found at a time: as long as one of them has not been seen again, all others are younger.
        """
        rows = self._rows
        while True:
            while self._queue:
                slot, seen = self._queue[-1]
                if rows[slot]["seen"] == seen:
                    return slot
                self._queue.pop()
            seen_at = rows["seen"][: self.slots]
            live = np.flatnonzero(seen_at)
            count = min(len(live), max(_LEAST_QUEUE, len(live) // 8))
            oldest = live[np.argpartition(seen_at[live], count - 1)[:count]]
            ordered = oldest[np.argsort(-seen_at[oldest])]
            self._queue = list(zip(ordered.tolist(), seen_at[ordered].tolist(), strict=True))

    def _release(self, slot: int) -> None:
        directory.remove(self._rows, self._buckets, slot)
        source = self._rows[slot]
        self._layouts.release(int(source["layout"]))
        source["seen"] = 0
        self._counters[LIVE] -= 1
        for table in self._source_tables:
            table.clear(slot, slot + 1)
        self._free_slots.append(slot)
        self._blocks.release(source["first"], int(source["rows"]))

    # Saving.

    def state(self) -> dict[str, Array]:
        """Everything that the directory knows, as copies; what its tables hold is with their owners."""
        return {
            "rows": self._rows[: self.slots].copy().view(np.uint8).reshape(-1, SOURCE.itemsize),
            "ids": self._ids[: self._counters[BYTES_USED]].copy(),
            "ids_room": np.array([len(self._ids)]),  # when it is used up, ids move together
            "counters": self._counters.copy(),
            "evicted": np.array([self.evicted]),
            "free_slots": np.array(self._free_slots, np.int64),
            **{f"blocks/{name}": array for name, array in self._blocks.state().items()},
            **{f"layouts/{name}": array for name, array in self._layouts.state().items()},
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` gave; the tables get room for all rows, to be filled by their owners.

        Raises:
            ValueError: a part is missing.
        """
        own = {"rows", "ids", "ids_room", "counters", "evicted", "free_slots", "blocks/used", "blocks/free"}
        missing = own - state.keys()
        if missing:
            raise ValueError(f"saved directory has no {', '.join(sorted(missing))}")
        self._counters[:] = state["counters"]
        self._own.restore({"source": state["rows"].reshape(-1).view(SOURCE)})
        for table in self._source_tables:
            table.ensure(len(self._own))
        self._blocks.restore(_part(state, "blocks"))
        self._ids = np.empty(int(state["ids_room"][0]), np.uint8)
        self._ids[: len(state["ids"])] = state["ids"]
        self._layouts = Layouts.of(_part(state, "layouts"))
        self._free_slots = state["free_slots"].tolist()
        self._queue = []
        self.evicted = int(state["evicted"][0])
        size = _FIRST_BUCKETS
        while 2 * len(self) > size:
            size *= 2
        self._buckets = np.zeros(size, np.int32)
        directory.insert_all(self._rows, self._buckets, self.slots)


def _part(state: Mapping[str, Array], name: str) -> dict[str, Array]:
    prefix = f"{name}/"
    return {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}


def _names(batch: PointBatch, i: int) -> tuple[bytes, ...]:
    """The names of point i's values as they stand in the text."""
    point = batch.points[i]
    rows = batch.values[point["first_value"] : point["stop_value"]]
    return tuple(batch.text[row["name_start"] : row["name_stop"]].tobytes() for row in rows)
