"""A call that hangs ends the process, and nothing else does."""

from __future__ import annotations

from service import logs
from service.clock import ManualClock
from service.stream.hanging import LOOKS, HangWatch


def watch() -> tuple[HangWatch, list[str]]:
    left: list[str] = []
    return HangWatch(ManualClock(), logs.logger("stream"), lambda: left.append("left")), left


def test_a_call_that_is_there_at_every_look_hangs() -> None:
    hangs, left = watch()
    with hangs.over():
        for _ in range(LOOKS):
            hangs.look()
        assert left == []
        hangs.look()
    assert left == ["left"]


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
