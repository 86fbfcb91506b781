"""A forest laid out for walking: coordinates become ranks among its cuts, and a step is one masked compare.

Whether a coordinate is above a cut depends only on how many cuts it is above. A point's six ranks, 10 bits
each, fit into one 64-bit word, and a node is a mask for its dimension and the cut's number in the same bits:
left where `word & mask < number`. Trees with too many different cuts together are split into groups, a word
for each. The cuts of a dimension are a tree, too, which ends at the rank.

The highest levels have few nodes: there all points are compared with all of them, many at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.kernels import kernel

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Shorts = npt.NDArray[np.int16]

_BITS = 10
MOST_CUTS = 2**_BITS - 1
"""Different cuts of one dimension that a group, and so a tree, may have."""

_BLOCK = 256  # points that walk one tree after another, while the tree stays in the first cache
_LANES = 8  # of them in lock-step: while one waits for its node the others' steps go on

_HIGH_LEVELS = 3
_NEVER = 2**15 - 1  # a number that no rank reaches

_NO_COUNTS = np.empty((0, 0), np.int64)


@dataclass(frozen=True, slots=True)
class RankedTrees:
    """Trees as complete heaps of one depth; place 0 is empty and node i has the children 2i and 2i + 1.

    Coordinates are taken as 32-bit numbers, as scikit-learn does.
    """

    cuts: Floats32  # (groups, dimensions, MOST_CUTS + 1), such a heap: left of a cut are the smaller ones
    group_start: Ints  # (groups + 1,), the first tree of each
    mask: Words  # (trees, leaves), of the node's dimension; 0 where there is no node
    number: Words  # (trees, leaves), how many of the group's cuts are at or below the node's, at least 1
    high_dimension: npt.NDArray[np.int8]  # (trees, 2 ** _HIGH_LEVELS or fewer), of the highest nodes
    high_number: Shorts  # the same shape, as in `number` but not shifted

    @classmethod
    def of(cls, dimension: npt.NDArray[np.int8], cut: Floats, dimensions: int) -> RankedTrees:
        """From heaps (trees, leaves - 1) with node i at place i - 1.

        Right is where the coordinate is above the cut; at an infinite cut all goes left.
        """
        shape = len(cut), cut.shape[1] + 1
        all_cuts = [_Cuts.of(cut, (dimension == d) & np.isfinite(cut)) for d in range(dimensions)]
        starts = _group_starts(all_cuts, len(cut))
        heaps = np.empty((len(starts) - 1, dimensions, MOST_CUTS + 1), np.float32)
        mask, number = np.zeros(shape, np.uint64), np.ones(shape, np.uint64)
        for d, cuts in enumerate(all_cuts):
            mask[cuts.tree, cuts.node] = np.uint64(MOST_CUTS << (_BITS * d))
            for g in range(len(heaps)):
                inside = slice(*np.searchsorted(cuts.tree, starts[g : g + 2]))
                heaps[g, d], numbers = cuts.ranked(inside)
                number[cuts.tree[inside], cuts.node[inside]] = numbers << np.uint64(_BITS * d)
        high = min(2**_HIGH_LEVELS, shape[1])
        high_dimension = np.pad(dimension[:, : high - 1], ((0, 0), (1, 0)))
        unshifted = number[:, :high] >> (_BITS * high_dimension).astype(np.uint64)
        high_number = np.where(mask[:, :high] > 0, unshifted, _NEVER).astype(np.int16)
        return cls(heaps, starts, mask, number, high_dimension, high_number)

    def add_up(self, vectors: Floats, says: Floats, counts: Ints | None = None) -> Floats:
        """Sums (n,), in the trees' order, of what their leaves say, (trees, leaves); NaN for vectors of NaN.

        In `counts` (trees, leaves), if given, each point is counted where it ends.
        """
        out = np.empty(len(vectors))
        counts = _NO_COUNTS if counts is None else counts
        highest = self.high_dimension, self.high_number
        _add_up(vectors, self.cuts, self.group_start, *highest, self.mask, self.number, says, counts, out)
        return out


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

    def end_of_group(self, start: int, trees: int) -> int:
        """The first tree that from `start` on would be one too many for a group."""
        inside = slice(np.searchsorted(self.tree, start), None)
        first = np.full(len(self.different), trees)
        np.minimum.at(first, self.which[inside], self.tree[inside])
        together = np.cumsum(np.bincount(first, minlength=trees)[:trees])
        return int(np.searchsorted(together, MOST_CUTS, side="right"))

    def ranked(self, inside: slice) -> tuple[Floats32, Words]:
        """A group's different cuts as a heap, and how many of them are at or below each of its cuts."""
        used = np.zeros(len(self.different), np.bool_)
        used[self.which[inside]] = True
        ascending = np.full(MOST_CUTS, np.inf, np.float32)
        ascending[: np.count_nonzero(used)] = self.different[used]
        heap = np.full(MOST_CUTS + 1, np.inf, np.float32)
        for level in range(_BITS):
            apart = 2 ** (_BITS - level)
            heap[2**level : 2 ** (level + 1)] = ascending[apart // 2 - 1 :: apart]
        return heap, np.cumsum(used)[self.which[inside]].astype(np.uint64)


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


@kernel
def _rank(vectors: Floats, points: Ints, cuts: Floats32, ranks: Shorts, words: Words) -> None:
    """How many cuts of each dimension the points' coordinates are above; the same as one word for a point."""
    one, most = np.uint64(1), np.uint64(MOST_CUTS)
    x, node = np.zeros(_BLOCK, np.float32), np.empty(_LANES, np.uint64)
    words[:] = np.uint64(0)
    for d in range(len(cuts)):
        own, shift = cuts[d], np.uint64(_BITS * d)
        for i in range(len(points)):
            x[i] = vectors[points[i], d]
        for first in range(0, len(points), _LANES):
            lanes = slice(first, first + _LANES)
            some, rank, word = x[lanes], ranks[d, lanes], words[lanes]
            node[:] = one
            for _ in range(_BITS):
                for lane in range(_LANES):
                    at = node[lane]
                    node[lane] = at + at + np.uint64(own[at] < some[lane])
            for lane in range(_LANES):
                rank[lane] = node[lane] & most
                word[lane] |= (node[lane] & most) << shift


@kernel
def _enter(ranks: Shorts, dimension: npt.NDArray[np.int8], number: Shorts, nodes: Shorts) -> None:
    """Where the points come to below the highest levels: all pass each node there, and those at it go on."""
    nodes[:] = 1
    for high in range(1, len(number)):
        own, least, this = ranks[dimension[high]], number[high], np.int16(high)
        for i in range(len(nodes)):
            here, right = np.int16(nodes[i] == this), np.int16(own[i] >= least)
            nodes[i] += here * (this + right)


@kernel
def _walk(
    ranks: Shorts,
    words: Words,
    size: int,
    high_dimension: npt.NDArray[np.int8],
    high_number: Shorts,
    mask: Words,
    number: Words,
    says: Floats,
    counts: Ints,
    total: Floats,
) -> None:
    """Walk one tree after another with a block of points, and add what their leaves say."""
    leaves, one = np.uint64(says.shape[1]), np.uint64(1)
    levels = int(math.log2(says.shape[1] // high_number.shape[1]))
    node, entered = np.empty(_LANES, np.uint64), np.ones(_BLOCK, np.int16)
    for tree in range(len(says)):
        masks, numbers, own = mask[tree], number[tree], says[tree]
        _enter(ranks, high_dimension[tree], high_number[tree], entered[:size])
        for first in range(0, size, _LANES):
            lanes = slice(first, first + _LANES)
            start, word, sums = entered[lanes], words[lanes], total[lanes]
            for lane in range(_LANES):
                node[lane] = start[lane]
            for _ in range(levels):
                for lane in range(_LANES):
                    at = node[lane]
                    # "below" is the carry of the comparison; "not above" would take two flags
                    left = (word[lane] & masks[at]) < numbers[at]
                    node[lane] = at + at + one - np.uint64(left)
            for lane in range(_LANES):
                sums[lane] += own[node[lane] - leaves]
            if counts.size:
                for lane in range(min(_LANES, size - first)):
                    counts[tree, node[lane] - leaves] += 1


@kernel
def _add_up(
    vectors: Floats,
    cuts: Floats32,
    group_start: Ints,
    high_dimension: npt.NDArray[np.int8],
    high_number: Shorts,
    mask: Words,
    number: Words,
    says: Floats,
    counts: Ints,
    out: Floats,
) -> None:
    points, words, total = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.uint64), np.empty(_BLOCK)
    ranks = np.zeros((cuts.shape[1], _BLOCK), np.int16)
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
            _rank(vectors, points[:size], cuts[group], ranks, words)
            trees = slice(group_start[group], group_start[group + 1])
            highest = high_dimension[trees], high_number[trees]
            _walk(ranks, words, size, *highest, mask[trees], number[trees], says[trees], counts[trees], total)
        for i in range(size):
            out[points[i]] = total[i]
