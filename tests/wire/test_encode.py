from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.wire.anomaly import Anomaly, Contribution, Expected
from service.wire.encode import anomaly_record, scored_result, unscored_result
from service.wire.timestamps import MAX_TIME_MS, format_rfc3339, parse_rfc3339

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(
        ['"', "\\", '\\"}', "</script>", "\u2028\u2029", "\x00\x1f\x7f", "pump 7 ü 水 🚰", "", "null"]
    ),
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
sent = st.one_of(st.just(math.nan), numbers, st.integers(-(10**18), 10**18).map(float))
computed = st.one_of(numbers, st.sampled_from([math.nan, math.inf, -math.inf]))
scores = st.floats(0, 1)
times = st.integers(0, MAX_TIME_MS)
labels = st.one_of(st.none(), st.dictionaries(texts, texts, max_size=4))
severities = st.sampled_from(["low", "medium", "high", "critical"])
changes = st.sampled_from([None, "opened", "updated", "resolved"])


def refuse(literal: str) -> None:
    raise AssertionError(f"{literal} is no JSON")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs), f"a name stands twice in {pairs}"
    return dict(pairs)


def read(body: bytes) -> dict[str, Any]:
    """The body as strict JSON: UTF-8, no NaN, no name twice."""
    document = json.loads(body.decode("utf-8"), parse_constant=refuse, object_pairs_hook=once)
    assert isinstance(document, dict)
    return document


def or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None


def rounded(number: float) -> object:
    return pytest.approx(number, rel=5e-6, abs=0.0) if math.isfinite(number) else None


@given(texts, times, texts, st.one_of(st.none(), texts), labels, st.one_of(st.none(), texts))
def test_a_result_without_a_score_says_why(
    source_id: str,
    time_ms: int,
    status: str,
    reason: str | None,
    labels: dict[str, str] | None,
    point_id: str | None,
) -> None:
    document = read(unscored_result(source_id, time_ms, "skipped", reason, labels, point_id))
    expected: dict[str, Any] = {
        "sourceId": source_id,
        "timestamp": format_rfc3339(time_ms),
        "status": "skipped",
    }
    if reason:
        expected["reason"] = reason
    if labels:
        expected["labels"] = labels
    if point_id is not None:
        expected["id"] = point_id
    assert document == expected
    assert parse_rfc3339(document["timestamp"]) == time_ms


@given(
    st.tuples(texts, times, scores, st.booleans(), severities, changes),
    st.dictionaries(texts, st.tuples(sent, computed, computed), max_size=4),
    st.lists(st.one_of(scores, st.just(math.nan)), min_size=2, max_size=2),
    st.one_of(st.none(), texts.filter(bool)),
    labels,
    st.one_of(st.none(), texts),
)
def test_a_scored_result_reads_back_as_it_was_given(
    head: tuple[str, int, float, bool, str, str | None],
    values: dict[str, tuple[float, float, float]],
    detectors: list[float],
    explanation: str | None,
    labels: dict[str, str] | None,
    point_id: str | None,
) -> None:
    source_id, time_ms, score, is_anomaly, severity, incident = head
    document = read(
        scored_result(
            source_id,
            time_ms,
            score,
            is_anomaly,
            severity,
            incident,
            [(name, value, shown) for name, (value, *shown) in values.items()],
            ["mean", "z_score"],
            zip(["zscore", "ewma"], detectors, strict=True),
            explanation,
            labels,
            point_id,
        )
    )
    assert (document["sourceId"], document["status"], document["isAnomaly"]) == (
        source_id,
        "scored",
        is_anomaly,
    )
    assert document["timestamp"] == format_rfc3339(time_ms)
    assert document["score"] == rounded(score)
    assert (document["severity"], document.get("incident")) == (severity, incident)
    assert document["features"].keys() == values.keys()
    for name, (value, mean, z_score) in values.items():
        assert document["features"][name] == {
            "value": or_none(value),
            "mean": rounded(mean),
            "z_score": rounded(z_score),
        }
    assert document["detectors"] == {
        name: rounded(number) for name, number in zip(["zscore", "ewma"], detectors, strict=True)
    }
    assert document.get("explanation") == explanation
    assert document.get("labels") == (labels or None)
    assert document.get("id") == point_id


def shown_value(value: float) -> Any:
    body = scored_result("a", 0, 0.0, False, "low", None, [("v", value, [])], [], [], None)
    return read(body)["features"]["v"]["value"]


@given(numbers)
def test_a_number_that_was_sent_reads_back_exactly(value: float) -> None:
    again = float(shown_value(value))
    assert again == value
    assert math.copysign(1.0, again) == math.copysign(1.0, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (-17.0, "-17"),
        (0.0, "0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (2.13, "2.13"),
        (1e15, "1000000000000000.0"),
        (1e22, "1e+22"),
        (5e-324, "5e-324"),
        (math.nan, "null"),
    ],
)
def test_a_number_that_was_sent_is_written_shortly(value: float, text: str) -> None:
    body = scored_result("a", 0, 0.0, False, "low", None, [("v", value, [])], [], [], None)
    assert f'"v":{{"value":{text}}}'.encode() in body


@given(
    st.tuples(texts, texts, changes, texts, times, times, scores, severities, texts),
    st.dictionaries(texts, sent, min_size=1, max_size=4),
    st.tuples(computed, computed, computed),
    scores,
    labels,
)
def test_an_anomaly_record_is_what_its_readers_parse(
    head: tuple[str, str, str | None, str, int, int, float, str, str],
    values: dict[str, float],
    expected: tuple[float, float, float],
    share: float,
    labels: dict[str, str] | None,
) -> None:
    anomaly_id, incident_id, incident, source_id, time_ms, detected_ms, score, severity, explanation = head
    body = anomaly_record(
        anomaly_id,
        incident_id,
        incident,
        source_id,
        time_ms,
        detected_ms,
        score,
        severity,
        values.items(),
        [(name, *expected) for name in values],
        [(name, "zscore", share) for name in values],
        explanation,
        labels,
        "0123456789ab",
    )
    read(body)
    anomaly = Anomaly.parse(body)
    assert (anomaly.id, anomaly.incident_id, anomaly.incident) == (anomaly_id, incident_id, incident)
    assert (anomaly.source_id, anomaly.severity) == (source_id, severity)
    assert (parse_rfc3339(anomaly.timestamp), parse_rfc3339(anomaly.detected_at)) == (time_ms, detected_ms)
    assert anomaly.score == rounded(score)
    assert anomaly.values == {name: or_none(value) for name, value in values.items()}
    lower, typical, upper = (None if math.isnan(n) or math.isinf(n) else float(f"{n:.6g}") for n in expected)
    assert anomaly.expected == {name: Expected(lower=lower, typical=typical, upper=upper) for name in values}
    assert anomaly.contributions == [
        Contribution(value=name, detector="zscore", share=float(f"{share:.6g}")) for name in values
    ]
    assert anomaly.explanation == explanation
    assert anomaly.labels == (labels or {})
    assert anomaly.model_version == "0123456789ab"


def test_the_same_values_give_the_same_bytes() -> None:
    def body() -> bytes:
        return scored_result(
            "a", 1, 0.5, True, "low", "opened", [("v", 1.5, [2.0])], ["mean"], [("d", 0.1)], "why"
        )

    assert body() == body()
    assert body() == (
        b'{"sourceId":"a","timestamp":"1970-01-01T00:00:00.001Z","status":"scored","score":0.5,"isAnomaly":true,'
        b'"severity":"low","incident":"opened","features":{"v":{"value":1.5,"mean":2}},"detectors":{"d":0.1},'
        b'"explanation":"why"}'
    )
