"""The properties that the promise rests on, as `make_consumer` and `make_producer` pass them."""

from __future__ import annotations

import json
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import Consumer, Producer

from service.errors import ConfigurationError
from service.stream.clients import (
    consumer_properties,
    made,
    make_consumer,
    make_producer,
    producer_properties,
)
from service.stream.config import KafkaConfig
from service.stream.feeding import PointProducer

NOWHERE = "127.0.0.1:1"


def ignore(_: object) -> None:
    pass


def consumer(**kafka: Any) -> dict[str, Any]:
    return consumer_properties(KafkaConfig(**kafka), "worker-1")


def producer(**kafka: Any) -> dict[str, Any]:
    return producer_properties(KafkaConfig(**kafka), "worker-1")


def test_the_consumer_has_what_the_promise_rests_on() -> None:
    assert (
        consumer(group_id="plant").items()
        >= {
            "group.id": "plant",
            "group.protocol": "classic",
            "group.instance.id": "plant-worker-1",
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            "session.timeout.ms": 6000,
        }.items()
    )


def test_the_producer_has_what_the_promise_rests_on() -> None:
    assert (
        producer(group_id="plant").items()
        >= {
            "transactional.id": "plant-worker-1",
            "transaction.timeout.ms": 10_000,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 100,
        }.items()
    )


def test_the_names_of_a_worker_are_the_same_after_a_restart() -> None:
    assert producer() == producer()
    assert consumer() == consumer()


def test_properties_for_all_clients_yield_to_those_for_one_kind() -> None:
    given: dict[str, Any] = {
        "properties": {"client.id": "all", "security.protocol": "SSL"},
        "consumer": {"client.id": "reads", "session.timeout.ms": 9000},
        "producer": {"client.id": "writes", "linger.ms": 1},
    }
    assert (
        consumer(**given).items()
        >= {
            "client.id": "reads",
            "security.protocol": "SSL",
            "session.timeout.ms": 9000,
        }.items()
    )
    assert (
        producer(**given).items()
        >= {
            "client.id": "writes",
            "security.protocol": "SSL",
            "linger.ms": 1,
        }.items()
    )


def test_a_log_that_does_not_reach_back_is_an_error_and_no_new_beginning() -> None:
    assert consumer()["auto.offset.reset"] == "error"


def test_librdkafka_takes_all_of_them() -> None:
    kafka = KafkaConfig(bootstrap_servers=NOWHERE)
    make_consumer(kafka, "w", ignore).close()
    make_producer(kafka, "w", ignore)


def test_librdkafka_is_new_enough() -> None:
    assert confluent_kafka.libversion()[1] >= 0x020D02FF


@pytest.mark.parametrize(
    ("properties", "what"),
    [
        ({"nonsense": 1}, 'No such configuration property: "nonsense"'),
        ({"socket.timeout.ms": "soon"}, "socket.timeout.ms"),
        ({"security.protocol": "nonsense"}, 'Invalid value "nonsense" for configuration property'),
    ],
)
def test_a_property_that_librdkafka_does_not_take_is_a_mistake_of_the_configuration(
    properties: dict[str, Any], what: str
) -> None:
    kafka = KafkaConfig(bootstrap_servers=NOWHERE, properties=properties)
    for make in (
        lambda: make_consumer(kafka, "w", ignore),
        lambda: make_producer(kafka, "w", ignore),
        lambda: PointProducer(kafka, "topic"),
    ):
        with pytest.raises(ConfigurationError, match="kafka: ") as caught:
            make()
        assert what in str(caught.value)


@pytest.mark.parametrize("kind", [Consumer, Producer])
def test_a_refused_client_says_no_secret(kind: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        made(kind, {"group.id": "g", "sasl.password": "hunter2", "nonsense": json.dumps({})})
    assert "hunter2" not in str(caught.value)
