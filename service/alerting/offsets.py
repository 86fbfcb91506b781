"""How far one partition may be committed, while alerts of it are still on their way; pure."""

from __future__ import annotations


class OffsetTracker:
    """The lowest offset that is not done with.

    Offsets come in rising order (with gaps: control records, compaction); what is not open is done.
    """

    __slots__ = ("_committed", "_next", "_open")

    def __init__(self) -> None:
        self._open: dict[int, None] = {}  # in rising order, because offsets come so
        self._next: int | None = None
        self._committed: int | None = None

    @property
    def ahead(self) -> int:
        """How many offsets lie behind the lowest open one: what a crash now would read again."""
        if self._next is None or not self._open:
            return 0
        return self._next - next(iter(self._open))

    def expects(self, offset: int) -> bool:
        """False for an offset that was read before."""
        return self._next is None or offset >= self._next

    def passed(self, offset: int) -> None:
        """The record at `offset` is read, and nothing more happens to it."""
        self._next = offset + 1

    def opened(self, offset: int) -> None:
        """The record at `offset` became an alert that is on its way."""
        self._open[offset] = None
        self._next = offset + 1

    def done(self, offset: int) -> None:
        self._open.pop(offset, None)

    @property
    def to_commit(self) -> int | None:
        """The next offset to read after a crash, where that is news for the group."""
        lowest = next(iter(self._open)) if self._open else self._next
        return None if lowest == self._committed else lowest

    def committed(self, offset: int) -> None:
        self._committed = offset
