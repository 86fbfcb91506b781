from __future__ import annotations

from service.clock import ManualClock
from service.workers.restarts import Restarts


def test_the_first_life_may_begin_at_once() -> None:
    assert Restarts(ManualClock()).remaining_s == 0.0


def test_waits_double_from_a_tenth_of_a_second_to_ten_seconds() -> None:
    restarts = Restarts(ManualClock())
    waits = []
    for _ in range(9):
        restarts.began()
        waits.append(restarts.ended())
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_the_wait_passes_with_the_clock() -> None:
    clock = ManualClock()
    restarts = Restarts(clock)
    for _ in range(8):
        restarts.began()
        restarts.ended()
    assert restarts.remaining_s == 10.0
    clock.advance(4.0)
    assert restarts.remaining_s == 6.0
    clock.advance(7.0)
    assert restarts.remaining_s == 0.0


def test_a_life_of_a_minute_is_forgiven_and_a_shorter_one_is_not() -> None:
    clock = ManualClock()
    restarts = Restarts(clock)
    waits = []
    for lived_s in (0.0, 59.9, 60.0, 0.0):
        restarts.began()
        clock.advance(lived_s)
        waits.append(restarts.ended())
    assert waits == [0.1, 0.2, 0.1, 0.2]
