"""When a dead worker is started again; knows a clock and nothing of processes."""

from __future__ import annotations

from service.clock import Clock

_FIRST_S = 0.1
_LONGEST_S = 10.0
_FORGIVEN_AFTER_S = 60.0


class Restarts:
    """The waits before one worker's next life: they double from 0.1 s to 10 s.

    A life of a minute begins them anew.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = self._due = clock.monotonic()
        self._next_wait_s = _FIRST_S

    @property
    def remaining_s(self) -> float:
        """How long still to wait; 0 when it is time."""
        return max(self._due - self._clock.monotonic(), 0.0)

    def began(self) -> None:
        """A life begins now."""
        self._began = self._clock.monotonic()

    def ended(self) -> float:
        """The life ended now; the wait until the next."""
        now = self._clock.monotonic()
        if now - self._began >= _FORGIVEN_AFTER_S:
            self._next_wait_s = _FIRST_S
        wait_s = self._next_wait_s
        self._next_wait_s = min(2 * wait_s, _LONGEST_S)
        self._due = now + wait_s
        return wait_s
