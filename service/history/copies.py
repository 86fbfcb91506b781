"""Memory for the copy of one state at a time, kept from one to the next; knows not what is copied.

A page that a process has never touched is cleared before it is given out, and fetched from the host where the
machine is a virtual one. Copying 290 MB to such pages took 0.35 to 0.6 s, to those of the last copy 0.05.
"""

from __future__ import annotations

import numpy as np

from service.history.table import Array

_ALIGNED = 64
_SPARE = 1.1  # states grow, and partitions differ: so much more room than was wanted
_PAGE_BYTES = 4096


class CopyRoom:
    """Room for the arrays of one state; what does not fit is copied elsewhere."""

    def __init__(self) -> None:
        self._room = np.empty(0, np.uint8)
        self._wanted = 0

    def clear(self) -> None:
        """The arrays that were copied are no longer needed."""
        self._wanted = 0

    def copied(self, array: Array) -> Array:
        """A copy of a contiguous array, until `clear`."""
        start = self._wanted
        self._wanted = start + -(-array.nbytes // _ALIGNED) * _ALIGNED
        if self._wanted > len(self._room):
            return array.copy()
        copy = self._room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return copy

    def fit(self) -> None:
        """Make room for what was wanted since `clear`, where there was none, and a little more."""
        self.ensure(self._wanted)

    def ensure(self, nbytes: int) -> None:
        """Room for so many bytes and a little more, every page of it touched; frees the old one. Slow."""
        if nbytes > len(self._room):
            self._room = np.empty(0, np.uint8)
            self._room = np.empty(int(nbytes * _SPARE), np.uint8)
            self._room[::_PAGE_BYTES] = 0
