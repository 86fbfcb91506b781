"""What `feedback` refuses before it needs a broker; what it does there is in tests/kafka/test_feedback.py."""

from __future__ import annotations

import pytest

from tests.commands.command_line import Command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pump-7", "falsch"), "falsch: none of false-alarm, confirmed, expected, new-normal"),
        (("pump-7", "expected"), "--until: expected needs it"),
        (("pump-7", "confirmed", "--until", "2026-01-01T00:00:00Z"), "--until: expected needs it"),
        (("pump-7", "expected", "--until", "tomorrow"), "--until tomorrow:"),
        (("pump-7", "confirmed", "--timeout", "soon"), "--timeout: not a duration"),
        (("pump-7",), "Missing argument"),
    ],
)
def test_wrong_usage_is_said_and_ends_with_2(
    anomalyd: Command, arguments: tuple[str, ...], said: str
) -> None:
    ran = anomalyd("feedback", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_without_a_broker_it_fails_and_names_the_place(anomalyd: Command) -> None:
    ran = anomalyd("feedback", "pump-7", "confirmed", "-b", "127.0.0.1:1")
    assert ran.code == 1
    assert "cannot be read" in ran.err
