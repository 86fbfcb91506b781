from __future__ import annotations

import re
from typing import Any

import pytest
from rich.console import Console

from service.demo import show
from service.demo.fleet import STEP_MS, Fault, Fleet
from service.demo.verdict import Verdict, judge
from service.wire.anomaly import Anomaly
from service.wire.timestamps import format_rfc3339
from tests.alerting.anomalies import anomaly

FIRST_MS = 1_767_225_600_000
FLEET = Fleet(12, 2000, 1)
HEALTHY = next(s for s in FLEET.source_ids if s not in {fault.source_id for fault in FLEET.faults})


def told(source_id: str, point: int, incident: str = "opened", **members: Any) -> Anomaly:
    timestamp = format_rfc3339(FIRST_MS + point * STEP_MS)
    return anomaly(
        f"data-points-0-{source_id}-{point}",
        sourceId=source_id,
        timestamp=timestamp,
        incident=incident,
        **members,
    )


def verdict_of(*anomalies: Anomaly) -> Verdict:
    return judge(FLEET, FIRST_MS, anomalies)


def hit(fault: Fault, after: int = 0) -> Anomaly:
    return told(fault.source_id, fault.start + after)


def test_with_no_anomaly_everything_is_missed_and_nothing_false() -> None:
    verdict = verdict_of()
    assert (verdict.found, verdict.false_alarms) == (0, ())
    assert [found.fault for found in verdict.faults] == list(FLEET.faults)
    assert all(found.anomaly is None and found.after_points is None for found in verdict.faults)


def test_every_fault_with_an_incident_is_found() -> None:
    verdict = verdict_of(*(hit(fault, 1) for fault in FLEET.faults))
    assert (verdict.found, verdict.false_alarms) == (10, ())
    assert all(found.after_points == 1 for found in verdict.faults)


@pytest.mark.parametrize(
    ("after", "found"), [(-1, 0), (0, 1), (FLEET.faults[0].points + 9, 1), (FLEET.faults[0].points + 10, 0)]
)
def test_an_incident_outside_the_fault_and_its_grace_is_a_false_alarm(after: int, found: int) -> None:
    verdict = verdict_of(hit(FLEET.faults[0], after))
    assert (verdict.found, len(verdict.false_alarms)) == (found, 1 - found)


def test_the_first_of_several_incidents_counts_and_none_of_them_is_false() -> None:
    fault = max(FLEET.faults, key=lambda fault: fault.points)
    verdict = verdict_of(hit(fault, 9), hit(fault, 2), hit(fault, 5))
    assert (verdict.found, verdict.false_alarms) == (1, ())
    assert [found.after_points for found in verdict.faults if found.anomaly] == [2]


def test_an_incident_on_a_healthy_source_is_false_and_finds_nothing() -> None:
    verdict = verdict_of(told(HEALTHY, FLEET.faults[0].start))
    assert (verdict.found, len(verdict.false_alarms)) == (0, 1)


def test_updates_resolutions_and_this_machine_do_not_count() -> None:
    fault = FLEET.faults[0]
    verdict = verdict_of(
        told(fault.source_id, fault.start, "updated"),
        told(HEALTHY, 5, "resolved"),
        told("this-machine", 5),
    )
    assert (verdict.found, verdict.false_alarms) == (0, ())


def test_the_verdict_is_shown_with_what_was_missed_and_what_was_false() -> None:
    console = Console(record=True, width=160, file=None, quiet=False)
    anomalies = [hit(fault) for fault in FLEET.faults[1:]] + [told(HEALTHY, 7, explanation="why it rang")]
    with console.capture() as captured:
        show.verdict(
            console, verdict_of(*anomalies), sources=12, points=24_000, machine_points=7, seconds=15.4
        )
    text = captured.get()
    assert len(re.findall("✓", text)) == 9
    assert re.search(rf"✗ +{FLEET.faults[0].kind} +{FLEET.faults[0].source_id} .*missed", text)
    assert f"false alarm: {HEALTHY} at 2026-01-01T00:01:10Z: why it rang" in text
    assert "Found 9 of 10 planted faults, 1 false alarm on 12 simulated sources" in text
    assert "24,000 points in 15 s" in text


def test_what_an_explanation_says_is_not_read_as_markup() -> None:
    console = Console(width=160)
    with console.capture() as captured:
        show.verdict(
            console,
            verdict_of(told(HEALTHY, 7, explanation="[red]a[/] value[0] :key:")),
            sources=1,
            points=1,
            machine_points=0,
            seconds=1,
        )
    assert "[red]a[/] value[0] :key:" in captured.get()
