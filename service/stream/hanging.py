"""Ends a process whose Kafka client hangs: a call that does not return long after its own timeout.

librdkafka was seen to wait for ever, past its timeout, in a transaction whose coordinator died meanwhile.
There is no way out of such a call, so the process ends and whoever supervises it starts it anew from the last
commit: the one recovery that is always right. Where it is to stop anyway, that is a stop like any other.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator

from service.clock import Clock
from service.logs import Logger
from service.stopping import LET_GO

LOOKS = 15
_LOOK_EVERY_S = 1.0


class HangWatch:
    """Looks at the call in progress once a second; the same one so often in a row hangs.

    Counted in looks and not in time, so that a process that was stopped and goes on is not taken for one.
    """

    def __init__(
        self,
        clock: Clock,
        log: Logger,
        out_of_time: Callable[[], bool],
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        """`out_of_time` says whether the service was to be stopped by now; `leave` gets the exit code."""
        self._clock, self._log, self._out_of_time, self._leave = clock, log, out_of_time, leave
        self._calls = itertools.count(1)
        self._call = 0  # in progress; 0 is none
        self._seen = self._times = 0
        self._stop = threading.Event()

    @contextlib.contextmanager
    def over(self) -> Iterator[None]:
        """While this lasts one call of the client's is in progress."""
        self._call = next(self._calls)
        try:
            yield
        finally:
            self._call = 0

    def start(self) -> None:
        threading.Thread(target=self._run, name="hang watch", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def look(self) -> None:
        """See whether it is still the same call; leave when that was so too often, or no time is left."""
        call = self._call
        self._times = self._times + 1 if call and call == self._seen else 0
        self._seen = call
        if self._times and self._out_of_time():
            self._log.warning(LET_GO)
            self._leave(0)
        elif self._times >= LOOKS:
            self._log.error("the Kafka client hangs; leaving, to be started anew from the last commit")
            self._leave(1)

    def _run(self) -> None:
        while not self._clock.wait(self._stop, _LOOK_EVERY_S):
            self.look()
