"""Which slot a source and its values have; knows names and recency, not what is kept in the slots.

Every source has one row in the source tables and a block of neighbouring rows, one per value name, in
the series tables. Least-recently-seen sources make room for new ones beyond `max_sources`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from service.history.table import StateTable
from service.wire.batch import PointBatch

RECENT_IDS = 4


class Arrival(IntEnum):
    """What a point is to its source's history."""

    FRESH = 0
    LATE = 1  # older than the newest of its source
    DUPLICATE = 2  # same time as the newest, or an id seen among the last few
    TOO_WIDE = 3  # would give the source more value names than allowed


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
    row_start: npt.NDArray[np.int64]  # (n + 1,)
    series: npt.NDArray[np.int64]  # (m,)
    values: npt.NDArray[np.float64]  # (m,)


@dataclass(slots=True)
class _Source:
    slot: int
    names: tuple[str, ...]
    first_series: int
    rows: int  # length of its block; more than it has names where it was widened
    newest_ms: int  # latest timestamp of its own that a point of the source had
    touched: int  # number of the last `place` call that gave this source a row
    recent_ids: list[int]


def _id_hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


class Sources:
    """The directory of a partition's sources, and the owner of the rows of all state tables."""

    def __init__(
        self,
        max_sources: int,
        max_values: int,
        source_tables: Sequence[StateTable],
        series_tables: Sequence[StateTable],
    ) -> None:
        self._max_sources = max_sources
        self._max_values = max_values
        self._source_tables = source_tables
        self._series_tables = series_tables
        self._sources: OrderedDict[str, _Source] = OrderedDict()  # least recently seen first
        self._free_slots: list[int] = []
        self._slots = 0
        self._free_blocks: dict[int, list[int]] = {}  # by block length
        self._series = 0
        self._calls = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def slots(self) -> int:
        """How many rows of the source tables were ever in use."""
        return self._slots

    @property
    def series(self) -> int:
        """How many rows of the series tables were ever in use."""
        return self._series

    def names(self, source_id: str) -> tuple[str, ...]:
        """The value names of a source, in the order of its series rows; empty if it is unknown."""
        source = self._sources.get(source_id)
        return source.names if source else ()

    def forget(self, source_id: str) -> bool:
        """Drop a source and all its history; false if there was none."""
        source = self._sources.pop(source_id, None)
        if source is None:
            return False
        self._release(source)
        return True

    def place(self, batch: PointBatch, start: int) -> Placement:
        """Find or make the rows of the points from `start` on.

        Stops short of the batch's end where going on would overwrite rows that a point before it in
        the same call still needs (its source is evicted or moves to a wider block); the caller
        advances the state over what was placed and calls again.
        """
        self._calls += 1
        arrival = np.zeros(len(batch) - start, np.uint8)
        fresh: list[int] = []
        slots: list[int] = []
        first: list[int] = []
        columns: dict[int, list[int]] = {}
        stop = len(batch)
        source_ids, all_names, ids, all_timed = batch.source_ids, batch.names, batch.ids, batch.timed
        times = batch.time_ms.tolist()
        for i in range(start, stop):
            source_id, names, time_ms, point_id = source_ids[i], all_names[i], times[i], ids[i]
            timed = all_timed[i]
            source = self._sources.get(source_id)
            if source is None:
                if len(names) > self._max_values:
                    arrival[i - start] = Arrival.TOO_WIDE
                    continue
                if len(self._sources) >= self._max_sources and not self._evict():
                    stop = i
                    break
                source = self._admit(source_id, names)
            else:
                verdict = self._arrival(source, time_ms, point_id, timed)
                if verdict:
                    arrival[i - start] = verdict
                    continue
                if names != source.names and not set(names) <= set(source.names):
                    union = source.names + tuple(name for name in names if name not in source.names)
                    if len(union) > self._max_values:
                        arrival[i - start] = Arrival.TOO_WIDE
                        continue
                    if len(union) > source.rows:
                        if source.touched == self._calls:
                            stop = i
                            break
                        self._widen(source, len(union))
                    source.names = union
                self._sources.move_to_end(source_id)
            if timed:
                source.newest_ms = time_ms
            source.touched = self._calls
            if point_id is not None:
                source.recent_ids = [*source.recent_ids[1 - RECENT_IDS :], _id_hash(point_id)]
            if names != source.names:
                columns[len(fresh)] = [source.names.index(name) for name in names]
            fresh.append(i)
            slots.append(source.slot)
            first.append(source.first_series)
        return self._placement(batch, start, stop, arrival, fresh, slots, first, columns)

    @staticmethod
    def _arrival(source: _Source, time_ms: int, point_id: str | None, timed: bool) -> Arrival:
        """The verdict on a point of a known source.

        A record's own time says nothing against an untimed point: producers write several records in one
        millisecond, and their clocks differ, so such points count in the order in which they arrive.
        """
        if point_id is not None and source.recent_ids and _id_hash(point_id) in source.recent_ids:
            return Arrival.DUPLICATE
        if not timed:
            return Arrival.FRESH
        if time_ms < source.newest_ms:
            return Arrival.LATE
        return Arrival.DUPLICATE if time_ms == source.newest_ms else Arrival.FRESH

    @staticmethod
    def _placement(
        batch: PointBatch,
        start: int,
        stop: int,
        arrival: npt.NDArray[np.uint8],
        fresh: list[int],
        slots: list[int],
        first: list[int],
        columns: dict[int, list[int]],
    ) -> Placement:
        points = np.array(fresh, np.int64)
        counts = batch.value_start[points + 1] - batch.value_start[points]
        row_start = np.zeros(len(points) + 1, np.int64)
        np.cumsum(counts, out=row_start[1:])
        within = np.arange(row_start[-1]) - np.repeat(row_start[:-1], counts)
        for j, order in columns.items():
            within[row_start[j] : row_start[j + 1]] = order
        rows = np.arange(row_start[-1]) + np.repeat(batch.value_start[points] - row_start[:-1], counts)
        return Placement(
            start=start,
            stop=stop,
            arrival=arrival[: stop - start],
            fresh=points,
            source=np.array(slots, np.int64),
            row_start=row_start,
            series=np.repeat(np.array(first, np.int64), counts) + within,
            values=batch.values[rows],
        )

    def _admit(self, source_id: str, names: tuple[str, ...]) -> _Source:
        if self._free_slots:
            slot = self._free_slots.pop()
        else:
            slot = self._slots
            self._slots += 1
            for table in self._source_tables:
                table.ensure(self._slots)
        for table in self._source_tables:
            table.clear(slot, slot + 1)
        source = _Source(slot, names, self._block(len(names)), len(names), -1, 0, [])
        self._sources[source_id] = source
        return source

    def _block(self, length: int) -> int:
        """The first row of `length` cleared neighbouring series rows."""
        if free := self._free_blocks.get(length):
            first = free.pop()
        else:
            first = self._series
            self._series += length
            for table in self._series_tables:
                table.ensure(self._series)
        for table in self._series_tables:
            table.clear(first, first + length)
        return first

    def _widen(self, source: _Source, rows: int) -> None:
        """Move the source to a block of at least `rows` rows; its history moves along.

        Lengths double, so that a source that shows its names one by one leaves few dead blocks behind.
        """
        rows = 1 << (rows - 1).bit_length()
        first = self._block(rows)
        for table in self._series_tables:
            table.move(source.first_series, first, len(source.names))
        self._free_blocks.setdefault(source.rows, []).append(source.first_series)
        source.first_series, source.rows = first, rows

    def _evict(self) -> bool:
        """Forget the least recently seen source; false if a row of it is in use in this call."""
        source_id, source = next(iter(self._sources.items()))
        if source.touched == self._calls:
            return False
        del self._sources[source_id]
        self._release(source)
        self.evicted += 1
        return True

    def _release(self, source: _Source) -> None:
        self._free_slots.append(source.slot)
        self._free_blocks.setdefault(source.rows, []).append(source.first_series)
