"""A call that hangs ends the process, and nothing else does."""

from __future__ import annotations

from service import logs
from service.clock import ManualClock
from service.stream.hanging import LOOKS, HangWatch


def watch(*, out_of_time: bool = False) -> tuple[HangWatch, list[int]]:
    left: list[int] = []
    return HangWatch(ManualClock(), logs.logger("stream"), lambda: out_of_time, left.append), left


def test_a_call_that_is_there_at_every_look_hangs() -> None:
    hangs, left = watch()
    with hangs.over():
        for _ in range(LOOKS):
            hangs.look()
        assert left == []
        hangs.look()
    assert left == [1]


def test_many_calls_one_after_the_other_do_not() -> None:
    hangs, left = watch()
    for _ in range(3 * LOOKS):
        with hangs.over():
            hangs.look()
    assert left == []


def test_no_call_at_all_does_not() -> None:
    hangs, left = watch()
    with hangs.over():
        hangs.look()
    for _ in range(3 * LOOKS):
        hangs.look()
    assert left == []


def test_a_call_that_outlasts_the_time_for_stopping_is_left_and_the_stop_is_still_a_good_one() -> None:
    hangs, left = watch(out_of_time=True)
    for _ in range(3):
        with hangs.over():
            hangs.look()
    assert left == []
    with hangs.over():
        hangs.look()
        hangs.look()
    assert left == [0]
