"""What was deleted between asking what a topic holds and reading it."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from service.errors import AnomalydError
from service.stream.reading import Span, read_with, reader_of
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import Setup, make_topics, produce

WHOLE = {0: Span(0, 10)}


@pytest.fixture
def setup(broker: RunningBroker, topic_prefix: str) -> Setup:
    """An input of ten records of which the first four are deleted."""
    setup = Setup.of(broker.bootstrap_servers, topic_prefix)
    make_topics(setup.settings)
    produce(setup.settings, [("pump", b"%d" % n) for n in range(10)])
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    below = TopicPartition(setup.settings.topics.name("data_points"), 0, 4)
    for future in admin.delete_records([below]).values():
        future.result(30.0)
    return setup


def test_a_reader_that_may_skip_goes_on_behind_it(setup: Setup) -> None:
    consumer = reader_of(setup.settings.kafka)
    topic = setup.settings.topics.name("data_points")
    values = [m.value() for messages in read_with(consumer, topic, WHOLE) for m in messages]
    consumer.close()
    assert values == [b"%d" % n for n in range(4, 10)]


def test_a_restore_fails_for_a_replay_with_a_gap_is_another_history(setup: Setup) -> None:
    consumer = reader_of(setup.settings.kafka, skip_deleted=False)
    topic = setup.settings.topics.name("data_points")
    with pytest.raises(AnomalydError, match="cannot be read"):
        list(read_with(consumer, topic, WHOLE))
    consumer.close()
