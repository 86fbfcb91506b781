"""`anomalyd audit` on real topics: clean where all is well, and each planted fault found by its name.

What the service would publish is made here with its own parts, so that it can be spoiled on the way.
"""

from __future__ import annotations

import json
from functools import partial

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from service.commands.audit import recomputing
from service.errors import AnomalydError
from service.pipeline import DetectionPipeline
from service.stream.auditing.audit import Scope, audit
from service.stream.auditing.findings import Kind, Report
from service.stream.output import Output, Publisher, Route
from service.stream.reading import read_spans, spans_of
from service.stream.records import records_of
from service.stream.transaction import OutputMessage
from service.wire.reader import read
from tests.commands.command_line import Command
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import Setup, make_topics, noisy_points, produce

pytestmark = pytest.mark.kafka

POINTS = 200
SOURCES = 3
RECORDS = POINTS * SOURCES + 2
NOW = Scope(until="now")

Messages = list[OutputMessage]


def _answers(setup: Setup, first: int = 0) -> Messages:
    """What a service that begins at offset `first` publishes of what stands in the input now."""
    settings = setup.settings
    names = {role: settings.topics.name(role) for role in ("data_points", "detection_results")}
    names |= {role: settings.topics.name(role) for role in ("anomalies", "dead_letters")}
    route = Route.of(names, dict.fromkeys(names, settings.topics.partitions), 1 << 20)
    publisher, output = Publisher(route, "all"), Output()
    pipelines = {
        number: DetectionPipeline(
            settings.detection, topic=names["data_points"], partition=number, born=first
        )
        for number in range(settings.topics.partitions)
    }
    topic = names["data_points"]
    for messages in read_spans(settings.kafka, topic, spans_of(settings.kafka, topic)):
        for number, pipeline in pipelines.items():
            mine = [m for m in messages if m.partition() == number and (m.offset() or 0) >= first]
            if mine:
                records = records_of(mine)
                batch = read(records, settings.input)
                outcomes = pipeline.process_read(batch)
                model = pipeline.lineage.encode()
                publisher.add(output, number, records, batch.others, outcomes, model)
    return output.messages


def _publish(setup: Setup, messages: Messages, *, name: str = "one", commit: bool = True) -> None:
    """All in one transaction."""
    producer = Producer(
        {**setup.settings.kafka.connection(), "transactional.id": f"{setup.settings.topics.prefix}{name}"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for topic, partition, key, value, headers in messages:
        producer.produce(topic, value, key, partition, headers=headers)  # type: ignore[arg-type]  # invariant
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def _setup(broker: RunningBroker, prefix: str, *overrides: str, partitions: int = 2) -> Setup:
    """An input of noise with spikes, and two records of it bad."""
    setup = Setup.of(broker.bootstrap_servers, prefix, *overrides, partitions=partitions)
    make_topics(setup.settings)
    points = noisy_points(POINTS, SOURCES)
    produce(setup.settings, [*points[:100], ("pump-0", b"not json"), *points[100:], ("pump-1", b"{}")])
    return setup


def _audit(setup: Setup, scope: Scope = NOW, *, recompute: bool = False) -> Report:
    settings = setup.settings
    again = recomputing(settings) if recompute else None
    return audit(settings.kafka, settings.topics, settings.publish, scope, again)


def _stand_at(setup: Setup, offset: int) -> None:
    """The group's offset in partition 0."""
    settings = setup.settings
    consumer = Consumer({**settings.kafka.connection(), "group.id": settings.kafka.group_id})
    topic = settings.topics.name("data_points")
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def test_what_the_service_publishes_is_clean_and_recomputed_to_the_byte(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = _setup(broker, topic_prefix)
    _publish(setup, _answers(setup), name="aborted", commit=False)  # no reader sees it
    _publish(setup, _answers(setup))
    report = _audit(setup, recompute=True)
    assert report.clean, report.as_json()
    totals = {name: report.total(name) for name in ("records", "results", "dead_letters", "compared")}
    assert totals == {"records": RECORDS, "results": RECORDS - 2, "dead_letters": 2, "compared": RECORDS}
    assert report.total("anomalies") > 0
    assert dict(report.models) == {setup.settings.detection.model_version(): RECORDS - 2}


def _of(setup: Setup, role: str, nth: int, messages: Messages) -> int:
    """The place of the nth message of a topic."""
    topic = setup.settings.topics.name(role)
    return [i for i, message in enumerate(messages) if message[0] == topic][nth]


def _offset(message: OutputMessage) -> int:
    return int(dict(message[4])["x-in-offset"])


@pytest.mark.parametrize(
    "kind", ["missing", "double", "reordered", "untold", "repeated_anomaly", "malformed"]
)
def test_each_planted_fault_is_found_at_its_place_and_nothing_else(
    broker: RunningBroker, topic_prefix: str, kind: str
) -> None:
    setup = _setup(broker, topic_prefix, partitions=1)
    messages = _answers(setup)
    result = _of(setup, "detection_results", 50, messages)
    anomaly = _of(setup, "anomalies", 0, messages)
    offset = _offset(messages[result])
    if kind == "missing":
        del messages[result]
    elif kind == "double":
        messages.append(messages[result])
    elif kind == "reordered":
        messages[result], messages[result + 1] = messages[result + 1], messages[result]
    elif kind == "untold":
        offset = _offset(messages[anomaly])
        del messages[anomaly]
    elif kind == "repeated_anomaly":
        offset = _offset(messages[anomaly])
        messages.append(messages[anomaly])
    else:
        topic, partition, key, value, _ = messages[result]
        offset = len([message for message in messages if message[0] == topic])
        messages.append((topic, partition, key, value, []))
    _publish(setup, messages)
    report = _audit(setup)
    (found,) = report.findings
    assert found[:2] == (Kind(kind), 1)
    assert found[2][0].offset == offset


def test_answers_to_records_that_there_are_not_are_stray(broker: RunningBroker, topic_prefix: str) -> None:
    setup = _setup(broker, topic_prefix, partitions=1)
    messages = _answers(setup)
    topic, partition, key, value, headers = messages[0]
    _publish(setup, messages)
    provenance = dict(headers) | {"x-in-offset": b"%d" % (RECORDS + 5)}
    _publish(setup, [(topic, partition, key, value, list(provenance.items()))])
    report = _audit(setup)
    assert [(kind, places[0].offset) for kind, _, places in report.findings] == [(Kind.STRAY, RECORDS + 5)]


def test_other_bytes_than_the_input_gives_are_shown_by_member(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = _setup(broker, topic_prefix, partitions=1)
    messages = _answers(setup)
    for role, old, new in (
        ("detection_results", b'"status":"skipped"', b'"status":"scored"'),
        ("anomalies", b'"severity":"', b'"severity":"very '),
    ):
        place = _of(setup, role, 0, messages)
        topic, partition, key, value, headers = messages[place]
        messages[place] = (topic, partition, key, (value or b"").replace(old, new), headers)
    _publish(setup, messages)
    assert _audit(setup).clean
    report = _audit(setup, recompute=True)
    ((kind, count, places),) = report.findings
    assert (kind, count) == (Kind.DIFFERING, 2)
    told = [place.detail for place in places]
    assert told[0] == 'result: status: "scored", should be "skipped"'
    assert told[1].startswith('anomaly: severity: "very ')


def test_below_the_groups_offset_alone_an_answer_is_owed(broker: RunningBroker, topic_prefix: str) -> None:
    setup = _setup(broker, topic_prefix, partitions=1)
    messages = _answers(setup)
    _publish(setup, [message for message in messages if _offset(message) < 100])
    assert _audit(setup, Scope()).clean
    _stand_at(setup, 100)
    assert _audit(setup, Scope()).clean
    assert _audit(setup, NOW).counts == {Kind.MISSING: RECORDS - 100}
    assert _audit(setup, Scope(since=150, until="now")).counts == {Kind.MISSING: RECORDS - 150}
    assert _audit(setup, Scope(since=0, since_is_time=True, until="now")).counts == {
        Kind.MISSING: RECORDS - 100
    }
    future = Scope(since=4_102_444_800_000, since_is_time=True, until="now")
    assert _audit(setup, future).clean
    _stand_at(setup, 102)
    assert _audit(setup, Scope()).counts == {Kind.MISSING: 2}


def test_a_group_that_began_at_the_end_owes_nothing_from_before(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = _setup(broker, topic_prefix, "stream.start_from=latest", partitions=1)
    _publish(setup, _answers(setup, first=120))
    scope = Scope(until="now", from_earliest=False)
    assert _audit(setup, scope, recompute=True).clean
    assert _audit(setup, NOW).counts == {Kind.MISSING: 120}


def test_answers_that_retention_took_are_not_missed(broker: RunningBroker, topic_prefix: str) -> None:
    setup = _setup(broker, topic_prefix, partitions=1)
    _publish(setup, _answers(setup))
    admin = AdminClient(setup.settings.kafka.connection())
    results = TopicPartition(setup.settings.topics.name("detection_results"), 0, 300)
    for future in admin.delete_records([results]).values():
        future.result(30)
    report = _audit(setup)
    assert report.clean, report.as_json()
    assert report.partitions[0].start > 300
    assert any("retention" in note for note in report.notes)


def test_a_new_model_is_recomputed_from_where_it_began(broker: RunningBroker, topic_prefix: str) -> None:
    setup = _setup(broker, topic_prefix, partitions=1)
    other = Setup.of(broker.bootstrap_servers, topic_prefix, "detection.threshold=0.9", "topics.partitions=1")
    _publish(setup, [message for message in _answers(setup) if _offset(message) < 200])
    _publish(setup, _answers(other, first=200))
    report = _audit(other, recompute=True)
    assert report.clean, report.as_json()
    assert report.total("compared") == RECORDS - 200
    assert len(report.models) == 2


def test_results_of_another_model_are_counted_and_not_compared(
    broker: RunningBroker, topic_prefix: str
) -> None:
    setup = _setup(broker, topic_prefix, partitions=1)
    other = Setup.of(broker.bootstrap_servers, topic_prefix, "detection.threshold=0.9")
    _publish(setup, _answers(setup))
    assert _audit(other).clean
    with pytest.raises(AnomalydError, match="nothing to compare with"):
        _audit(other, recompute=True)


def test_from_the_middle_nothing_can_be_recomputed(broker: RunningBroker, topic_prefix: str) -> None:
    setup = _setup(broker, topic_prefix, partitions=1)
    _publish(setup, _answers(setup))
    with pytest.raises(AnomalydError, match="cannot recompute: partition 0"):
        _audit(setup, Scope(since=5, until="now"), recompute=True)


def test_the_command_prints_a_table_or_json_and_exits_by_what_it_found(
    broker: RunningBroker, topic_prefix: str, anomalyd: Command
) -> None:
    setup = _setup(broker, topic_prefix, partitions=1)
    messages = _answers(setup)
    run = partial(anomalyd, "audit", *setup.flags, "--until", "now")
    _publish(setup, messages[:-1])
    missing = run()
    assert missing.code == 1
    assert "1 missing: input records with neither result nor dead letter" in missing.out
    _publish(setup, messages[-1:])
    clean = run("--recompute")
    assert clean.code == 0
    assert f"clean: {RECORDS:,} records, one answer each" in clean.out
    told = json.loads(run("--json").out)
    assert told["clean"] is True
    assert told["partitions"][0]["records"] == RECORDS
    assert run("--from", "yesterday").code == 2
