from __future__ import annotations

import json
import math
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.clock import ManualClock
from service.feedback import Kind
from service.history.frozen import Manifest, freeze
from service.outcomes import Outcome
from service.pipeline import DetectionConfig, DetectionPipeline, Record
from service.wire.anomaly import Anomaly
from service.wire.data_point import Control, DataPoint, Forget
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read
from tests.streams import MISSING, a_point, noise, series

ALL_DETECTORS = [
    {"type": "zscore", "weight": 2},
    {"type": "robust_z"},
    {"type": "ewma", "weight": 0.5},
    {"type": "difference"},
    {"type": "half_space_trees", "window_points": 200},
    {
        "type": "isolation_forest",
        "first_fit_points": 300,
        "refit_points": 800,
        "trees": 10,
        "max_samples": 64,
    },
    {"type": "autoencoder", "first_fit_points": 300, "refit_points": 800, "sample_points": 300, "epochs": 5},
]
SHORT = {"window_points": 32, "min_history_points": 10}

CONFIGS = {
    "default": DetectionConfig(),
    "everything": DetectionConfig.model_validate(
        {
            "ensemble": {"strategy": "majority_vote", "detectors": ALL_DETECTORS},
            "features": SHORT,
            "false_alarms": "20 per day",
            "threshold": 0.6,
            "resolve_after_points": 3,
            "max_sources": 4,
            "max_values_per_source": 3,
            "result_features": ["mad", "ewma", "difference_z"],
        }
    ),
    "max of a few": DetectionConfig.model_validate(
        {
            "ensemble": {"strategy": "max", "detectors": [{"type": "difference"}, {"type": "ewma"}]},
            "features": SHORT,
            "max_sources": 6,
            "threshold": 0.5,
        }
    ),
}
every_config = pytest.mark.parametrize("name", CONFIGS)
POINTS = 1500


def records_of(contents: list[DataPoint] | list[DataPoint | Control | Forget]) -> list[Record]:
    return [Record(content, 5000 + i, 1_700_000_000_000 + i) for i, content in enumerate(contents)]


def some_feedback(rng: np.random.Generator, i: int, time_s: float) -> dict[str, Any]:
    """A word on the source, now and then on an anomaly that may be another's or none."""
    kind = str(rng.choice(["false_alarm", "confirmed", "expected", "expected", "new_normal", "nonsense"]))
    word: dict[str, Any] = {"feedback": kind, "by": "jo"}
    if kind == "expected":
        word["until"] = int(1000 * (time_s + rng.choice([-600, 20_000])))
    if rng.random() < 0.3:
        word["anomalyId"] = f"data-points-0-{5000 + int(rng.integers(max(i, 1)))}"
    return word


@lru_cache(maxsize=1)
def stream() -> list[Record]:
    """Everything that can happen: faults, holes, new names, late points, repeats, tombstones."""
    rng = np.random.default_rng(1)
    contents: list[DataPoint | Control | Forget] = []
    clock = np.zeros(7)
    for i in range(POINTS):
        s = int(rng.choice(7, p=[0.3, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02]))
        clock[s] += 60
        time_s, source = float(clock[s]), f"pump-{s}"
        values = {"flow": float(rng.normal(10 * s, 1)), "pressure": float(rng.normal(0, 0.1))}
        if rng.random() < 0.02:
            values["flow"] += 30
        if rng.random() < 0.05:
            values["pressure"] = MISSING
        kind = rng.random()
        if kind < 0.03:
            values = {"pressure": values["pressure"]}
        elif kind < 0.06:
            values = dict(reversed(values.items()))
        elif kind < 0.09:
            values[f"new-{rng.integers(4)}"] = 1.0
        elif kind < 0.11:
            time_s -= 60 * int(rng.integers(1, 3))
        elif kind < 0.115:
            contents.append(Forget(source, int(time_s * 1000)))
            continue
        elif kind < 0.12:
            contents.append(Control(source, int(time_s * 1000), {"reload": True}))
            continue
        elif kind < 0.15:
            contents.append(Control(source, int(time_s * 1000), some_feedback(rng, i, time_s)))
            continue
        point_id = f"m{rng.integers(i - 5, i + 1)}" if rng.random() < 0.1 else None
        labels = {"site": "north"} if rng.random() < 0.1 else None
        contents.append(a_point(source, time_s, values, point_id, labels, timed=rng.random() < 0.9))
    return records_of(contents)


@lru_cache(maxsize=5)
def whole(name: str) -> tuple[list[Outcome], DetectionPipeline]:
    pipeline = DetectionPipeline(CONFIGS[name])
    return pipeline.process_batch(stream()), pipeline


WHERE_IDS_STAND = {"sources/rows", "sources/ids", "sources/counters"}
"""Ids move together when their room is full, and how much there is a restart forgets."""


def assert_same_state(one: DetectionPipeline, other: DetectionPipeline, but: Set[str] = frozenset()) -> None:
    states = one.state(), other.state()
    assert states[0].keys() == states[1].keys()
    for part in states[0].keys() - but:
        np.testing.assert_array_equal(states[1][part], states[0][part], part)


def result(outcome: Outcome) -> dict[str, Any]:
    read = json.loads(outcome.result)
    assert isinstance(read, dict)
    return read


# The same for any batches


@every_config
@settings(max_examples=6)
@given(cuts=st.lists(st.integers(0, POINTS), max_size=12))
def test_batches_of_any_size_give_the_same_bytes_and_the_same_state(name: str, cuts: list[int]) -> None:
    expected, one = whole(name)
    pipeline = DetectionPipeline(CONFIGS[name])
    edges = [0, *sorted(cuts), POINTS]
    outcomes = [outcome for a, b in pairwise(edges) for outcome in pipeline.process_batch(stream()[a:b])]
    assert outcomes == expected
    assert_same_state(pipeline, one)


@every_config
def test_points_one_by_one_give_the_same_bytes_and_the_same_state(name: str) -> None:
    expected, one = whole(name)
    pipeline = DetectionPipeline(CONFIGS[name])
    assert [pipeline.process_batch([record])[0] for record in stream()] == expected
    assert_same_state(pipeline, one)


@lru_cache(maxsize=1)
def bodies() -> list[bytes | None]:
    """The stream as bytes, some of them for the strict reader alone, some for nobody."""
    written: list[bytes | None] = []
    for i, record in enumerate(stream()):
        content = record.content
        if isinstance(content, Forget):
            written.append(None)
            continue
        document: dict[str, Any] = {"sourceId": content.source_id, "timestamp": content.time_ms}
        if isinstance(content, Control):
            document["control"] = content.control
        else:
            numbers = [None if math.isnan(x) else x for x in content.values]
            document["values"] = dict(zip(content.names, numbers, strict=True))
            document |= {} if content.timed else {"timestamp": None}
            document |= {"id": content.id, "labels": content.labels}
        body = json.dumps(document).encode()
        odd = {3: body.replace(b"pump", b"\\u0070ump"), 5: body[:-1] + b',"x":{"y":[1]}}', 7: body[:-9]}
        written.append(odd.get(i % 50, body))
    return written


def through_bytes(name: str, edges: list[int]) -> tuple[list[bytes], dict[int, bytes], DetectionPipeline]:
    """Results and anomaly records of the stream read and processed in these parts."""
    pipeline = DetectionPipeline(CONFIGS[name])
    results: list[bytes] = []
    anomalies: dict[int, bytes] = {}
    for a, b in pairwise(edges):
        keys = [record.content.source_id.encode() for record in stream()[a:b]]
        times = np.arange(a, b) + 1_700_000_000_000
        records = RecordBatch(bodies()[a:b], keys, {}, 5000 + np.arange(a, b), times)
        outcomes = pipeline.process_read(read(records, InputLimits()))
        results += outcomes.results
        anomalies |= {a + i: body for i, body in outcomes.anomalies.items()}
    return results, anomalies, pipeline


@lru_cache(maxsize=5)
def whole_through_bytes(name: str) -> tuple[list[bytes], dict[int, bytes], DetectionPipeline]:
    return through_bytes(name, [0, POINTS])


@every_config
@settings(max_examples=6)
@given(cuts=st.lists(st.integers(0, POINTS), max_size=12))
def test_records_read_in_any_parts_give_the_same_bytes_and_the_same_state(name: str, cuts: list[int]) -> None:
    results, anomalies, one = whole_through_bytes(name)
    again, again_anomalies, other = through_bytes(name, [0, *sorted(cuts), POINTS])
    assert again == results
    assert again_anomalies == anomalies
    assert_same_state(other, one)
    assert 0 < results.count(b"") < POINTS / 20  # those that were cut off
    assert anomalies


@every_config
@settings(max_examples=5)
@given(cuts=st.lists(st.integers(0, POINTS), min_size=1, max_size=3))
def test_a_pipeline_that_takes_up_the_state_of_another_goes_on_with_the_same_bytes(
    name: str, cuts: list[int]
) -> None:
    expected, one = whole(name)
    pipeline = DetectionPipeline(CONFIGS[name])
    outcomes: list[Outcome] = []
    for a, b in pairwise([0, *sorted(cuts), POINTS]):
        outcomes += pipeline.process_batch(stream()[a:b])
        frozen = freeze(pipeline.state(), 1000)
        state = Manifest.parse(frozen.manifest({})).thaw(enumerate(map(bytes, frozen.chunks)), 1000)
        pipeline = DetectionPipeline(CONFIGS[name])
        pipeline.restore(state)
    assert outcomes == expected
    assert_same_state(pipeline, one, WHERE_IDS_STAND)
    again = pipeline.state()
    assert again.keys() == state.keys()
    for part, array in state.items():
        np.testing.assert_array_equal(again[part], array, part)


def test_a_state_does_not_change_while_its_pipeline_goes_on() -> None:
    pipeline = DetectionPipeline(CONFIGS["everything"])
    pipeline.process_batch(stream()[:700])
    state = pipeline.state()
    before = {name: array.copy() for name, array in state.items()}
    pipeline.process_batch(stream()[700:])
    for name, array in state.items():
        np.testing.assert_array_equal(array, before[name], name)


def test_the_state_of_other_settings_is_refused() -> None:
    pipeline = DetectionPipeline(CONFIGS["default"])
    pipeline.process_batch(stream()[:700])
    with pytest.raises(ValueError, match="saved"):
        DetectionPipeline(CONFIGS["everything"]).restore(pipeline.state())


def test_models_fitted_beside_the_loop_give_the_same_bytes() -> None:
    with ThreadPoolExecutor(1) as threads:
        beside = DetectionPipeline(CONFIGS["everything"], executor=threads)
        outcomes = [
            o for i in range(0, len(stream()), 50) for o in beside.process_batch(stream()[i : i + 50])
        ]
    assert outcomes == whole("everything")[0]


def test_the_stream_of_these_tests_holds_everything_that_can_happen() -> None:
    outcomes, pipeline = whole("everything")
    statuses = {outcome.status for outcome in outcomes}
    assert statuses == {"scored", "skipped", "late", "duplicate", "forgotten", "rejected", "applied"}
    assert {outcome.incident for outcome in outcomes} == {None, "opened", "updated", "resolved"}
    reasons = {result(outcome).get("reason") for outcome in outcomes}
    assert {"insufficient_history", "too_many_value_names", "unsupported_control"} <= reasons
    assert {"unknown_feedback", "bad_until", "unknown_anomaly"} <= reasons
    answers = [result(o) for o in outcomes if o.status == "applied"]
    assert {answer["feedback"] for answer in answers} == {kind.value for kind in Kind}
    assert {answer.get("incident") for answer in answers} == {None, "resolved"}
    assert any(b'"heldBy":"expected"' in outcome.result for outcome in whole("max of a few")[0])
    assert pipeline.sources.evicted > 10
    assert all(detector.is_trained for detector in pipeline.ensemble.detectors)


@every_config
@pytest.mark.parametrize("length", [1, 400, 1100])
def test_what_comes_later_changes_nothing_before(name: str, length: int) -> None:
    pipeline = DetectionPipeline(CONFIGS[name])
    assert pipeline.process_batch(stream()[:length]) == whole(name)[0][:length]


@every_config
def test_every_record_gets_one_result_in_its_order(name: str) -> None:
    outcomes, _ = whole(name)
    assert len(outcomes) == POINTS
    for record, outcome in zip(stream(), outcomes, strict=True):
        read = result(outcome)
        assert read["sourceId"] == outcome.source_id == record.content.source_id
        assert read["status"] == outcome.status
        assert (outcome.anomaly is not None) == (outcome.incident is not None or outcome.is_anomaly)
        if isinstance(record.content, DataPoint):
            assert read.get("labels") == record.content.labels
            assert read.get("id") == record.content.id


@every_config
def test_sources_are_as_many_as_allowed(name: str) -> None:
    _, pipeline = whole(name)
    assert len(pipeline.sources) <= min(7, CONFIGS[name].max_sources)
    assert pipeline.sources.slots <= min(7, CONFIGS[name].max_sources)


# What is published


@every_config
def test_anomaly_records_belong_to_their_results(name: str) -> None:
    opened: dict[str, str] = {}
    for record, outcome in zip(stream(), whole(name)[0], strict=True):
        if outcome.anomaly is None:
            continue
        anomaly, read = Anomaly.parse(outcome.anomaly), result(outcome)
        if isinstance(record.content, Control):
            assert (anomaly.incident, read["incident"]) == ("resolved", "resolved")
            assert anomaly.incident_id == read["incidentId"] == opened[anomaly.source_id]
            continue
        assert isinstance(record.content, DataPoint)
        assert anomaly.id == f"data-points-0-{record.offset}"
        if anomaly.incident == "opened":
            opened[anomaly.source_id] = anomaly.id
        assert anomaly.incident_id == (opened[anomaly.source_id] if anomaly.incident else None)
        assert anomaly.incident == read.get("incident")
        assert anomaly.of_no_incident == (anomaly.incident is None)
        assert anomaly.confidence == read.get("confidence")
        assert (anomaly.new_normal and anomaly.new_normal.after_points) == read.get("newNormalAfter")
        for field in ("severity", "explanation", "score"):
            assert getattr(anomaly, field) == read[field]
        assert (anomaly.source_id, anomaly.timestamp) == (read["sourceId"], read["timestamp"])
        assert anomaly.detected_at.startswith("2023-11-14T22:13:")
        assert anomaly.values == {value: shown["value"] for value, shown in read["features"].items()}
        assert anomaly.labels == (record.content.labels or {})
        assert anomaly.model_version == CONFIGS[name].model_version()
        if anomaly.contributions:
            assert sum(c.share for c in anomaly.contributions) == pytest.approx(1.0, abs=1e-4)
        assert "nan" not in anomaly.explanation


def test_topic_and_partition_are_in_the_ids() -> None:
    pipeline = DetectionPipeline(CONFIGS["max of a few"], topic="plant.points", partition=3)
    outcomes = pipeline.process_batch(stream())
    [first] = [o.anomaly for o in outcomes if o.anomaly][:1]
    assert Anomaly.parse(first).id.startswith("plant.points-3-5")


def test_a_young_source_is_skipped_and_says_why() -> None:
    outcomes = DetectionPipeline().process_batch(records_of(series(np.random.default_rng(1).normal(size=35))))
    assert [result(o).get("reason") for o in outcomes] == ["insufficient_history"] * 30 + [None] * 5
    assert [o.status for o in outcomes] == ["skipped"] * 30 + ["scored"] * 5
    assert "score" not in result(outcomes[0])


@lru_cache(maxsize=1)
def a_growing_fleet() -> list[Record]:
    """Nine sources of a kind; after 260 points of each come three new ones, one of them with a fault."""
    rng = np.random.default_rng(3)
    contents = [
        a_point(f"pump-{i}", 1 + t, {"flow": 10.0 * i + float(rng.normal())})
        for t in range(260)
        for i in range(9)
    ]
    contents += [
        a_point(f"new-{i}", 300 + t, {"flow": float(rng.normal()) + 12.0 * (i == t - 15 == 0)})
        for t in range(40)
        for i in range(3)
    ]
    return records_of(contents)


def test_a_new_source_of_a_known_kind_is_judged_early_and_says_how_sure_that_is() -> None:
    outcomes = DetectionPipeline().process_batch(a_growing_fleet())[-120::3]
    read = [result(outcome) for outcome in outcomes]
    assert [r.get("reason") for r in read[:9]] == ["insufficient_history"] * 8 + [None]
    anomalous = [t for t, r in enumerate(read) if r.get("isAnomaly", False)]
    assert anomalous == [15, 16]  # the step up, and the one back
    sure = [r["confidence"] for r in read[8:]]
    assert sure == sorted(sure)
    assert 0.1 < sure[0] < sure[-1] < 0.9
    assert read[20]["features"]["flow"]["std"] > 0.0


@pytest.mark.parametrize("cut", [1, 2305, 2310, 2400])
def test_what_a_fleet_teaches_a_new_source_does_not_depend_on_batches_or_restarts(cut: int) -> None:
    records, whole_pipeline, first = a_growing_fleet(), DetectionPipeline(), DetectionPipeline()
    outcomes = whole_pipeline.process_batch(records)
    before = first.process_batch(records[:cut])
    second = DetectionPipeline()
    second.restore(first.state())
    assert before + second.process_batch(records[cut:]) == outcomes
    assert_same_state(second, whole_pipeline)


def test_where_no_detector_is_trained_yet_that_is_said() -> None:
    config = DetectionConfig.model_validate({"ensemble": {"detectors": [{"type": "half_space_trees"}]}})
    outcomes = DetectionPipeline(config).process_batch(records_of(noise(1, 1200)))
    assert result(outcomes[1000])["reason"] == "detectors_not_trained"
    assert outcomes[1100].status == "scored"


def test_results_show_values_features_and_detectors() -> None:
    config = DetectionConfig.model_validate({"result_features": ["mad", "z_score"]})
    read = result(DetectionPipeline(config).process_batch(records_of(noise(1, 400)))[-1])
    assert read["features"].keys() == {"flow", "pressure"}
    assert read["features"]["flow"].keys() == {"value", "mad", "z_score"}
    assert read["detectors"]["zscore"] >= 0
    assert read["detectors"]["isolation_forest"] is None
    assert read["isAnomaly"] is False


def test_a_tombstone_forgets_its_source() -> None:
    contents: list[DataPoint | Control | Forget] = [*series(np.random.default_rng(1).normal(size=40))]
    contents += [Forget("pump-7", 41_000), Forget("pump-7", 41_000), a_point("pump-7", 1, 0.0)]
    outcomes = DetectionPipeline().process_batch(records_of(contents))
    assert [o.status for o in outcomes[39:]] == ["scored", "forgotten", "forgotten", "skipped"]
    assert [result(o).get("reason") for o in outcomes[40:]] == [
        None,
        "unknown_source",
        "insufficient_history",
    ]


def test_a_forgotten_source_comes_back_without_its_incident() -> None:
    values = np.random.default_rng(1).normal(size=400)
    values[-1] = 50.0
    contents: list[DataPoint | Control | Forget] = [
        *series(values),
        Forget("pump-7", 400_000),
        *series(values),
    ]
    outcomes = DetectionPipeline().process_batch(records_of(contents))
    assert outcomes[399].incident == outcomes[-1].incident == "opened"


# process


def test_one_point_as_a_dict_gets_what_the_stream_would_publish() -> None:
    points = noise(1, 400)
    expected, one = DetectionPipeline().process_batch(records_of(points)), DetectionPipeline()
    for point, outcome in zip(points, expected, strict=True):
        values = dict(zip(point.names, point.values, strict=True))
        given = {"sourceId": point.source_id, "timestamp": point.time_ms, "values": values}
        assert one.process(given) == result(outcome)


def test_points_without_a_timestamp_take_that_of_the_clock() -> None:
    clock = ManualClock(1_767_225_600.0)
    pipeline = DetectionPipeline(clock=clock)
    assert pipeline.process({"sourceId": "a", "values": 1})["timestamp"] == "2026-01-01T00:00:00Z"
    clock.advance(1.5)
    again = pipeline.process({"sourceId": "a", "values": [1, None]})
    assert again["timestamp"] == "2026-01-01T00:00:01.500Z"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"values": 1}, "missing_source_id"),
        ({"sourceId": "a"}, "missing_values"),
        ({"sourceId": "a", "values": {"x": float("nan")}}, "non_finite_number"),
        ({"sourceId": "a", "values": {"x": "high"}}, "bad_value"),
        ({"sourceId": "a", "timestamp": "yesterday", "values": 1}, "bad_timestamp"),
    ],
)
def test_a_point_that_the_stream_would_refuse_is_refused_with_the_reason(
    wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        DetectionPipeline().process(wrong)


# Faults


def fleet_with_faults(seed: int, planted_at: int = 600) -> list[list[DataPoint]]:
    """Rows of a fleet of twelve sources with two values each; nine have a fault from `planted_at` on."""
    rng = np.random.default_rng(seed)
    spread = 10 ** rng.uniform(-1, 1, 12)
    x = rng.normal(size=(700, 12, 2)) * spread[None, :, None] + rng.uniform(-50, 50, 12)[None, :, None]
    at = planted_at
    x[at, 0, 0] += 9 * spread[0]
    x[at, 1, 0] -= 9 * spread[1]
    x[at:, 2, 0] += 6 * spread[2]
    x[at:, 3, 1] -= 6 * spread[3]
    x[at : at + 60, 4, 0] += rng.normal(size=60) * 6 * spread[4]
    x[at : at + 40, 5, :] += 5 * spread[5]
    x[at : at + 5, 6, 0] += 6 * spread[6]
    x[at : at + 3, 7, 1] = 1e6
    x[at:, 8, 0] = x[at - 1, 8, 0] + 20 * spread[8]
    return [
        [
            a_point(f"pump-{s}", 60 * (i + 1), {"a": float(x[i, s, 0]), "b": float(x[i, s, 1])})
            for s in range(12)
        ]
        for i in range(700)
    ]


FAULTS = {
    "spike": 1,
    "dip": 1,
    "level shift up": 2,
    "level shift down of the second value": 2,
    "variance burst": 10,
    "shift of both values": 2,
    "pulse of five points": 5,
    "absurd reading": 1,
    "jump to a frozen value": 1,
}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_plain_faults_in_a_fleet_are_found_soon_and_little_else(seed: int) -> None:
    rows = fleet_with_faults(seed)
    outcomes = DetectionPipeline().process_batch(records_of([point for row in rows for point in row]))
    anomalous = np.array([outcome.is_anomaly for outcome in outcomes]).reshape(700, 12)
    for s, (fault, within) in enumerate(FAULTS.items()):
        assert anomalous[600 : 600 + within, s].any(), fault
    assert anomalous[:600].mean() < 0.002


def test_an_anomaly_names_the_value_that_is_at_fault() -> None:
    rows = fleet_with_faults(4)
    outcomes = DetectionPipeline().process_batch(records_of([point for row in rows for point in row]))
    body = outcomes[600 * 12 + 7].anomaly
    assert body is not None
    anomaly = Anomaly.parse(body)
    assert anomaly.contributions[0].value == "b"
    assert anomaly.explanation.startswith("b 1000000 is over 1000 standard deviations above its usual")
    assert anomaly.severity != "low"
    expected = anomaly.expected["b"]
    assert expected.lower is not None
    assert expected.upper is not None
    assert expected.lower < expected.upper < 1e6


# Configuration


@pytest.mark.parametrize(
    "changed",
    [
        {"threshold": 0.85},
        {"false_alarms": 0.00100001},
        {"false_alarms": "2 per day"},
        {"severity": {"critical": 0.96}},
        {"resolve_after_points": 25},
        {"max_sources": 10},
        {"max_values_per_source": 10},
        {"features": {"ewma_gain": 0.2}},
        {"features": {"holidays": ["2026-12-25"]}},
        {"ensemble": {"strategy": "max"}},
        {"ensemble": {"detectors": [{"type": "zscore"}]}},
        {"result_features": ["mean"]},
    ],
)
def test_the_model_version_changes_with_the_configuration(changed: dict[str, Any]) -> None:
    assert DetectionConfig.model_validate(changed).model_version() != DetectionConfig().model_version()


def test_equal_configurations_have_equal_model_versions() -> None:
    written_out = DetectionConfig.model_validate(DetectionConfig().model_dump(mode="json"))
    assert (
        written_out.model_version() == DetectionConfig().model_version() == DetectionPipeline().model_version
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"result_features": ["mode"]}, "mode"),
        ({"result_features": ["value"]}, "value"),
        ({"result_features": ["mean", "mean"]}, "mean"),
        ({"result_features": ["MEAN"]}, "MEAN"),
        ({"max_sources": 0}, "max_sources"),
        ({"max_values_per_source": 0}, "max_values_per_source"),
        ({"features": {"window": 10}}, "window"),
        ({"budget": 1}, "budget"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DetectionConfig.model_validate(wrong)


def test_state_bytes_grow_with_the_sources() -> None:
    pipeline = DetectionPipeline()
    before = pipeline.state_bytes
    pipeline.process_batch(records_of(noise(1, 200, sources=100)))
    assert pipeline.state_bytes > 2 * before
