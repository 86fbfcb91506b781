from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.wire.batch import PointBatch, escaped
from service.wire.data_point import DataPoint, Written
from service.wire.results import ResultWriter, Scores, Verdict
from service.wire.timestamps import MAX_TIME_MS, format_rfc3339
from tests.wire.published import read, rounded, texts

numbers = st.floats(allow_nan=False, allow_infinity=False)
sent = st.one_of(st.just(math.nan), numbers, st.integers(-(10**18), 10**18).map(float))
computed = st.one_of(numbers, st.sampled_from([math.nan, math.inf, -math.inf]))
SEVERITIES = ("low", "medium", "high", "critical")
CHANGES = ("", "opened", "updated", "resolved")
WRITER = ResultWriter(SEVERITIES, CHANGES, {"mean": (2, True), "z_score": (0, False)}, ["zscore", "ewma"])

points = st.builds(
    lambda source, time_ms, values, labels, point_id: DataPoint(
        source, time_ms, tuple(values), tuple(values.values()), labels or None, point_id or None
    ),
    texts,
    st.integers(0, MAX_TIME_MS),
    st.dictionaries(texts, sent, min_size=1, max_size=4),
    st.dictionaries(texts, texts, max_size=3),
    texts,
)
a_score = st.tuples(
    st.floats(0, 1),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 3),
    st.tuples(computed, computed),
    texts,
    st.booleans(),
    st.sampled_from([0, 51, 500]),
)


def scores_of(batch: PointBatch, verdicts: Sequence[Verdict], drawn: Sequence[Any], seed: int) -> Scores:
    """Columns with what was drawn for each point; feature rows come from the seed."""
    n = len(batch.points)
    counts = batch.points["stop_value"] - batch.points["first_value"]
    told_text = bytearray()
    told = np.zeros((n, 2), np.int64)
    for j, (*_, why, _, _) in enumerate(drawn):
        told[j, 0] = len(told_text)
        told_text += escaped(why).encode()
        told[j, 1] = len(told_text)
    return Scores(
        verdict=np.array(verdicts, np.uint8),
        row=np.arange(n),
        score=np.array([d[0] for d in drawn]),
        anomalous=np.array([d[1] for d in drawn], np.bool_),
        severity=np.array([d[2] for d in drawn], np.uint8),
        incident=np.array([d[3] for d in drawn], np.uint8),
        held=np.array([d[6] for d in drawn], np.bool_),
        accepted=np.array([d[7] for d in drawn], np.int64),
        known=np.random.default_rng(seed).integers(0, 2000, size=n).astype(np.float64),
        detectors=np.array([d[4] for d in drawn]).reshape(n, 2),
        first_feature=np.concatenate([[0], np.cumsum(counts)]),
        features=np.random.default_rng(seed).normal(size=(int(counts.sum()), 3)) * 10.0 ** (seed % 9 - 4),
        told=told,
        told_text=np.frombuffer(told_text, np.uint8),
    )


def written(batch: PointBatch, scores: Scores) -> list[dict[str, Any]]:
    body, stops = WRITER.write(batch, 0, scores)
    ends = stops.tolist()
    return [read(body[a:b].tobytes()) for a, b in zip([0, *ends], ends, strict=False)]


@given(st.lists(st.tuples(points, st.sampled_from(Verdict), a_score), max_size=6), st.integers(0, 99))
def test_results_read_back_as_they_were_given(
    rows: list[tuple[DataPoint, Verdict, tuple[Any, ...]]], seed: int
) -> None:
    batch = PointBatch.of([point for point, _, _ in rows])
    scores = scores_of(batch, [verdict for _, verdict, _ in rows], [drawn for *_, drawn in rows], seed)
    for (point, verdict, drawn), result, first, known in zip(
        rows, written(batch, scores), scores.first_feature, scores.known.tolist(), strict=False
    ):
        assert (result["sourceId"], result["timestamp"]) == (point.source_id, format_rfc3339(point.time_ms))
        assert result.get("labels") == point.labels
        assert result.get("id") == point.id
        if verdict is not Verdict.SCORED:
            assert result.keys() <= {"sourceId", "timestamp", "status", "reason", "labels", "id"}
            assert result["status"] in ("skipped", "late", "duplicate")
            assert (result["status"] == "skipped") == ("reason" in result)
            continue
        score, anomalous, severity, incident, detectors, why, held, accepted = drawn
        assert (result["status"], result["isAnomaly"]) == ("scored", anomalous)
        assert result["score"] == rounded(score)
        assert result["severity"] == SEVERITIES[severity]
        assert result.get("incident", "") == CHANGES[incident]
        assert result.get("confidence", 0.9) == pytest.approx(min(known / (known + 100.0), 0.9), abs=1e-3)
        assert ("confidence" in result) == (known < 900.0)
        assert result["detectors"] == {
            name: rounded(x, 4) for name, x in zip(["zscore", "ewma"], detectors, strict=True)
        }
        assert result.get("explanation", "") == why
        assert result.get("heldBy") == ("expected" if held else None)
        assert result.get("newNormalAfter", 0) == accepted
        assert list(result["features"]) == list(point.names)
        for i, (name, value) in enumerate(zip(point.names, point.values, strict=True)):
            z_score, _, mean = scores.features[first + i]
            shown = result["features"][name]
            assert shown["value"] == (value if math.isfinite(value) else None)
            assert shown == {"value": shown["value"], "mean": rounded(mean), "z_score": rounded(z_score, 4)}


def one_value(value: float) -> str:
    batch = PointBatch.of([DataPoint("a", 0, ("v",), (value,))])
    scores = scores_of(batch, [Verdict.SCORED], [(0.0, False, 0, 0, (0.0, 0.0), "", False, 0)], 1)
    body, _ = WRITER.write(batch, 0, scores)
    return body.tobytes().decode().split('"value":')[1].split(",")[0]


@given(numbers)
def test_a_number_that_was_sent_reads_back_exactly(value: float) -> None:
    again = float(one_value(value))
    assert again == value
    assert math.copysign(1.0, again) == math.copysign(1.0, value)


@pytest.mark.parametrize("text", ["3", "3.0", "1.50", "-0", "1E5", "2.13e+02", "1e-400"])
def test_a_number_stands_as_it_was_written(text: str) -> None:
    assert one_value(Written(text, float(text))) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (-17.0, "-17"),
        (0.0, "0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e22, "1e+22"),
        (math.nan, "null"),
    ],
)
def test_a_number_without_a_spelling_of_its_own_is_written_shortly(value: float, text: str) -> None:
    assert one_value(value) == text


def test_the_members_stand_in_the_order_of_the_contract() -> None:
    point = DataPoint("a", 1, ("v", "w"), (1.5, math.nan), {"site": "north"}, "x-1")
    batch = PointBatch.of([point])
    scores = scores_of(batch, [Verdict.SCORED], [(0.5, True, 0, 1, (0.1, math.nan), "why", True, 51)], 1)
    scores.features[:] = [[0.25, 7.0, 2.0], [math.nan, 7.0, 3.0]]
    assert WRITER.write(batch, 0, scores)[0].tobytes() == (
        b'{"sourceId":"a","timestamp":"1970-01-01T00:00:00.001Z","status":"scored","score":0.5,"isAnomaly":true,'
        b'"severity":"low","incident":"opened","heldBy":"expected","newNormalAfter":51,"features":{"v":{"value":1.5,"mean":2,"z_score":0.25},'
        b'"w":{"value":null,"mean":3,"z_score":null}},"detectors":{"zscore":0.1,"ewma":null},'
        b'"explanation":"why","labels":{"site":"north"},"id":"x-1"}'
    )


def test_unscored_points_say_why() -> None:
    batch = PointBatch.of([DataPoint("a", 0, ("v",), (1.0,))] * len(Verdict))
    scores = scores_of(batch, list(Verdict), [(0.0, False, 0, 0, (0.0, 0.0), "", False, 0)] * len(Verdict), 1)
    said = [(result["status"], result.get("reason")) for result in written(batch, scores)]
    assert said == [
        ("scored", None),
        ("late", None),
        ("duplicate", None),
        ("skipped", "too_many_value_names"),
        ("skipped", "no_values"),
        ("skipped", "insufficient_history"),
        ("skipped", "detectors_not_trained"),
    ]


def test_a_point_with_the_most_that_an_input_may_hold_is_written() -> None:
    names = tuple(f"{i:04d}" + "\U0001f600" * 124 for i in range(1024))
    labels = {f"{i}" + "ü" * 126: "\\" * 1024 for i in range(64)}
    point = DataPoint("水" * 256, 0, names, tuple(-1.234567e-300 for _ in names), labels, '"' * 256)
    batch = PointBatch.of([point])
    scores = scores_of(
        batch, [Verdict.SCORED], [(1e-9, True, 3, 2, (-1e-300, 1e-300), "\\" * 500, True, 500)], 1
    )
    scores.features[:] = -1.23456e-300
    [result] = written(batch, scores)
    assert (result["sourceId"], result["labels"], result["id"]) == (point.source_id, labels, point.id)
    assert json.dumps(result["features"])
