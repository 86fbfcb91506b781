"""What goes to a topic made a moment ago stands there, whole and in order, though nobody leads it yet."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from service.settings import Settings
from service.stream.alert_topics import KafkaDeliveryLog
from service.stream.clients import make_producer
from service.stream.feeding import PointProducer
from service.stream.reading import read_all
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import Setup

pytestmark = pytest.mark.kafka

TOPICS, MESSAGES = 12, 60  # of which one or two lost some with five requests under way


def feed(settings: Settings, topic: str) -> None:
    producer = PointProducer(settings.kafka, topic)
    for i in range(MESSAGES):
        producer.send("source", b"%d" % i)
    assert producer.finish() == []


def log_deliveries(settings: Settings, topic: str) -> None:
    log = KafkaDeliveryLog({**settings.kafka.connection(), "batch.num.messages": 1}, topic, "test")
    for i in range(MESSAGES):
        log.append("source", b"%d" % i)
    log.flush()
    log.close()


class InTransactions:
    """One transaction a topic, each message a request of its own, as where they are large."""

    def __init__(self, settings: Settings) -> None:
        small = {"batch.num.messages": 1, "linger.ms": 0}
        kafka = settings.kafka.model_copy(update={"producer": small})
        self._producer: Producer = make_producer(kafka, "a", lambda _: None)
        self._producer.init_transactions(30)

    def __call__(self, _: Settings, topic: str) -> None:
        self._producer.begin_transaction()
        for i in range(MESSAGES):
            self._producer.produce(topic, b"%d" % i, b"source")
        self._producer.commit_transaction(30)


@pytest.mark.parametrize(
    "way",
    [lambda _: feed, lambda _: log_deliveries, InTransactions],
    ids=["feed", "deliveries", "transactions"],
)
def test_nothing_is_lost(
    broker: RunningBroker, topic_prefix: str, way: Callable[[Settings], Callable[[Settings, str], None]]
) -> None:
    settings = Setup.of(broker.bootstrap_servers, topic_prefix).settings
    send, admin = way(settings), AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for number in range(TOPICS):
        topic = f"{topic_prefix}{number}"
        admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(30)
        send(settings, topic)
        found = [message.value() for message in read_all(settings.kafka, topic)]
        assert found == [b"%d" % i for i in range(MESSAGES)]
