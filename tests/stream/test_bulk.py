"""What is handed over in bulk is the messages that would have been made of it."""

from __future__ import annotations

import numpy as np
import pytest
from confluent_kafka import Producer

from service.pipeline import DetectionPipeline
from service.stream import bulk
from service.stream.bulk import OFFSET_HEADER, Bulk, BulkProducer
from service.stream.output import Output, Publish, Publisher, Route
from service.stream.transaction import OutputMessage
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read
from tests.wire.bad_records import BAD_RECORDS

ROUTE = Route("in", "results", "odd", "dead", 10_000, frozenset({"results"}))
RECORDS = 900


def records(*, headers: bool = False, escapes: bool = False, tombstone: bool = False) -> RecordBatch:
    rng = np.random.default_rng(4)
    values: list[bytes | None] = []
    for i in range(RECORDS):
        value = 50.0 if i > RECORDS - 9 else float(rng.normal())
        source = (b'pump\\"%d' if escapes else b"pump-%d") % (i % 3)
        values.append(b'{"sourceId":"%s","timestamp":%d,"values":%.3f}' % (source, i, value))
    values[7] = BAD_RECORDS[0].value
    if tombstone:
        values[100] = None
    none: list[bytes | None] = [b"pump-1"] * RECORDS
    given = {9: [("traceparent", b"00-1-2-01")]} if headers else {}
    return RecordBatch(values, none, given, np.arange(RECORDS) + 1_000_000, np.full(RECORDS, 10_000))


def published(came: RecordBatch, publish: Publish = "all", *, in_bulk: bool) -> Output:
    pipeline, output = DetectionPipeline(), Output()
    batch = read(came, InputLimits())
    outcomes = pipeline.publication.of(batch, pipeline.score(batch))
    Publisher(ROUTE, publish, in_bulk=in_bulk).add(output, 3, came, batch.others, outcomes, b"model-1")
    return output


def taken_apart(one: Bulk) -> list[OutputMessage]:
    messages: list[OutputMessage] = []
    *before, last = one.headers
    starts = [0, *one.stops.tolist()]
    for i, stop in enumerate(one.stops.tolist()):
        key = one.text[one.key_start[i] : one.key_stop[i]].tobytes()
        headers = [*before, (OFFSET_HEADER, b"%d" % one.offsets[i]), last]
        messages.append((one.topic, one.partition, key, one.body[starts[i] : stop].tobytes(), headers))
    return messages


def by_topic(output: Output) -> dict[str, list[OutputMessage]]:
    """All that goes out, however: a topic's messages in their order."""
    topics: dict[str, list[OutputMessage]] = {}
    for message in [*output.messages, *(message for one in output.bulks for message in taken_apart(one))]:
        topics.setdefault(message[0], []).append(message)
    return topics


def test_what_goes_out_in_bulk_is_the_same_messages_in_the_same_order() -> None:
    came = records()
    plain, output = published(came, in_bulk=False), published(came, in_bulk=True)
    assert plain.bulks == []
    assert by_topic(output) == by_topic(plain)
    assert [(one.topic, len(one.stops)) for one in output.bulks] == [
        (topic, len(by_topic(plain)[topic])) for topic in ("results", "odd")
    ]
    assert len(by_topic(plain)["results"]) == RECORDS - 1
    assert [message[0] for message in output.messages] == ["dead"]


@pytest.mark.parametrize(("kind", "bulks"), [("headers", []), ("escapes", ["odd"]), ("tombstone", ["odd"])])
def test_what_is_not_alike_goes_one_by_one(kind: str, bulks: list[str]) -> None:
    came = records(**{kind: True})
    output = published(came, in_bulk=True)
    assert by_topic(output) == by_topic(published(came, in_bulk=False))
    assert [one.topic for one in output.bulks] == bulks


@pytest.mark.parametrize("publish", ["anomalies", "none"])
def test_a_choice_of_results_goes_one_by_one(publish: Publish) -> None:
    came = records()
    output = published(came, publish, in_bulk=True)
    assert by_topic(output) == by_topic(published(came, publish, in_bulk=False))
    assert [one.topic for one in output.bulks] == ["odd"]


def test_the_installed_client_is_one_whose_inside_is_known() -> None:
    assert bulk.available()
    assert BulkProducer.of(Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})) is not None
