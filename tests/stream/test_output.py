"""What a batch publishes: results, anomalies and dead letters, each with where it came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.absence import Told
from service.decision import Incident, Severity
from service.outcomes import Outcomes
from service.stream.output import Output, Publish, Publisher, Route
from service.wire.data_point import InvalidRecord, Reason
from service.wire.reader import RecordBatch

MOST = 10_000
ROUTE = Route("in", "results", "odd", "dead", MOST, frozenset({"results", "odd", "dead"}))
TRACE = ("traceparent", b"00-1-2-01")
PLACE = [("x-in-topic", b"in"), ("x-in-partition", b"3"), ("x-in-offset", b"17")]

OPENED, RESOLVED = 1, 3
INVALID = InvalidRecord(Reason.NOT_JSON, "line 1: why")


def records(
    key: bytes | None = b"k", value: bytes | None = b"v", headers: list[tuple[str, Any]] | None = None
) -> RecordBatch:
    return RecordBatch([value], [key], {0: headers} if headers else {}, np.array([17]), np.array([0]))


def outcome(
    result: bytes = b"{}", anomaly: bytes | None = None, anomalous: bool = False, incident: int = 0
) -> Outcomes:
    outcomes = Outcomes(1)
    outcomes.answers[0] = b"pump-7", result
    outcomes.status[0] = outcomes.severity[0] = 0
    outcomes.incident[0], outcomes.anomalous[0] = incident, anomalous
    if anomaly is not None:
        outcomes.anomalies[0] = anomaly
    return outcomes


NORMAL = outcome()
NEW = outcome(b"{1}", b"{2}", anomalous=True, incident=OPENED)
UPDATE = outcome(b"{1}", None, anomalous=True)
OVER = outcome(b"{}", b"{3}", incident=RESOLVED)


def published(
    outcomes: Outcomes, publish: Publish = "all", headers: list[tuple[str, Any]] | None = None
) -> Output:
    output = Output()
    Publisher(ROUTE, publish).add(output, 3, records(headers=headers), {}, outcomes, b"model-1")
    return output


def refused(publish: Publish, came: RecordBatch) -> Output:
    output = Output()
    Publisher(ROUTE, publish).add(output, 3, came, {0: INVALID}, Outcomes(1), b"model-1")
    return output


def test_a_result_is_keyed_by_its_source_and_says_its_place_and_model() -> None:
    (sent,) = published(NORMAL).messages
    assert sent[:4] == ("results", 3, b"pump-7", b"{}")
    assert sent[4] == [*PLACE, ("x-model", b"model-1")]


def test_an_anomaly_goes_out_behind_its_result_with_the_same_headers() -> None:
    result, anomaly = published(NEW).messages
    assert anomaly[:4] == ("odd", 3, b"pump-7", b"{2}")
    assert anomaly[4] == result[4]


def test_a_silence_is_keyed_by_the_silent_source_and_names_the_record_that_made_it_visible() -> None:
    outcomes = outcome(b"{1}", b"{2}", anomalous=True, incident=OPENED)
    outcomes.silences.append((0, Told("id", "pümp-9", Severity.HIGH, Incident.OPENED, b"{4}")))
    result, anomaly, silence = published(outcomes).messages
    assert silence[:4] == ("odd", 3, "pümp-9".encode(), b"{4}")
    assert silence[4] == anomaly[4] == result[4]


def test_of_the_inputs_headers_only_the_trace_is_passed_through() -> None:
    (sent,) = published(
        NORMAL, headers=[("other", b"x"), TRACE, ("tracestate", b"s"), ("x-model", b"y")]
    ).messages
    assert sent[4] == [*PLACE, ("x-model", b"model-1"), TRACE, ("tracestate", b"s")]


@pytest.mark.parametrize(
    ("publish", "outcomes", "topics"),
    [
        ("all", NORMAL, ["results"]),
        ("all", OVER, ["results", "odd"]),
        ("anomalies", NORMAL, []),
        ("anomalies", NEW, ["results", "odd"]),
        ("anomalies", UPDATE, ["results"]),
        ("anomalies", OVER, ["odd"]),
        ("none", NORMAL, []),
        ("none", NEW, ["odd"]),
        ("none", UPDATE, []),
    ],
)
def test_which_results_go_out_is_a_choice_and_anomalies_always_do(
    publish: Publish, outcomes: Outcomes, topics: list[str]
) -> None:
    output = published(outcomes, publish)
    assert [sent[0] for sent in output.messages] == topics
    assert output.outcomes == [outcomes]


@pytest.mark.parametrize("key", [b"k", b"", None, b"\xff\0"])
@pytest.mark.parametrize("value", [b"{bad", b"", b"\xff\0"])
def test_a_dead_letter_has_the_records_bytes_untouched(key: bytes | None, value: bytes) -> None:
    output = refused("none", records(key, value))
    (sent,) = output.messages
    assert sent[:4] == ("dead", 3, key, value)
    assert sent[4] == [*PLACE, ("x-reason", INVALID.reason.encode()), ("x-detail", b"line 1: why")]
    assert output.invalid == [INVALID]


def test_a_dead_letter_keeps_the_records_headers_first() -> None:
    given: list[tuple[str, bytes | None]] = [("a", b"1"), ("a", b"2"), ("none", None), TRACE]
    assert refused("all", records(headers=given)).messages[0][4][:4] == given


def test_a_dead_letter_that_its_topic_would_refuse_is_cut_and_says_how_long_it_was() -> None:
    headers: list[tuple[str, Any]] = [("big", b"h" * 1000)]
    [(*_, value, given)] = refused("all", records(value=b"v" * MOST, headers=headers)).messages
    assert value is not None
    assert value == b"v" * len(value)
    assert given[-1] == ("x-cut-from-bytes", b"%d" % MOST)
    assert MOST / 2 < len(value) + sum(len(n) + len(v or b"") for n, v in given) < MOST


def test_a_dead_letter_that_just_fits_is_whole() -> None:
    [(*_, value, _)] = refused("all", records(value=b"v" * (MOST - 2000))).messages
    assert len(value or b"") == MOST - 2000


def test_a_message_keeps_its_inputs_partition_only_where_there_are_as_many() -> None:
    names = {
        "data_points": "in",
        "detection_results": "results",
        "anomalies": "odd",
        "dead_letters": "dead",
    }
    partitions = {"data_points": 4, "detection_results": 4, "anomalies": 2, "dead_letters": 4}
    route = Route.of(names, partitions, MOST)
    assert [route.partition(topic, 3) for topic in ("results", "odd", "dead")] == [3, -1, 3]
