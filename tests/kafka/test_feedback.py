"""`anomalyd feedback` against a running service: said, applied, audited."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from service.commands.audit import recomputing
from service.stream.auditing.audit import Scope, audit
from service.stream.auditing.findings import Report
from service.wire.anomaly import Anomaly
from service.wire.partitioning import partition_of
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import Setup, headers, make_topics, noisy_points, produce, published, running

pytestmark = pytest.mark.kafka


def feedback(setup: Setup, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", "feedback", *arguments, *setup.flags],
        capture_output=True,
        text=True,
        timeout=120,
    )


def a_point(source: int, i: int, off: float) -> tuple[str, bytes]:
    """Key and body of one point of a calm source, or of one that is off."""
    body = {
        "sourceId": f"pump-{source}",
        "timestamp": 1_767_225_600_000 + i * 1000,
        "values": {"pressure": 10.0 + 0.1 * (i * 7919 % 13) + off},
    }
    return f"pump-{source}", json.dumps(body).encode()


def audited(setup: Setup) -> Report:
    """What the audit finds, results computed once more."""
    settings = setup.settings
    until_now = Scope(until="now")
    return audit(settings.kafka, settings.topics, settings.publish, until_now, recomputing(settings))


def test_what_is_said_is_applied_at_its_place_answered_and_audited(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix, partitions=4)
    make_topics(setup.settings)
    points = [a_point(source, i, 50.0 * (i > 297 and source == 1)) for i in range(300) for source in range(3)]
    produce(setup.settings, points)
    with running(setup) as service:
        service.wait_until_done(len(points))
        opened = [Anomaly.parse(m.value() or b"") for m in published(setup.settings, "anomalies")]
        (ours,) = [a for a in opened if (a.source_id, a.incident) == ("pump-1", "opened")][-1:]
        told = feedback(setup, "pump-1", "false_alarm", "--anomaly", ours.id, "--by", "jo", "--note", "ünö")
        again = feedback(setup, "pump-1", "confirmed")
        wrong = feedback(setup, "pump-2", "false-alarm", "--anomaly", ours.id)
        unknown = feedback(setup, "pump-77", "new-normal")
        unheard = feedback(setup, "pump-2", "expected", "--until", "2026-01-02T00:00:00Z", "--no-wait")
        service.wait_until_done(len(points) + 5)
        assert service.metric("anomalyd_points_total", status="applied") == 3
        assert service.metric("anomalyd_points_total", status="rejected") == 2
    assert (told.returncode, told.stderr) == (0, "")
    assert f"incident {ours.incident_id}: resolved" in told.stdout
    assert "budgetFactor: 1.0 -> 0.5" in told.stdout
    assert (again.returncode, "budgetFactor: 0.5 -> 1.0" in again.stdout) == (0, True)
    assert wrong.returncode == unknown.returncode == 1
    assert "rejected: anomaly_of_another_" in wrong.stderr
    assert "rejected: unknown_source" in unknown.stderr
    assert unheard.returncode == 0
    said = [m for m in published(setup.settings, "data_points") if b'"control"' in (m.value() or b"")]
    assert all(m.partition() == partition_of((m.key() or b"").decode(), 4) for m in said)
    results = [json.loads(m.value() or b"") for m in published(setup.settings, "detection_results")]
    (applied,) = [r for r in results if r.get("feedback") == "false_alarm"]
    assert (applied["by"], applied["note"], applied["incident"]) == ("jo", "ünö", "resolved")
    closing = published(setup.settings, "anomalies")[-1]
    anomaly = Anomaly.parse(closing.value() or b"")
    assert (anomaly.incident, anomaly.incident_id) == ("resolved", ours.incident_id)
    assert anomaly.id.endswith(headers(closing)["x-in-offset"])
    report = audited(setup)
    assert report.clean, report.as_json()
    assert report.total("results") == len(points) + 5


def test_where_only_anomalies_are_published_feedback_is_answered_all_the_same(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix, "publish=anomalies")
    make_topics(setup.settings)
    points = noisy_points(50, 1)
    produce(setup.settings, points)
    with running(setup) as service:
        service.wait_until_done(len(points))
        assert feedback(setup, "pump-0", "confirmed").returncode == 0
    report = audited(setup)
    assert report.clean, report.as_json()


def test_without_a_service_the_wait_ends_and_says_that_the_word_stands(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix)
    make_topics(setup.settings)
    ran = feedback(setup, "pump-7", "confirmed", "--timeout", "1s")
    assert ran.returncode == 1
    assert "no answer within 1s" in ran.stderr
    assert len(published(setup.settings, "data_points")) == 1
