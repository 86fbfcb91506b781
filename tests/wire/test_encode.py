from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.wire.anomaly import Anomaly, Contribution, Expected, OncePer
from service.wire.batch import written
from service.wire.encode import AnomalyRecord, anomaly_records, instruction_result
from service.wire.timestamps import MAX_TIME_MS, format_rfc3339, parse_rfc3339
from tests.wire.published import read, rounded, texts

numbers = st.floats(allow_nan=False, allow_infinity=False)
sent = st.one_of(st.just(math.nan), numbers, st.integers(-(10**18), 10**18).map(float))
computed = st.one_of(numbers, st.sampled_from([math.nan, math.inf, -math.inf]))
scores = st.floats(0, 1)
times = st.integers(0, MAX_TIME_MS)
labels = st.one_of(st.none(), st.dictionaries(texts, texts, max_size=4))
severities = st.sampled_from(["low", "medium", "high", "critical"])
changes = st.sampled_from([None, "opened", "updated", "resolved"])


def or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None


@given(texts, times, st.one_of(st.none(), texts))
def test_the_result_of_an_instruction_says_what_was_done(
    source_id: str, time_ms: int, reason: str | None
) -> None:
    expected = {"sourceId": source_id, "timestamp": format_rfc3339(time_ms), "status": "forgotten"}
    if reason:
        expected["reason"] = reason
    assert read(instruction_result(source_id, time_ms, "forgotten", reason)) == expected


def published(*members: Any, **more: Any) -> bytes:
    (body,) = anomaly_records([AnomalyRecord(*members, **more)])
    return body


@given(
    st.tuples(texts, texts, changes, texts, times, times, scores, severities, texts),
    st.dictionaries(texts, sent, min_size=1, max_size=4),
    st.tuples(computed, computed, computed),
    scores,
    labels,
    st.none() | st.floats(0, 1e15),
)
def test_an_anomaly_record_is_what_its_readers_parse(
    head: tuple[str, str, str | None, str, int, int, float, str, str],
    values: dict[str, float],
    expected: tuple[float, float, float],
    share: float,
    labels: dict[str, str] | None,
    seconds: float | None,
) -> None:
    anomaly_id, incident_id, incident, source_id, time_ms, detected_ms, score, severity, explanation = head
    body = published(
        anomaly_id,
        incident_id if incident else None,
        incident,
        source_id,
        time_ms,
        detected_ms,
        score,
        severity,
        explanation,
        "0123456789ab",
        [(name, written(value)) for name, value in values.items()],
        [(name, *expected) for name in values],
        (1000.0, seconds, 17) if incident else None,
        [(name, "zscore", share) for name in values],
        labels or {},
    )
    read(body)
    anomaly = Anomaly.parse(body)
    assert (anomaly.id, anomaly.incident) == (anomaly_id, incident)
    assert anomaly.incident_id == (incident_id if incident else None)
    assert anomaly.of_no_incident == (incident is None)
    assert (anomaly.source_id, anomaly.severity) == (source_id, severity)
    assert (parse_rfc3339(anomaly.timestamp), parse_rfc3339(anomaly.detected_at)) == (time_ms, detected_ms)
    assert anomaly.score == rounded(score)
    assert anomaly.values == {name: or_none(value) for name, value in values.items()}
    lower, typical, upper = (None if math.isnan(n) or math.isinf(n) else float(f"{n:.6g}") for n in expected)
    assert anomaly.expected == {name: Expected(lower=lower, typical=typical, upper=upper) for name in values}
    span = None if seconds is None else float(f"{seconds:.6g}")
    once_per = OncePer(points=1000.0, seconds=span, seen=17) if incident else None
    assert anomaly.once_per == once_per
    assert anomaly.contributions == [
        Contribution(value=name, detector="zscore", share=float(f"{share:.6g}")) for name in values
    ]
    assert anomaly.explanation == explanation
    assert anomaly.labels == (labels or {})
    assert anomaly.model_version == "0123456789ab"


def test_every_member_of_an_anomaly_record_has_its_own_number_and_its_place() -> None:
    body = published(
        "points-3-17",
        "points-3-15",
        "resolved",
        'pump "7"',
        1_767_225_600_500,
        1_767_225_601_000,
        0.912345678,
        "high",
        "Quiet at 7 µm",
        "0123456789ab",
        [("flow", "1.50"), ("heat", "")],
        [("flow", 1.0, 2.0, 3.0), ("heat", 4.0, math.nan, 6.0)],
        (1234.5, None, 17),
        [("flow", "zscore", 0.75), ("heat", "deviation", 0.25)],
        {"site": "Köln"},
        confidence=0.5,
        new_normal=(48, [("flow", 1.25, 2.5), ("heat", 8.0, 9.0)]),
    )
    assert body.decode() == (
        '{"id":"points-3-17","incidentId":"points-3-15","incident":"resolved","sourceId":"pump \\"7\\"",'
        '"timestamp":"2026-01-01T00:00:00.500Z","detectedAt":"2026-01-01T00:00:01Z",'
        '"score":0.912346,"severity":"high","confidence":0.5,'
        '"newNormal":{"afterPoints":48,"levels":{"flow":{"before":1.25,"now":2.5},"heat":{"before":8,"now":9}}},'
        '"values":{"flow":1.50,"heat":null},'
        '"expected":{"flow":{"lower":1,"typical":2,"upper":3},"heat":{"lower":4,"typical":null,"upper":6}},'
        '"oncePer":{"points":1234.5,"seconds":null,"seen":17},'
        '"contributions":[{"value":"flow","detector":"zscore","share":0.75},'
        '{"value":"heat","detector":"deviation","share":0.25}],'
        '"explanation":"Quiet at 7 µm","labels":{"site":"Köln"},"modelVersion":"0123456789ab"}'
    )
