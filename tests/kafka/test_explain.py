"""`anomalyd explain` against what a running service published, before and after a snapshot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.commands.command_line import Command
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import Setup, headers, make_topics, noisy_points, produce, published, running

pytestmark = pytest.mark.kafka

POINTS, SOURCES = 200, 2
HALF = POINTS * SOURCES // 2


@pytest.fixture(scope="module")
def setup(broker: RunningBroker) -> Setup:
    """What a service published that was stopped half-way, where its snapshot lies, and started again."""
    setup = Setup.of(broker.bootstrap_servers, "explain-", partitions=1)
    make_topics(setup.settings)
    points = noisy_points(POINTS, SOURCES)
    for part, done in ((points[:HALF], HALF), (points[HALF:], HALF)):
        produce(setup.settings, part)
        with running(setup) as service:
            service.wait_until_done(done)
            assert service.terminate() == 0
    return setup


def results(setup: Setup) -> dict[int, dict[str, Any]]:
    """By the offset of their record."""
    messages = published(setup.settings, "detection_results")
    return {int(headers(m)["x-in-offset"]): json.loads(m.value() or b"") for m in messages}


def explained(anomalyd: Command, setup: Setup, *arguments: object) -> dict[str, Any]:
    ran = anomalyd("explain", *setup.flags, *arguments, "--json")
    assert ran.code == 0, ran.err
    told: dict[str, Any] = json.loads(ran.out)
    return told


def assert_told(told: dict[str, Any], result: dict[str, Any]) -> None:
    assert (told["sourceId"], told["timestamp"]) == (result["sourceId"], result["timestamp"])
    for name in ("status", "score", "isAnomaly", "severity"):
        assert told[name] == result[name]
    assert told["incident"]["change"] == result.get("incident")


def test_a_point_after_the_snapshot_is_told_from_there_and_as_it_was_published(
    setup: Setup, anomalyd: Command
) -> None:
    found = results(setup)
    offset = next(at for at, result in found.items() if at > HALF and result.get("incident") == "opened")
    result = found[offset]
    told = explained(anomalyd, setup, "--source", result["sourceId"], "--at", result["timestamp"])
    assert (told["offset"], told["recomputedFrom"], told["notes"]) == (offset, HALF, [])
    assert_told(told, result)
    assert told["explanation"] == result["explanation"]
    assert told["incident"]["heldBy"] == []


def test_a_point_before_the_snapshot_is_told_from_the_birth(setup: Setup, anomalyd: Command) -> None:
    offset, result = HALF - 20, results(setup)[HALF - 20]
    told = explained(anomalyd, setup, "--source", result["sourceId"], "--offset", offset)
    assert (told["offset"], told["recomputedFrom"], told["notes"]) == (offset, 0, [])
    assert_told(told, result)
    assert "threshold" in told["incident"]["heldBy"]


def test_with_other_settings_than_the_services_it_says_so(setup: Setup, anomalyd: Command) -> None:
    ran = anomalyd(
        "explain", *setup.flags, "--set", "detection.threshold=0.9", "--source", "pump-0", "--offset", HALF
    )
    assert ran.code == 1
    assert "no history of these settings" in ran.err
    assert setup.settings.detection.model_version() in ran.err


def test_without_any_snapshot_the_log_is_run_from_its_start_and_that_is_said(
    setup: Setup, anomalyd: Command
) -> None:
    result = results(setup)[HALF + 20]
    group = ("--set", "kafka.group_id=nobody")
    told = explained(anomalyd, setup, *group, "--source", result["sourceId"], "--offset", HALF + 20)
    assert told["recomputedFrom"] == 0
    assert "has no snapshot before it" in told["notes"][0]
    assert_told(told, result)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "pump-9", "--at", "2026-01-01T00:00:00Z"], "there is no point of source 'pump-9'"),
        (["--source", "pump-0", "--offset", str(2 * HALF)], "has the offsets 0 to"),
        (["--source", "pump-0", "--offset", str(HALF + 1)], "is of source 'pump-1'"),
        (["--source", "pump-0", "--offset", "1", "--partition", "7"], "has 1 partitions"),
    ],
)
def test_what_is_not_there_is_said(setup: Setup, anomalyd: Command, arguments: list[str], said: str) -> None:
    assert said in anomalyd("explain", *setup.flags, *arguments).err
