"""The kernels behind `Sources`: from a source's id to its row, and from a batch to its places.

An open-addressing table with linear probing maps ids to slots; ids stand one after the other in a buffer.
What a kernel cannot do alone (grow, evict, widen) it leaves to its caller, who does it and calls again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.history.blocks import KINDS, NONE, Firsts, length, wanted
from service.history.layouts import LayoutRows, place_of_name
from service.history.table import Array
from service.kernels import borrowed, inlined, kernel, prefetch
from service.wire.batch import PointBatch
from service.wire.texts import Text, same

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Slots = npt.NDArray[np.int32]

RECENT_IDS = 4

_AHEAD = 6  # points that what is on its way from memory is for

SOURCE = np.dtype(
    [
        ("hash", np.uint64),
        ("id_start", np.int64),
        ("id_stop", np.int64),
        ("seen", np.int64),  # number of the placed point that last was its; 0 if the slot is free
        ("newest_ms", np.int64),  # latest timestamp of its own that a point had; -1 if none had one
        ("first", np.int32, (KINDS,)),  # where its blocks begin, the series first; NONE of those it needs not
        ("rows", np.int32),  # values that its blocks can hold; more than it has names where it was widened
        ("layout", np.int32),
        ("ids", np.int64),  # points with an id so far
        ("recent", np.uint64, (RECENT_IDS,)),
    ],
    align=True,
)

# Counters, in one array that kernels and Python share.
PLACED, LIVE, SLOTS_USED, BYTES_USED = range(4)
COUNTERS = 4

# Why a kernel returned.
DONE, UNKNOWN_SOURCE, UNKNOWN_NAME = range(3)

FRESH, LATE, DUPLICATE, TOO_WIDE = range(4)


class DirectoryRows(NamedTuple):
    """What kernels see of the directory; `buckets` hold slot + 1, 0 is empty, and their number is 2^n."""

    sources: Array  # (s,) SOURCE
    buckets: Slots
    ids: Text
    counters: Ints
    kinds: Array  # (KINDS,) KIND


class Placed(NamedTuple):
    """Room for the places of the points of one call; what it holds is said in `Placement`."""

    arrival: npt.NDArray[np.uint8]
    fresh: Ints
    source: Ints
    first: Firsts
    rows: Slots
    width: Slots
    row_start: Ints
    series: Ints
    names: npt.NDArray[np.uint64]
    values: Floats


@inlined
def find(
    sources: Array, buckets: Slots, ids: Text, hash_: np.uint64, text: Text, start: int, stop: int
) -> int:
    """The slot of the source with this id, -1 if there is none."""
    mask = len(buckets) - 1
    at = np.int64(hash_ & np.uint64(mask))
    while buckets[at] > 0:
        slot = buckets[at] - 1
        source = sources[slot]
        if source.hash == hash_ and same(ids, source.id_start, source.id_stop, text, start, stop):
            return int(slot)
        at = (at + 1) & mask
    return -1


@kernel
def insert(sources: Array, buckets: Slots, slot: int) -> None:
    """Enter a slot whose id is not there yet."""
    mask = len(buckets) - 1
    at = np.int64(sources[slot].hash & np.uint64(mask))
    while buckets[at] > 0:
        at = (at + 1) & mask
    buckets[at] = slot + 1


@kernel
def insert_all(sources: Array, buckets: Slots, slots: int) -> None:
    """Enter all live slots into an empty table."""
    for slot in range(slots):
        if sources[slot].seen > 0:
            insert(sources, buckets, slot)


@kernel
def remove(sources: Array, buckets: Slots, slot: int) -> None:
    """Take a slot out; what stood behind it moves up, so that no probe meets a gap."""
    mask = len(buckets) - 1
    at = np.int64(sources[slot].hash & np.uint64(mask))
    while buckets[at] != slot + 1:
        at = (at + 1) & mask
    gap = at
    while True:
        at = (at + 1) & mask
        if buckets[at] == 0:
            break
        home = np.int64(sources[buckets[at] - 1].hash & np.uint64(mask))
        if ((at - home) & mask) >= ((at - gap) & mask):
            buckets[gap] = buckets[at]
            gap = at
    buckets[gap] = 0


@kernel
def compact(sources: Array, ids: Text, slots: int, target: Text) -> int:
    """Copy the ids of all live slots to `target`, one after the other; the bytes used."""
    used = 0
    for slot in range(slots):
        source = sources[slot]
        if source.seen == 0:
            continue
        start = used
        for at in range(source.id_start, source.id_stop):
            target[used] = ids[at]
            used += 1
        source.id_start, source.id_stop = start, used
    return used


@inlined
def _verdict(source: Any, point: Any) -> int:
    """What a point is to its source's history, as `Sources` tells."""
    if point.id_stop > point.id_start:
        for i in range(min(source.ids, RECENT_IDS)):
            if source.recent[i] == point.id_hash:
                return DUPLICATE
    if not point.timed or point.time_ms > source.newest_ms:
        return FRESH
    return LATE if point.time_ms < source.newest_ms else DUPLICATE


@kernel
def _admit(
    sources: Array,
    buckets: Slots,
    ids: Text,
    counters: Ints,
    layouts: Array,
    few_layouts: int,
    max_sources: int,
    kinds: Array,
    free_blocks: int,
    text: Text,
    point: Any,
) -> int:
    """Give a new source the next free slot and block, if nothing has to grow or to go; -1 otherwise."""
    width = point.stop_value - point.first_value
    id_bytes = point.source_stop - point.source_start
    slot = counters[SLOTS_USED]
    if counters[LIVE] != slot or free_blocks > 0:  # what was given back is Python's to give again
        return -1
    if slot >= min(max_sources, len(sources)) or 2 * (slot + 1) > len(buckets):
        return -1
    if counters[BYTES_USED] + id_bytes > len(ids):
        return -1
    for i in range(KINDS):
        if wanted(kinds[i], width) and kinds[i].used + length(kinds[i], width) > kinds[i].room:
            return -1
    for layout in range(few_layouts):
        if layouts[layout].shape == point.shape and layouts[layout].stop - layouts[layout].first == width:
            source = sources[slot]
            source.hash = point.source_hash
            source.id_start = counters[BYTES_USED]
            source.id_stop = counters[BYTES_USED] + id_bytes
            for i in range(id_bytes):
                ids[source.id_start + i] = text[point.source_start + i]
            source.newest_ms = -1
            for i in range(KINDS):
                source.first[i] = NONE
                if wanted(kinds[i], width):
                    source.first[i] = kinds[i].used
                    kinds[i].used += length(kinds[i], width)
            source.rows = width
            source.layout = layout
            source.ids = 0
            insert(sources, buckets, slot)
            counters[SLOTS_USED] += 1
            counters[LIVE] += 1
            counters[BYTES_USED] += id_bytes
            return int(slot)
    return -1


@inlined
def _look_ahead(points: Array, point: int, stop: int, sources: Array, buckets: Slots, ids: Text) -> None:
    """Ask for what points to come will be found by: a bucket, then the source it names, then that one's id.

    What is named may be another source, where ids share a bucket; that costs time only.
    """
    mask = np.uint64(len(buckets) - 1)
    if point + 3 * _AHEAD < stop:
        prefetch(buckets, int(points[point + 3 * _AHEAD].source_hash & mask))
    if point + 2 * _AHEAD < stop:
        slot = buckets[int(points[point + 2 * _AHEAD].source_hash & mask)] - 1
        if slot >= 0:
            prefetch(sources, slot)
    if point + _AHEAD < stop:
        slot = buckets[int(points[point + _AHEAD].source_hash & mask)] - 1
        if slot >= 0:
            prefetch(ids, sources[slot].id_start)


@kernel
def place(
    batch: PointBatch,
    point: int,
    stop: int,
    directory: DirectoryRows,
    layout_rows: LayoutRows,
    few_layouts: int,
    max_sources: int,
    max_values: int,
    free_blocks: int,
    fresh: int,
    admitted: Ints,
    placed: Placed,
) -> tuple[int, int, int]:
    """Place points from `point` up to `stop`, of which `fresh` have their rows already.

    Returns the first point that was not placed, how many are fresh, and why it stopped. `admitted` counts
    the sources that were given each of the first layouts.
    """
    text, points, values = borrowed(batch.text), borrowed(batch.points), borrowed(batch.values)
    sources, buckets = borrowed(directory.sources), borrowed(directory.buckets)
    ids, counters, kinds = borrowed(directory.ids), borrowed(directory.counters), borrowed(directory.kinds)
    layouts, names = borrowed(layout_rows.layouts), borrowed(layout_rows.names)
    names_text = borrowed(layout_rows.text)
    arrival, series, placed_values = (
        borrowed(placed.arrival),
        borrowed(placed.series),
        borrowed(placed.values),
    )
    row_start, first = borrowed(placed.row_start), borrowed(placed.first)
    placed_names, rows, widths = borrowed(placed.names), borrowed(placed.rows), borrowed(placed.width)
    fresh_points, slots = borrowed(placed.fresh), borrowed(placed.source)
    while point < stop:
        _look_ahead(points, point, stop, sources, buckets, ids)
        p = points[point]
        width = p.stop_value - p.first_value
        slot = find(sources, buckets, ids, p.source_hash, text, p.source_start, p.source_stop)
        if slot < 0:
            if width > max_values:
                arrival[point] = TOO_WIDE
                point += 1
                continue
            slot = _admit(
                sources,
                buckets,
                ids,
                counters,
                layouts,
                few_layouts,
                max_sources,
                kinds,
                free_blocks,
                text,
                p,
            )
            if slot < 0:
                return point, fresh, UNKNOWN_SOURCE
            admitted[sources[slot].layout] += 1
        source = sources[slot]
        verdict = _verdict(source, p)
        arrival[point] = verdict
        if verdict != FRESH:
            point += 1
            continue
        layout = layouts[source.layout]
        row = row_start[fresh]
        plain = layout.shape == p.shape and layout.stop - layout.first == width
        for i in range(width):
            value = values[p.first_value + i]
            name = names[layout.first + i] if i < layout.stop - layout.first else names[layout.first]
            within = i
            if not plain or not same(
                names_text, name.start, name.stop, text, value.name_start, value.name_stop
            ):
                within = place_of_name(
                    layout, names, names_text, value.name_hash, text, value.name_start, value.name_stop
                )
                if within < 0:
                    return point, fresh, UNKNOWN_NAME
            series[row + i] = source.first[0] + within
            placed_names[row + i] = value.name_hash
            placed_values[row + i] = value.number
        counters[PLACED] += 1
        source.seen = counters[PLACED]
        if p.timed:
            source.newest_ms = p.time_ms
        if p.id_stop > p.id_start:
            source.recent[source.ids % RECENT_IDS] = p.id_hash
            source.ids += 1
        fresh_points[fresh] = point
        slots[fresh] = slot
        for i in range(KINDS):
            first[fresh, i] = source.first[i]
        rows[fresh] = source.rows
        widths[fresh] = layout.stop - layout.first
        row_start[fresh + 1] = row + width
        fresh += 1
        point += 1
    return point, fresh, DONE
