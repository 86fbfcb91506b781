"""A forest laid out for walking: coordinates become ranks among its cuts, a step compares two small numbers.

Whether a coordinate is above a cut depends only on how many cuts it is above. A node is the cut's number and,
in the lowest bits, its dimension; right go the points whose rank in that dimension is not less. Trees with
too many different cuts together are split into groups, with ranks for each. The cuts of a dimension are a
tree, too, which ends at the rank.

Where the processor can, 64 points take the highest levels, as a rule all, at once (`register_walk`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from service.detectors import register_walk
from service.detectors.register_walk import DIMENSION_BITS, DIMENSIONS, POINTS
from service.kernels import borrowed, inlined, kernel

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Shorts = npt.NDArray[np.uint16]

_BITS = 16 - DIMENSION_BITS
MOST_CUTS = 2**_BITS - 2
"""Different cuts of one dimension that a group, and so a tree, may have."""

_NEVER = (MOST_CUTS + 1) << DIMENSION_BITS  # a number that no rank reaches, of whatever dimension
_DIMENSION = 2**DIMENSION_BITS - 1

_BLOCK = 256  # points that walk one tree after another, while the tree stays in the first cache
_LANES = 8  # of them in lock-step: while one waits for its node the others' steps go on

_NO_COUNTS = np.empty((0, 0), np.int64)
_BY_REGISTERS = register_walk.LEVELS if register_walk.AVAILABLE else 0


@dataclass(frozen=True, slots=True)
class RankedTrees:
    """Trees as complete heaps of one depth; place 0 is empty and node i has the children 2i and 2i + 1.

    Coordinates are taken as 32-bit numbers, as scikit-learn does.
    """

    cuts: Floats32  # (groups, dimensions, 2 ** bits), such a heap: left of a cut are the smaller ones
    group_start: Ints  # (groups + 1,), the first tree of each
    nodes: Shorts  # (trees, places): how many of the group's cuts are at or below its own, and its dimension
    by_registers: int  # so many of the highest levels

    @classmethod
    def of(
        cls,
        dimension: npt.NDArray[np.int8],
        cut: Floats,
        dimensions: int,
        by_registers: int = _BY_REGISTERS,
    ) -> RankedTrees:
        """From heaps (trees, leaves - 1) with node i at place i - 1.

        Right is where the coordinate is above the cut; at an infinite cut all goes left.
        """
        assert dimensions <= DIMENSIONS, "as many as a node can tell apart"
        all_cuts = [_Cuts.of(cut, (dimension == d) & np.isfinite(cut)) for d in range(dimensions)]
        starts = _group_starts(all_cuts, len(cut))
        groups = [slice(*edges) for edges in pairwise(starts)]
        ranked = [[cuts.ranked(cuts.inside(group)) for cuts in all_cuts] for group in groups]
        most = max(len(ascending) for group in ranked for ascending, _ in group)
        levels = max(most.bit_length(), by_registers, 1)
        heaps = np.empty((len(groups), dimensions, 2**levels), np.float32)
        nodes = np.full((len(cut), 2 ** max(_depth(cut), by_registers)), _NEVER, np.uint16)
        for g, group in enumerate(groups):
            for d, (cuts, (ascending, numbers)) in enumerate(zip(all_cuts, ranked[g], strict=True)):
                inside = cuts.inside(group)
                heaps[g, d] = _heap(ascending, levels)
                nodes[cuts.tree[inside], cuts.node[inside]] = numbers << DIMENSION_BITS | d
        return cls(heaps, starts, nodes, by_registers)

    def add_up(self, vectors: Floats, says: Floats, counts: Ints | None = None) -> Floats:
        """Sums (n,), in the trees' order, of what their leaves say, (trees, leaves); NaN for vectors of NaN.

        In `counts` (trees, leaves), if given, each point is counted where it ends.
        """
        out = np.empty(len(vectors))
        counts = _NO_COUNTS if counts is None else counts
        _add_up(vectors, self.cuts, self.group_start, self.nodes, self.by_registers, says, counts, out)
        return out


def _depth(cut: Floats) -> int:
    return int(cut.shape[1]).bit_length()


def _heap(ascending: Floats32, levels: int) -> Floats32:
    """Up to 2 ** levels - 1 cuts as a heap; behind the last one it is filled up with infinity."""
    full = np.full(2**levels - 1, np.inf, np.float32)
    full[: len(ascending)] = ascending
    heap = np.full(2**levels, np.inf, np.float32)
    for level in range(levels):
        apart = 2 ** (levels - level)
        heap[2**level : 2 ** (level + 1)] = full[apart // 2 - 1 :: apart]
    return heap


@dataclass(frozen=True, slots=True)
class _Cuts:
    """Every cut of one dimension, in the trees' order."""

    tree: Ints  # (n,), ascending
    node: Ints  # (n,)
    which: Ints  # (n,), its place among the different ones
    different: Floats32  # ascending

    @classmethod
    def of(cls, cut: Floats, there: npt.NDArray[np.bool_]) -> _Cuts:
        """A 32-bit coordinate is above a cut where it is above the greatest 32-bit number at or below it."""
        tree, place = np.nonzero(there)
        near = cut[tree, place].astype(np.float32)
        at_or_below = np.where(near > cut[tree, place], np.nextafter(near, np.float32(-np.inf)), near)
        different, which = np.unique(at_or_below, return_inverse=True)
        return cls(tree, place + 1, which, different)

    def inside(self, trees: slice) -> slice:
        """Those of a stretch of trees."""
        return slice(*np.searchsorted(self.tree, (trees.start, trees.stop)))

    def end_of_group(self, start: int, trees: int) -> int:
        """The first tree that from `start` on would be one too many for a group."""
        inside = slice(np.searchsorted(self.tree, start), None)
        first = np.full(len(self.different), trees)
        np.minimum.at(first, self.which[inside], self.tree[inside])
        together = np.cumsum(np.bincount(first, minlength=trees)[:trees])
        return int(np.searchsorted(together, MOST_CUTS, side="right"))

    def ranked(self, inside: slice) -> tuple[Floats32, Ints]:
        """A group's different cuts, ascending, and how many of them are at or below each of its cuts."""
        used = np.zeros(len(self.different), np.bool_)
        used[self.which[inside]] = True
        at_or_below: Ints = np.cumsum(used)
        return self.different[used], at_or_below[self.which[inside]]


def _group_starts(all_cuts: list[_Cuts], trees: int) -> Ints:
    """Edges of stretches of trees, as long as may be, of at most MOST_CUTS different cuts in each dimension.

    Raises:
        ValueError: a single tree has more.
    """
    starts = [0]
    while starts[-1] < trees:
        end = min(cuts.end_of_group(starts[-1], trees) for cuts in all_cuts)
        if end == starts[-1]:
            raise ValueError(f"tree {end} has more than {MOST_CUTS} different cuts in one dimension")
        starts.append(end)
    return np.array(starts)


@inlined
def _rank(vectors: Floats, points: Ints, cuts: Floats32, by_registers: int, ranks: Shorts) -> None:
    """How many cuts of each dimension the points' coordinates are above, with the bits of `nodes`."""
    levels, most = int(math.log2(cuts.shape[1])), np.uint64(cuts.shape[1] - 1)
    x, node = np.zeros(_BLOCK, np.float32), np.empty(_LANES, np.uint64)
    entered = np.ones(_BLOCK, np.uint32)
    for d in range(len(cuts)):
        own = cuts[d]
        for i in range(len(points)):
            x[i] = vectors[points[i], d]
        if by_registers > 0:
            for first in range(0, len(points), POINTS):
                register_walk.rank(x, first, own, entered)
        for first in range(0, len(points), _LANES):
            lanes = slice(first, first + _LANES)
            some, start, rank = x[lanes], entered[lanes], ranks[d, lanes]
            for lane in range(_LANES):
                node[lane] = start[lane]
            for _ in range(levels - by_registers):
                for lane in range(_LANES):
                    at = node[lane]
                    node[lane] = at + at + np.uint64(own[at] < some[lane])
            for lane in range(_LANES):
                rank[lane] = (node[lane] & most) << np.uint64(DIMENSION_BITS) | np.uint64(_DIMENSION)


@inlined
def _step(ranks: Shorts, heap: Shorts, levels: int, size: int, places: Shorts) -> None:
    """Take the points so many levels down a tree."""
    node, flat = np.empty(_LANES, np.uint64), ranks.reshape(-1)
    for first in range(0, size, _LANES):
        lanes = slice(first, first + _LANES)
        place = places[lanes]
        for lane in range(_LANES):
            node[lane] = place[lane]
        for _ in range(levels):
            for lane in range(_LANES):
                at = node[lane]
                wanted = np.uint64(heap[at])
                row = (wanted & np.uint64(_DIMENSION)) * np.uint64(_BLOCK)
                right = flat[row + np.uint64(first + lane)] >= wanted
                node[lane] = at + at + np.uint64(right)
        for lane in range(_LANES):
            place[lane] = node[lane]


@inlined
def _walk(
    ranks: Shorts,
    size: int,
    nodes: Shorts,
    by_registers: int,
    says: Floats,
    counts: Ints,
    total: Floats,
) -> None:
    """Walk one tree after another with a block of points, and add what their leaves say."""
    leaves, levels = says.shape[1], int(math.log2(nodes.shape[1]))
    drawn_out = levels - int(math.log2(leaves))
    first_leaf, beyond = np.uint64(leaves), np.uint64(drawn_out)
    places = np.empty(_BLOCK, np.uint16)
    nodes, says, total = borrowed(nodes), borrowed(says), borrowed(total)
    for tree in range(len(says)):
        heap, own = nodes[tree], says[tree]
        places[:] = 1
        if by_registers > 0:
            for first in range(0, size, POINTS):
                register_walk.walk(ranks, first, heap, places)
        if levels > by_registers:
            _step(ranks, heap, levels - by_registers, size, places)
        for i in range(size):
            total[i] += own[(np.uint64(places[i]) >> beyond) - first_leaf]
        if counts.size:
            for i in range(size):
                counts[tree, (places[i] >> drawn_out) - leaves] += 1


@kernel
def _add_up(
    vectors: Floats,
    cuts: Floats32,
    group_start: Ints,
    nodes: Shorts,
    by_registers: int,
    says: Floats,
    counts: Ints,
    out: Floats,
) -> None:
    points, total = np.empty(_BLOCK, np.int64), np.empty(_BLOCK)
    ranks = np.zeros((DIMENSIONS, _BLOCK), np.uint16)
    point = 0
    while point < vectors.shape[0]:
        size = 0
        while size < _BLOCK and point < vectors.shape[0]:
            if math.isnan(vectors[point, 0]):
                out[point] = np.nan
            else:
                points[size] = point
                size += 1
            point += 1
        total[:] = 0.0
        for group in range(cuts.shape[0]):
            _rank(vectors, points[:size], cuts[group], by_registers, ranks)
            trees = slice(group_start[group], group_start[group + 1])
            _walk(ranks, size, nodes[trees], by_registers, says[trees], counts[trees], total)
        for i in range(size):
            out[points[i]] = total[i]
