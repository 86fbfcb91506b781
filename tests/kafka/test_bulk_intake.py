"""Records taken in bulk are those that confluent_kafka's own messages say, on a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from service.stream.bulk_intake import BulkIntake, intake_of
from service.stream.clients import make_consumer
from service.stream.intake import Intake, MessageIntake
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import Setup, make_topics, wait_for
from tests.wire.bad_records import BAD_RECORDS

pytestmark = pytest.mark.kafka

PARTITIONS = 2
MakeIntake = Callable[[Consumer], Intake]


@pytest.fixture
def setup(broker: RunningBroker, topic_prefix: str) -> Setup:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix, partitions=PARTITIONS)
    make_topics(setup.settings)
    return setup


def produce_all_kinds(setup: Setup) -> int:
    """Good records, every bad one, tombstones, empty values, headers; how many in each partition."""
    topic = setup.settings.topics.name("data_points")
    producer = Producer({"bootstrap.servers": setup.settings.kafka.bootstrap_servers})
    written = 0
    for number in range(PARTITIONS):
        written = 0
        for i, bad in enumerate(BAD_RECORDS):
            good = b'{"sourceId":"pump-%d","timestamp":%d,"values":%d}' % (number, 1_767_225_600_000 + i, i)
            producer.produce(topic, good, b"pump", number, timestamp=1_767_225_600_000 + i)
            producer.produce(topic, bad.value, bad.key, number, headers=list(bad.headers))
            written += 2
        for value, key in ((None, b"pump-1"), (b"", b"k"), (b"1", None), (b"2", b"")):
            producer.produce(topic, value, key, number, headers=[("a", b"1"), ("a", None), ("b", b"")])
            written += 1
    assert producer.flush(30) == 0
    return written


@contextmanager
def consuming(setup: Setup, make: MakeIntake, group: str) -> Iterator[tuple[Consumer, Intake]]:
    kafka = setup.settings.kafka.model_copy(update={"group_id": f"{setup.settings.topics.prefix}{group}"})
    consumer = make_consumer(kafka, "w", lambda _: None)
    intake = make(consumer)
    topic = setup.settings.topics.name("data_points")

    def on_assign(_: Consumer, assigned: list[TopicPartition]) -> None:
        consumer.incremental_assign(
            [TopicPartition(tp.topic, tp.partition, OFFSET_BEGINNING) for tp in assigned]
        )
        intake.assigned(topic, [tp.partition for tp in assigned])

    consumer.subscribe([topic], on_assign=on_assign)
    try:
        yield consumer, intake
    finally:
        intake.close()
        consumer.close()


def plain(records: RecordBatch, limits: InputLimits) -> list[tuple[object, ...]]:
    """What the records are, and what is read of them, in a form that can be compared."""
    batch = read(records, limits)
    rows = batch.points.points[["offset", "record_time_ms", "time_ms", "source_hash"]].tolist()
    others = [(int(records.offset[i]), repr(content)) for i, content in batch.others.items()]
    fields = zip(
        records.values,
        records.keys,
        [records.headers.get(i) for i in range(len(records.values))],
        records.offset.tolist(),
        records.time_ms.tolist(),
        strict=True,
    )
    return (
        [("record", *field) for field in fields]
        + [("point", *row) for row in rows]
        + [("other", *o) for o in others]
    )


def taken(setup: Setup, make: MakeIntake, group: str, each: int) -> dict[int, list[tuple[object, ...]]]:
    """All records by partition, from offset 1 on; read together whatever the polls were."""
    found: dict[int, list[tuple[object, ...]]] = {number: [] for number in range(PARTITIONS)}
    count = dict.fromkeys(found, 0)
    with consuming(setup, make, group) as (_, intake):

        def step() -> bool:
            came = intake.take(10_000, 0.1, 0.5)
            assert not came.errors
            for number in came.partitions:
                records = came.records(number, 1)
                count[number] += len(records.offset)
                found[number] += plain(records, InputLimits())
            came.release()
            return all(n >= each - 1 for n in count.values())

        wait_for(step, "all records")
    assert set(count.values()) == {each - 1}
    # Polls may have been cut elsewhere: what is said of a record is compared, not when.
    return {number: sorted(said, key=repr) for number, said in found.items()}


def test_records_in_bulk_are_those_of_the_messages(setup: Setup) -> None:
    each = produce_all_kinds(setup)
    by_message = taken(setup, MessageIntake, "messages", each)
    assert taken(setup, intake_of, "bulk", each) == by_message


def test_a_known_build_is_taken_from_in_bulk(setup: Setup) -> None:
    with consuming(setup, intake_of, "known") as (_, intake):
        assert isinstance(intake, BulkIntake)


def test_a_seek_and_a_pause_hold_for_what_is_taken_in_bulk(setup: Setup) -> None:
    each = produce_all_kinds(setup)
    topic = setup.settings.topics.name("data_points")
    with consuming(setup, intake_of, "seek") as (consumer, intake):
        first: dict[int, int] = {}

        def come(least: int) -> bool:
            came = intake.take(10_000, 0.1, 0.5)
            for number in came.partitions:
                first.setdefault(number, int(came.records(number, 0).offset[0]))
            came.release()
            return len(first) >= least

        wait_for(lambda: come(PARTITIONS), "records of both partitions")
        assert first == {0: 0, 1: 0}
        consumer.pause([TopicPartition(topic, 0)])
        for number in range(PARTITIONS):
            consumer.seek(TopicPartition(topic, number, each - 3))
        first.clear()
        wait_for(lambda: come(1), "records behind the seek")
        assert first == {1: each - 3}
        first.clear()
        consumer.resume([TopicPartition(topic, 0)])
        wait_for(lambda: come(1), "records of what was resumed")
        assert first == {0: each - 3}


def test_a_log_that_does_not_reach_back_is_an_error_of_the_batch(setup: Setup) -> None:
    produce_all_kinds(setup)
    topic = setup.settings.topics.name("data_points")
    with consuming(setup, intake_of, "beyond") as (consumer, intake):
        errors: list[KafkaError] = []

        def failed() -> bool:
            came = intake.take(10_000, 0.1, 0.5)
            if came.partitions:
                consumer.seek(TopicPartition(topic, 0, 1_000_000))
            errors.extend(came.errors)
            came.release()
            return bool(errors)

        wait_for(failed, "an error")
        assert errors[0].name() == "_AUTO_OFFSET_RESET"
