"""Isolation trees, the same to the last bit as those that scikit-learn's `IsolationForest` grows.

Grown here because scikit-learn takes a second and 95 MB to import, and most of its fit is the interpreter's.
To it a tree is a regression of random targets by random cuts; what it draws comes from one generator for
the forest, one for each tree's sample and one for each tree's cuts. Hence the targets and the seeds here.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from service.kernels import kernel

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Dimensions = npt.NDArray[np.int8]

EULER_GAMMA = 0.5772156649015329

_LARGEST = 2**31 - 1  # of a seed and of a draw
_TINY = float(np.finfo(np.float64).eps)  # targets that vary no more are one
_NARROW = np.float32(1e-7)  # coordinates that reach no further are one


def average_path_length(count: float) -> float:
    """Mean depth of an unsuccessful search in a binary search tree of `count` points."""
    if count <= 1:
        return 0.0
    if count <= 2:
        return 1.0
    return 2.0 * (math.log(count - 1.0) + EULER_GAMMA) - 2.0 * (count - 1.0) / count


def grow(vectors: Floats, trees: int, samples: int, seed: int) -> tuple[Dimensions, Floats, Floats]:
    """Trees of so many of the vectors each, as complete heaps of one depth: dimension, cut and path length.

    The first two are (trees, leaves - 1); node i has the children 2i + 1 and 2i + 2, and right is where the
    coordinate is greater than the cut. A branch that ends early is drawn out with infinite cuts, so always
    to the left, and its path length (trees, leaves) stands in the leaf that this leads to.
    """
    points = vectors.astype(np.float32)
    rng = np.random.RandomState(seed)
    targets = rng.uniform(size=len(points))
    lengths = np.array([average_path_length(count) for count in range(samples + 1)])
    leaves = 2 ** math.ceil(math.log2(max(samples, 2)))
    dimension = np.zeros((trees, leaves - 1), np.int8)
    cut = np.full((trees, leaves - 1), np.inf)
    path = np.zeros((trees, leaves))
    deepest = 1
    rng.seed(seed)
    for tree, own in enumerate(rng.randint(_LARGEST, size=trees).tolist()):
        rng.seed(own)
        chosen = _sample(rng, len(points), samples)
        rng.seed(own)
        rng.seed(rng.randint(_LARGEST))
        state = rng.randint(_LARGEST)
        reached = _grow(
            points[chosen], targets[chosen], state, lengths, dimension[tree], cut[tree], path[tree]
        )
        deepest = max(deepest, reached)
    used = 2**deepest
    # A path that was drawn out to more levels than there are ends in the leftmost leaf below where it should.
    return dimension[:, : used - 1].copy(), cut[:, : used - 1].copy(), path[:, :: leaves // used].copy()


def _sample(rng: np.random.RandomState, population: int, count: int) -> Ints:
    """So many different numbers below `population`, ascending."""
    share = count / population
    if 0.01 < share < 0.99:
        chosen = rng.permutation(population)[:count]
    elif share < 0.2:
        drawn: set[int] = set()
        while len(drawn) < count:
            drawn.add(rng.randint(population))
        chosen = np.array(list(drawn))
    else:
        chosen = np.arange(count)
        for number in range(count, population):
            if (place := rng.randint(number + 1)) < count:
                chosen[place] = number
    return np.sort(chosen)


@kernel
def _draw(state: Ints) -> int:
    """The next of a xorshift generator's numbers of 31 bits (Marsaglia, 2003)."""
    word: int = max(state[0], 1)
    word ^= (word << 13) & 0xFFFFFFFF
    word ^= word >> 17
    word ^= (word << 5) & 0xFFFFFFFF
    state[0] = word
    return word & _LARGEST


@kernel
def _reach(points: Floats32, members: Ints, d: int, values: Floats32) -> tuple[np.float32, np.float32]:
    """The least and the greatest of the members' coordinates, which are left in `values`."""
    low = high = points[members[0], d]
    for i in range(len(members)):
        values[i] = points[members[i], d]
        low, high = min(low, values[i]), max(high, values[i])
    return low, high


@kernel
def _part(members: Ints, values: Floats32, cut: float) -> int:
    """Put the members whose value is above the cut behind the others; how many the others are."""
    left, right = 0, len(members)
    while left < right:
        if values[left] <= cut:
            left += 1
        else:
            right -= 1
            values[left], values[right] = values[right], values[left]
            members[left], members[right] = members[right], members[left]
    return left


@kernel
def _split(
    points: Floats32, members: Ints, state: Ints, features: Ints, known: Ints, constant: int, values: Floats32
) -> tuple[int, float, int, int]:
    """Part a node's members by a random cut of a random dimension that is not constant among them.

    The dimension, the cut, how many members went left (all where there is no such dimension), and how many
    dimensions are known to be constant: those that were, `constant`, and those that were drawn in vain, which
    are added to `known`. `features` is the order that dimensions are drawn in.
    """
    width, seen, found = len(features), 0, 0  # known ones drawn again, and new ones
    d, cut, left = 0, 0.0, len(members)
    while width > constant + found and left == len(members):
        place = seen + _draw(state) % (width - found - seen)
        if place < constant:
            features[seen], features[place] = features[place], features[seen]
            seen += 1
            continue
        place += found
        d = features[place]
        low, high = _reach(points, members, d, values)
        to = constant + found
        if high <= low + _NARROW:
            found += 1
        else:
            to = width - 1
            cut = (np.float64(high) - np.float64(low)) * _draw(state) / _LARGEST + low
            if cut == high:
                cut = np.float64(low)
            left = _part(members, values, cut)
        features[place], features[to] = features[to], features[place]
    for i in range(constant):  # an assignment of slices takes three seconds to compile
        features[i] = known[i]
    for i in range(constant, constant + found):
        known[i] = features[i]
    return d, cut, left, constant + found


@kernel
def _sums(targets: Floats, members: Ints) -> tuple[float, float]:
    """The targets' sum and that of their squares."""
    total = squares = 0.0
    for member in members:
        total += targets[member]
        squares += targets[member] * targets[member]
    return total, squares


@kernel
def _left_sum(targets: Floats, members: Ints, left: int, total: float) -> float:
    """The sum of the left ones' targets, by way of the smaller side."""
    if left > len(members) - left:
        for i in range(len(members) - 1, left - 1, -1):
            total -= targets[members[i]]
        return total
    return _sums(targets, members[:left])[0]


@kernel
def _variance(total: float, squares: float, count: int) -> float:
    mean = total / count
    return squares / count - mean * mean


@kernel
def _grow(
    points: Floats32,
    targets: Floats,
    seed: int,
    lengths: Floats,
    dimension: Dimensions,
    cut: Floats,
    path: Floats,
) -> int:
    """Grow one tree of all points into a heap; the level of its deepest leaf."""
    count, width = points.shape
    depth, deepest = int(math.log2(len(path))), 0
    state, members, values = np.array([seed]), np.arange(count), np.empty(count, np.float32)
    features, known = np.arange(width), np.zeros(width, np.int64)
    nodes = np.empty((depth + 2, 5), np.int64)  # that wait: start, stop, number from 1 on, level, constants
    variances = np.empty(depth + 2)
    nodes[0], waiting = (0, count, 1, 0, 0), 1
    variances[0] = _variance(*_sums(targets, members), count)
    while waiting:
        waiting -= 1
        start, stop, node, level, constant = nodes[waiting]
        own, size, variance = members[start:stop], stop - start, variances[waiting]
        total, squares = _sums(targets, own)
        left = size
        if level < depth and size > 1 and variance > _TINY:
            d, at, left, constant = _split(points, own, state, features, known, constant, values)
        if left == size:
            path[(node << (depth - level)) - len(path)] = level + lengths[size]
            deepest = max(deepest, level)
            continue
        dimension[node - 1], cut[node - 1] = d, at
        nodes[waiting] = (start + left, stop, 2 * node + 1, level + 1, constant)
        nodes[waiting + 1] = (start, start + left, 2 * node, level + 1, constant)
        left_total, left_squares = _left_sum(targets, own, left, total), _sums(targets, own[:left])[1]
        variances[waiting] = _variance(total - left_total, squares - left_squares, size - left)
        variances[waiting + 1] = _variance(left_total, left_squares, left)
        waiting += 2
    return deepest
