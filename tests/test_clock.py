from __future__ import annotations

import threading
import time

import pytest

from service.clock import Clock, ManualClock, SystemClock


def test_the_system_clock_is_the_machines() -> None:
    clock = SystemClock()
    before = (time.time(), time.monotonic())
    read = (clock.now(), clock.monotonic())
    after = (time.time(), time.monotonic())
    assert before <= read <= after
    assert before[1] <= read[1] <= after[1]


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()])
def test_waiting_ends_at_once_with_true_when_stop_is_set(clock: Clock) -> None:
    stop = threading.Event()
    stop.set()
    began = clock.monotonic()
    assert clock.wait(stop, 600.0)
    assert clock.monotonic() - began < 60.0


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()])
def test_waiting_takes_the_time_and_gives_false(clock: Clock) -> None:
    began = clock.monotonic()
    assert not clock.wait(threading.Event(), 0.01)
    assert clock.monotonic() - began >= 0.009


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(100.0)
    assert (clock.now(), clock.now()) == (100.0, 100.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 102.5)
