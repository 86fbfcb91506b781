"""What a batch publishes: results, anomalies and dead letters, each with where it came from."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Message

from service.pipeline import Outcome
from service.stream.output import Output, Publish, Publisher, Route
from service.wire.data_point import InvalidRecord, Reason

MOST = 10_000
ROUTE = Route("in", "results", "odd", "dead", MOST, frozenset({"results", "odd", "dead"}))
TRACE = ("traceparent", b"00-1-2-01")
PLACE = [("x-in-topic", b"in"), ("x-in-partition", b"3"), ("x-in-offset", b"17")]

NORMAL = Outcome("pump-7", "scored", b"{}")
ODD = Outcome("pump-7", "scored", b"{1}", b"{2}", "high", "opened", is_anomaly=True)
UPDATE = Outcome("pump-7", "scored", b"{1}", None, "high", None, is_anomaly=True)
RESOLVED = Outcome("pump-7", "scored", b"{}", b"{3}", "low", "resolved")
INVALID = InvalidRecord(Reason.NOT_JSON, "line 1: why")


def message(
    key: bytes | None = b"k", value: bytes | None = b"v", headers: list[tuple[str, Any]] | None = None
) -> Message:
    return Message(topic="in", partition=3, offset=17, key=key, value=value, headers=headers)


def published(
    outcome: Outcome, publish: Publish = "all", headers: list[tuple[str, Any]] | None = None
) -> Output:
    output = Output()
    Publisher(ROUTE, publish).outcome(output, message(headers=headers), 3, outcome, b"model-1")
    return output


def test_a_result_is_keyed_by_its_source_and_says_its_place_and_model() -> None:
    (sent,) = published(NORMAL).messages
    assert (sent.topic, sent.partition, sent.key, sent.value) == ("results", 3, b"pump-7", b"{}")
    assert sent.headers == [*PLACE, ("x-model", b"model-1")]


def test_an_anomaly_goes_out_behind_its_result_with_the_same_headers() -> None:
    result, anomaly = published(ODD).messages
    assert (anomaly.topic, anomaly.partition, anomaly.key, anomaly.value) == ("odd", 3, b"pump-7", b"{2}")
    assert anomaly.headers == result.headers


def test_of_the_inputs_headers_only_the_trace_is_passed_through() -> None:
    (sent,) = published(
        NORMAL, headers=[("other", b"x"), TRACE, ("tracestate", b"s"), ("x-model", b"y")]
    ).messages
    assert sent.headers == [*PLACE, ("x-model", b"model-1"), TRACE, ("tracestate", b"s")]


@pytest.mark.parametrize(
    ("publish", "outcome", "topics"),
    [
        ("all", NORMAL, ["results"]),
        ("all", RESOLVED, ["results", "odd"]),
        ("anomalies", NORMAL, []),
        ("anomalies", ODD, ["results", "odd"]),
        ("anomalies", UPDATE, ["results"]),
        ("anomalies", RESOLVED, ["odd"]),
        ("none", NORMAL, []),
        ("none", ODD, ["odd"]),
        ("none", UPDATE, []),
    ],
)
def test_which_results_go_out_is_a_choice_and_anomalies_always_do(
    publish: Publish, outcome: Outcome, topics: list[str]
) -> None:
    output = published(outcome, publish)
    assert [sent.topic for sent in output.messages] == topics
    assert output.outcomes == [outcome]


@pytest.mark.parametrize("key", [b"k", b"", None, b"\xff\0"])
@pytest.mark.parametrize("value", [b"{bad", b"", b"\xff\0"])
def test_a_dead_letter_has_the_records_bytes_untouched(key: bytes | None, value: bytes) -> None:
    output = Output()
    Publisher(ROUTE, "none").dead_letter(output, message(key, value), 3, INVALID)
    (sent,) = output.messages
    assert (sent.topic, sent.partition, sent.key, sent.value) == ("dead", 3, key, value)
    assert sent.headers == [*PLACE, ("x-reason", INVALID.reason.encode()), ("x-detail", b"line 1: why")]
    assert output.invalid == [INVALID]


def test_a_dead_letter_keeps_the_records_headers_first() -> None:
    output = Output()
    given: list[tuple[str, bytes | None]] = [("a", b"1"), ("a", b"2"), ("none", None), TRACE]
    Publisher(ROUTE, "all").dead_letter(output, message(headers=given), 3, INVALID)
    assert output.messages[0].headers[:4] == given


def test_a_dead_letter_that_its_topic_would_refuse_is_cut_and_says_how_long_it_was() -> None:
    output = Output()
    headers: list[tuple[str, Any]] = [("big", b"h" * 1000)]
    Publisher(ROUTE, "all").dead_letter(output, message(value=b"v" * MOST, headers=headers), 3, INVALID)
    (sent,) = output.messages
    assert sent.value is not None
    assert sent.value == b"v" * len(sent.value)
    assert sent.headers[-1] == ("x-cut-from-bytes", b"%d" % MOST)
    assert MOST / 2 < len(sent.value) + sum(len(n) + len(v or b"") for n, v in sent.headers) < MOST


def test_a_dead_letter_that_just_fits_is_whole() -> None:
    output = Output()
    Publisher(ROUTE, "all").dead_letter(output, message(value=b"v" * (MOST - 2000)), 3, INVALID)
    assert len(output.messages[0].value or b"") == MOST - 2000


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
