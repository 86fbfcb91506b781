"""A forest laid out for walking: coordinates become ranks among its cuts, and a step is one masked compare.

Whether a coordinate is above a cut depends only on how many cuts it is above. A point's six ranks, 10 bits
each, fit into one 64-bit word, and a node is a mask for its dimension and the cut's number in the same bits:
left where `word & mask < number`. Trees with too many different cuts together are split into groups, a word
for each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.kernels import borrowed, kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_BITS = 10
MOST_CUTS = 2**_BITS - 1
"""Different cuts of one dimension that a group, and so a tree, may have."""

_BLOCK = 64  # points that walk one tree after another, while the tree stays in the first cache
_LANES = 8  # of them in lock-step: while one waits for its node the others' steps go on

_NO_COUNTS = np.empty((0, 0), np.int64)


@dataclass(frozen=True, slots=True)
class RankedTrees:
    """Trees as complete heaps of one depth; place 0 is empty and node i has the children 2i and 2i + 1.

    Coordinates are taken as 32-bit numbers, as scikit-learn does.
    """

    cuts: Floats  # (groups, dimensions, MOST_CUTS), ascending, then infinite
    group_start: Ints  # (groups + 1,), the first tree of each
    mask: Words  # (trees, leaves), of the node's dimension; 0 where there is no node
    number: Words  # (trees, leaves), how many of the group's cuts are at or below the node's, at least 1

    @classmethod
    def of(cls, dimension: npt.NDArray[np.int8], cut: Floats, dimensions: int) -> RankedTrees:
        """From heaps (trees, leaves - 1) with node i at place i - 1.

        Right is where the coordinate is above the cut; at an infinite cut all goes left.
        """
        shape = len(cut), cut.shape[1] + 1
        groups = _groups(dimension, cut, dimensions)
        cuts = np.full((len(groups), dimensions, MOST_CUTS), np.inf)
        mask, number = np.zeros(shape, np.uint64), np.ones(shape, np.uint64)
        for g, trees in enumerate(groups):
            for d in range(dimensions):
                at = (dimension[trees] == d) & np.isfinite(cut[trees])
                own = np.unique(cut[trees][at])
                cuts[g, d, : len(own)] = own
                mask[trees, 1:][at] = np.uint64(MOST_CUTS << (_BITS * d))
                numbers = np.searchsorted(own, cut[trees][at], side="right").astype(np.uint64)
                number[trees, 1:][at] = numbers << np.uint64(_BITS * d)
        starts = np.array([0, *(trees.stop for trees in groups)], np.int64)
        return cls(cuts, starts, mask, number)

    def add_up(self, vectors: Floats, says: Floats, counts: Ints | None = None) -> Floats:
        """Sums (n,), in the trees' order, of what their leaves say, (trees, leaves); NaN for vectors of NaN.

        In `counts` (trees, leaves), if given, each point is counted where it ends.
        """
        out = np.empty(len(vectors))
        counts = _NO_COUNTS if counts is None else counts
        _add_up(vectors, self.cuts, self.group_start, self.mask, self.number, says, counts, out)
        return out


def _groups(dimension: npt.NDArray[np.int8], cut: Floats, dimensions: int) -> list[slice]:
    """Stretches of trees, as long as may be, with at most MOST_CUTS different cuts in each dimension.

    Raises:
        ValueError: a single tree has more.
    """
    groups: list[slice] = []
    start = 0
    together: list[set[float]] = [set() for _ in range(dimensions)]
    for tree in range(len(cut)):
        real = np.isfinite(cut[tree])
        own = [set(cut[tree, real & (dimension[tree] == d)].tolist()) for d in range(dimensions)]
        together = [old | new for old, new in zip(together, own, strict=True)]
        if max(map(len, own)) > MOST_CUTS:
            raise ValueError(f"tree {tree} has more than {MOST_CUTS} different cuts in one dimension")
        if max(map(len, together)) > MOST_CUTS:
            groups.append(slice(start, tree))
            start, together = tree, own
    return [*groups, slice(start, len(cut))]


@kernel
def _rank(cuts: Floats, x: float) -> int:
    """How many of the MOST_CUTS cuts `x` is above; without a branch that could be mispredicted."""
    rank, step = 0, (MOST_CUTS + 1) // 2
    while step > 0:
        rank += step * (x > cuts[rank + step - 1])
        step //= 2
    return rank


@kernel
def _add_up(
    vectors: Floats,
    cuts: Floats,
    group_start: Ints,
    mask: Words,
    number: Words,
    says: Floats,
    counts: Ints,
    out: Floats,
) -> None:
    cuts, mask, number = borrowed(cuts), borrowed(mask), borrowed(number)
    leaves, one = np.uint64(says.shape[1]), np.uint64(1)
    depth = int(math.log2(says.shape[1]))
    points = np.empty(_BLOCK, np.int64)
    words = np.zeros(_BLOCK, np.uint64)
    node = np.empty(_LANES, np.uint64)
    total = np.empty(_BLOCK)
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
            for i in range(size):
                word = np.uint64(0)
                for d in range(vectors.shape[1]):
                    x = np.float64(np.float32(vectors[points[i], d]))
                    word |= np.uint64(_rank(cuts[group, d], x)) << np.uint64(_BITS * d)
                words[i] = word
            for tree in range(group_start[group], group_start[group + 1]):
                masks, numbers = mask[tree], number[tree]
                for first in range(0, size, _LANES):
                    node[:] = one
                    for _ in range(depth):
                        for lane in range(_LANES):
                            at = node[lane]
                            # "below" is the carry of the comparison; "not above" would take two flags
                            left = (words[first + lane] & masks[at]) < numbers[at]
                            node[lane] = at + at + one - np.uint64(left)
                    for lane in range(min(_LANES, size - first)):
                        total[first + lane] += says[tree, node[lane] - leaves]
                        if counts.size:
                            counts[tree, node[lane] - leaves] += 1
        for i in range(size):
            out[points[i]] = total[i]
