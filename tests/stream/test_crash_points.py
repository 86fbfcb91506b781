"""The hook does nothing, or what it was armed for at the right time."""

from __future__ import annotations

import signal

import pytest

from service.stream.crash_points import armed


def _arrivals(text: str, *points: str) -> list[signal.Signals]:
    sent: list[signal.Signals] = []
    here = armed(text, sent.append)
    for point in points:
        here(point)  # type: ignore[arg-type]
    return sent


def test_nothing_happens_unless_it_is_armed() -> None:
    assert _arrivals("", "before-commit", "after-commit") == []


def test_the_named_point_kills_once_and_the_others_do_not() -> None:
    assert _arrivals("before-commit", "after-produce", "before-commit", "before-commit") == [signal.SIGKILL]


def test_a_count_waits_and_a_signal_is_sent_instead() -> None:
    assert _arrivals("before-commit:3:STOP", *["before-commit"] * 2) == []
    assert _arrivals("before-commit:3:STOP", *["before-commit"] * 3) == [signal.SIGSTOP]


@pytest.mark.parametrize("text", ["before-comit", "before-commit:many", "before-commit:1:NOTHING"])
def test_a_mistake_is_not_taken_for_no_crash(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        armed(text, lambda _: None)
