"""Signals that ask a process to stop, and its end where it cannot."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from service import logs

LET_GO = "Kafka does not let go; leaving without it, the batch in flight will be read again"

_log = logs.logger("app")


class Stoppable(Protocol):
    """What runs until it is asked to stop, and then not for much longer."""

    @property
    def longest_stop_s(self) -> float: ...

    def stop(self) -> None: ...


@contextlib.contextmanager
def stopped_by_signals(service: Stoppable) -> Iterator[Callable[[], None]]:
    """SIGTERM and SIGINT ask `service` to stop; a second one of them ends the process at once.

    Yields what asks the same without being a signal.

    A client call can be stuck in a cluster that is away, past its own timeout (`send_offsets_to_transaction`
    was seen to take 20 s), and Python runs its handlers only between the calls of the main thread. So a
    thread of its own hears of the signals, and when the time for stopping is over ends the process.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    waker = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}

    def leave() -> None:
        _log.warning(LET_GO)
        os._exit(0)

    last_resort = threading.Timer(service.longest_stop_s, leave)
    last_resort.daemon = True

    asked = threading.Lock()

    def ask() -> None:
        if asked.acquire(blocking=False):  # for the first time
            service.stop()
            last_resort.start()

    def listen() -> None:
        signalled = False
        while number := os.read(heard, 1):
            if number[0] in before and signalled:
                os._exit(128 + number[0])
            if number[0] in before:
                signalled = True
                ask()
        os.close(heard)

    listener = threading.Thread(target=listen, name="signals", daemon=True)
    listener.start()
    try:
        yield ask
    finally:
        last_resort.cancel()
        signal.set_wakeup_fd(waker)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(told)
        listener.join()
