"""What `feed` does before it needs a broker; what arrives there is in tests/kafka/test_feed.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.clock import ManualClock
from service.commands.feed import paced
from service.commands.feed_files import FeedPoint
from tests.commands.command_line import Command


def at(*times_ms: int | None) -> list[FeedPoint]:
    return [FeedPoint(time_ms, "pump-7", b"") for time_ms in times_ms]


def seconds_of(
    points: list[FeedPoint], rate: float | None = None, speedup: float | None = None
) -> list[float]:
    """When each point is let go, in seconds from the start."""
    clock = ManualClock(0.0)
    return [clock.now() for _ in paced(iter(points), rate, speedup, clock)]


def test_without_a_pace_nothing_waits() -> None:
    assert seconds_of(at(0, 5000, None)) == [0.0, 0.0, 0.0]


def test_a_rate_spaces_points_evenly() -> None:
    assert seconds_of(at(0, 0, 9, None), rate=2.0) == [0.0, 0.5, 1.0, 1.5]


def test_a_speedup_follows_the_points_own_times() -> None:
    assert seconds_of(at(10_000, 12_000, 12_000, 30_000), speedup=2.0) == [0.0, 1.0, 1.0, 10.0]


def test_a_point_without_a_time_or_from_the_past_waits_for_nothing() -> None:
    assert seconds_of(at(10_000, None, 2_000, 12_000), speedup=1.0) == [0.0, 0.0, 0.0, 2.0]


def test_a_wrong_file_is_said_before_any_broker_is_asked(anomalyd: Command, tmp_path: Path) -> None:
    ran = anomalyd("feed", tmp_path / "gone.csv", "-b", "127.0.0.1:1")
    assert (ran.code, ran.err) == (1, f"error: {tmp_path}/gone.csv: No such file or directory")


def test_an_unknown_zone_is_wrong_usage(anomalyd: Command, tmp_path: Path) -> None:
    ran = anomalyd("feed", tmp_path / "a.csv", "--timezone", "Mars/Olympus")
    assert (ran.code, ran.err) == (2, "error: --timezone: unknown zone 'Mars/Olympus'")


@pytest.mark.parametrize("option", ["--rate", "--speedup"])
def test_a_pace_of_nothing_is_wrong_usage(anomalyd: Command, option: str) -> None:
    assert anomalyd("feed", "a.csv", option, "0").code == 2


def test_a_property_that_librdkafka_does_not_know_is_a_wrong_configuration(
    anomalyd: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("ts,x\n1,2\n", encoding="utf-8")
    ran = anomalyd("feed", tmp_path / "a.csv", "--set", "kafka.properties={nonsense: 1}")
    assert (ran.code, ran.err) == (2, 'error: kafka: No such configuration property: "nonsense"')
