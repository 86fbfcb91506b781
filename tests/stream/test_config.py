from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.stream.clients import consumer_properties, producer_properties
from service.stream.config import FIXED_PROPERTIES, KafkaConfig, TopicsConfig, merged

# librdkafka knows these by a second name.
ALIASES = {
    "bootstrap.servers": "metadata.broker.list",
    "acks": "request.required.acks",
    "max.in.flight.requests.per.connection": "max.in.flight",
    "message.send.max.retries": "retries",
    "enable.auto.commit": "auto.commit.enable",
}


@pytest.mark.parametrize("section", ["properties", "consumer", "producer"])
@pytest.mark.parametrize("name", sorted(FIXED_PROPERTIES))
def test_a_property_that_the_guarantees_rest_on_is_refused_by_name(section: str, name: str) -> None:
    with pytest.raises(ValidationError, match=rf"{name}: set by the service, its guarantees rest on it"):
        KafkaConfig.model_validate({section: {name: "x"}})


def test_all_refused_properties_are_named_together() -> None:
    with pytest.raises(ValidationError, match=r"acks, isolation\.level, partitioner: set by"):
        KafkaConfig(properties={"partitioner": "random", "acks": 1, "isolation.level": "x", "linger.ms": 1})


def test_a_refused_property_is_refused_by_its_second_name_too() -> None:
    for name, alias in ALIASES.items():
        assert {name, alias} <= FIXED_PROPERTIES


def test_what_the_service_sets_for_the_guarantees_is_exactly_what_is_refused() -> None:
    kafka = KafkaConfig()
    free = {"session.timeout.ms", "heartbeat.interval.ms", "statistics.interval.ms"}
    free |= {"transaction.timeout.ms", "compression.type", "message.max.bytes", "delivery.report.only.error"}
    free |= {"socket.nagle.disable"}
    ours = set(consumer_properties(kafka, "w")) | set(producer_properties(kafka, "w"))
    tuned = {name for name in ours if name.startswith(("fetch.", "queue", "linger", "batch.", "retry."))}
    assert ours - FIXED_PROPERTIES == free | tuned


@pytest.mark.parametrize("name", ["sasl.password", "ssl.key.password", "ssl.keystore.password"])
def test_passwords_among_the_properties_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=rf"{name}: give secrets as kafka\.sasl_password") as caught:
        KafkaConfig(properties={name: "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_connection_has_the_servers_the_properties_and_the_secrets() -> None:
    kafka = KafkaConfig.model_validate(
        {
            "bootstrap_servers": "a:1,b:2",
            "properties": {"security.protocol": "SASL_SSL"},
            "sasl_password": "one",
            "ssl_key_password": "two",
        }
    )
    assert kafka.connection() == {
        "bootstrap.servers": "a:1,b:2",
        "security.protocol": "SASL_SSL",
        "sasl.password": "one",
        "ssl.key.password": "two",
    }


def test_all_topics_have_the_prefix() -> None:
    topics = TopicsConfig(prefix="plant-1.", anomalies="odd")
    assert topics.name("data_points") == "plant-1.data-points"
    assert topics.name("anomalies") == "plant-1.odd"


@pytest.mark.parametrize("prefix", ["a b", "a/b", "ü", "a\n"])
def test_a_prefix_that_is_no_part_of_a_topics_name_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError):
        TopicsConfig(prefix=prefix)


def test_of_merged_layers_the_later_wins() -> None:
    assert merged({"a": 1, "b": 1}, {"b": 2}, {}) == {"a": 1, "b": 2}
