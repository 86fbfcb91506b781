"""librdkafka's own call gives readers the very messages that `Producer.produce` gives them."""

from __future__ import annotations

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from service.stream.bulk import BulkProducer
from service.stream.clients import WHOLE
from tests.kafka.conftest import RunningBroker
from tests.stream.test_bulk import published, records, taken_apart

pytestmark = pytest.mark.kafka


def _read(broker: RunningBroker, topic: str, count: int) -> list[Message]:
    """So many messages from the beginning of a topic's four partitions, or all in a quarter of a minute."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": topic})
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(4)])
    found = consumer.consume(count, 15.0)
    consumer.close()
    return found


def test_readers_see_no_difference(broker: RunningBroker, topic_prefix: str) -> None:
    connection = {"bootstrap.servers": broker.bootstrap_servers, "partitioner": "murmur2_random"}
    # A queue so short that it is full again and again.
    producer = Producer({**connection, **WHOLE, "queue.buffering.max.messages": 50, "linger.ms": 0})
    in_bulk = BulkProducer.of(producer)
    assert in_bulk is not None
    seen: dict[tuple[str, int], list[Message]] = {}
    results, anomalies = published(records(), in_bulk=True).bulks
    for given, place in ((results, 2), (results, -1), (anomalies, -1)):
        for way in ("plain", "bulk"):
            topic = f"{topic_prefix}{given.topic}{way}{place}"
            admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
            admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(30)
            one = given._replace(topic=topic, partition=place)
            if way == "bulk":
                in_bulk.produce(one)
            else:
                for to, at, key, value, headers in taken_apart(one):
                    producer.produce(to, value, key, at, headers=headers)  # type: ignore[arg-type]
                    producer.flush()
            assert producer.flush(30) == 0
            seen[way, place] = _read(broker, topic, len(one.stops))
        plain, bulk = ([_said(m) for m in sorted(seen[w, place], key=_at)] for w in ("plain", "bulk"))
        assert plain == bulk
        assert len(bulk) == len(given.stops)


def _at(message: Message) -> tuple[int, int]:
    return message.partition() or 0, message.offset() or 0


def _said(message: Message) -> tuple[object, ...]:
    return message.partition(), message.key(), message.value(), message.headers()
