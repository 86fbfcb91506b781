"""Rules, incidents and deduplication together: what a channel is told, and what it remembers."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.alerting.decision import Reason, detected_at_s
from service.alerting.deduplication import Deduplication
from service.alerting.deliveries import Delivery, Outcome
from service.alerting.incidents import Incidents
from service.alerting.policy import ChannelPolicy
from service.wire.anomaly import Anomaly
from tests.alerting.anomalies import START_S, anomaly, record

SENT, TWICE, UPDATE, OVER, NONE = (
    Reason.SEND,
    Reason.DUPLICATE,
    Reason.INCIDENT_UPDATE,
    Reason.INCIDENT_RESOLVED,
    Reason.NO_INCIDENT,
)


def policy(**options: Any) -> ChannelPolicy:
    return ChannelPolicy("ops", [], **options)


def take(policy: ChannelPolicy, item: Anomaly) -> Reason:
    now = detected_at_s(item)
    reason = policy.decide(item, now)
    if reason is Reason.SEND:
        policy.admit(item, now)
    else:
        policy.note_suppressed(item)
    return reason


def decisions(*items: Anomaly, **options: Any) -> list[Reason]:
    ours = policy(**options)
    return [take(ours, item) for item in items]


def of(
    alert_id: str, at: float, incident: str | None = "opened", severity: str = "high", *, of: str = ""
) -> Anomaly:
    members = record(alert_id, at=START_S + at, severity=severity, incidentId=of or alert_id)
    if incident is None:
        del members["incident"]  # another producer's, which does not know of incidents
    else:
        members["incident"] = incident
    return Anomaly.model_validate(members)


def test_the_same_source_and_severity_is_told_once_a_window() -> None:
    assert decisions(of("a", 0), of("b", 299.999), of("c", 300), of("d", 301)) == [SENT, TWICE, SENT, TWICE]


def test_a_suppressed_one_does_not_lengthen_the_window() -> None:
    assert decisions(of("a", 0), of("b", 200), of("c", 350)) == [SENT, TWICE, SENT]


def test_the_window_counts_each_severity_and_source_on_its_own() -> None:
    other = anomaly("c", at=START_S, sourceId="pump-8", severity="high")
    assert decisions(of("a", 0), of("b", 1, severity="critical"), other) == [SENT, SENT, SENT]


def test_a_window_of_zero_switches_deduplication_off() -> None:
    assert decisions(of("a", 0), of("b", 0), window_s=0.0) == [SENT, SENT]


def test_a_window_longer_than_a_day_counts_whole_days() -> None:
    assert decisions(of("a", 0), of("b", 86_410), window_s=100_000.0) == [SENT, TWICE]


def test_an_update_is_told_only_when_it_got_worse() -> None:
    assert decisions(
        of("a", 0),
        of("b", 400, "updated", of="a"),
        of("c", 800, "updated", "critical", of="a"),
        of("d", 1_200, "updated", "high", of="a"),
        of("e", 1_600, "updated", "critical", of="a"),
    ) == [SENT, UPDATE, SENT, UPDATE, UPDATE]


def test_a_point_of_an_incident_that_people_know_is_not_told() -> None:
    assert decisions(of("a", 0), of("b", 400, None, of="a")) == [SENT, UPDATE]


def test_a_record_that_says_nothing_of_incidents_alerts() -> None:
    assert decisions(of("a", 0, None)) == [SENT]


def test_a_point_of_no_incident_is_not_told_and_leaves_no_trace() -> None:
    alone = anomaly("a", at=START_S, incident=None, incidentId=None, severity="high")
    assert decisions(alone, of("b", 1), alone) == [NONE, SENT, NONE]


def test_an_incident_that_outlasts_the_window_of_the_one_before_is_told_after_all() -> None:
    assert decisions(
        of("a", 0),
        of("b", 100, "resolved", of="a"),
        of("c", 200),
        of("d", 250, "updated", of="c"),
        of("e", 310, "updated", of="c"),
    ) == [SENT, OVER, TWICE, TWICE, SENT]


def test_an_end_is_told_only_where_wanted_and_only_to_those_who_know_the_beginning() -> None:
    told = [of("a", 0), of("b", 10, "resolved", of="a")]
    untold = [of("c", 20), of("d", 30, "resolved", of="c")]
    assert decisions(*told, *untold) == [SENT, OVER, TWICE, OVER]
    assert decisions(*told, *untold, send_resolved=True) == [SENT, SENT, TWICE, OVER]


def test_a_given_up_alert_leaves_room_for_a_later_one_of_its_incident() -> None:
    ours = policy()
    take(ours, of("a", 0))
    ours.note_dead("a")
    assert take(ours, of("b", 10, "updated", of="a")) is TWICE
    assert take(ours, of("c", 310, "updated", of="a")) is SENT


def test_a_withdrawn_alert_is_decided_anew() -> None:
    ours = policy()
    first = of("a", 0)
    take(ours, first)
    ours.withdraw(first, START_S)
    assert take(ours, first) is SENT


def test_a_younger_alert_says_nothing_about_an_older_one() -> None:
    assert decisions(of("b", 310), of("a", 0)) == [SENT, SENT]


changes = st.sampled_from(["opened", "updated", "resolved", None])
steps = st.lists(
    st.tuples(
        st.floats(0, 200),
        changes,
        st.sampled_from(["low", "medium", "high", "critical"]),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    max_size=40,
)


@given(steps=steps, cut=st.integers(0, 40), send_resolved=st.booleans())
def test_a_policy_rebuilt_from_deliveries_decides_as_one_that_never_stopped(
    steps: list[tuple[float, str | None, str, int, int]], cut: int, send_resolved: bool
) -> None:
    at, items = START_S, []
    for number, (pause, incident, severity, source, which) in enumerate(steps):
        at += pause
        incident_id = f"{source}-{which}" if incident else None
        members = {"incident": incident, "severity": severity, "incidentId": incident_id}
        items.append(anomaly(f"a{number}", at=at, sourceId=f"s{source}", **members))
    through = policy(send_resolved=send_resolved)
    expected = [take(through, item) for item in items]

    before = policy(send_resolved=send_resolved)
    log = [(item, take(before, item)) for item in items[:cut]]
    after = policy(send_resolved=send_resolved)
    for item, reason in log:
        outcome: Outcome = "sent" if reason is Reason.SEND else "suppressed"
        body = Delivery.of("ops", item, outcome, reason, 1, at).encode()
        after.restore(Delivery.decode(body))
    assert [take(after, item) for item in items[cut:]] == expected[cut:]


def test_memory_stays_bounded() -> None:
    deduplication, incidents = Deduplication(300.0, capacity=100), Incidents(capacity=100)
    for number in range(1_000):
        deduplication.note(f"s{number}", "high", START_S)
        incidents.note_told(f"i{number}", "high")
    assert len(deduplication) <= 100
    assert len(incidents) <= 100
    deduplication.note("s", "high", START_S + 301)
    assert len(deduplication) == 1


def absent(alert_id: str, at: float, incident: str = "opened", *, of: str = "") -> Anomaly:
    members = record(alert_id, at=START_S + at, severity="high", incidentId=of or alert_id)
    return Anomaly.model_validate({**members, "incident": incident, "kind": "absence", "labels": {}})


def test_a_source_that_falls_silent_soon_after_an_anomaly_is_told_of_all_the_same() -> None:
    assert decisions(of("a", 0), absent("b", 10), of("c", 20), absent("d", 30)) == [SENT, SENT, TWICE, TWICE]


def test_the_end_of_a_silence_is_told_to_who_asked_for_it() -> None:
    told = [absent("a", 0), absent("a-back", 60, "resolved", of="a")]
    assert decisions(*told) == [SENT, OVER]
    assert decisions(*told, send_resolved=True) == [SENT, SENT]


def test_after_a_restart_a_silence_that_was_told_is_no_anomaly_that_was_told() -> None:
    sent = absent("a", 0)
    delivery = Delivery.of("ops", sent, "sent", "send", 1, START_S)
    restarted = policy()
    restarted.restore(Delivery.decode(delivery.encode()))
    assert take(restarted, absent("b", 10)) is TWICE
    assert take(restarted, of("c", 10)) is SENT
