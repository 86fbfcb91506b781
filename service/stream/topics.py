"""The service's topics: made, looked at, and refused where they are not as the guarantees need them."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from service.errors import AnomalydError, TopicsMissingError
from service.stream.clients import MOST_MESSAGE_BYTES, made
from service.stream.config import KafkaConfig, TopicsConfig

ROLES = ("data_points", "detection_results", "anomalies", "dead_letters", "snapshots", "deliveries")
COMPACTED = frozenset({"snapshots", "deliveries"})


def _config(role: str) -> dict[str, str]:
    config = {"cleanup.policy": "compact" if role in COMPACTED else "delete"}
    if role == "dead_letters":
        config["max.message.bytes"] = str(MOST_MESSAGE_BYTES)
    return config


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as it stands: `partitions` is 0 where it is missing."""

    role: str
    name: str
    partitions: int


def _admin(kafka: KafkaConfig) -> AdminClient:
    return made(AdminClient, kafka.connection())


def states(kafka: KafkaConfig, topics: TopicsConfig, timeout_s: float = 10.0) -> list[TopicState]:
    """Every topic of the service as the cluster has it.

    Raises:
        AnomalydError: no broker answered in time.
    """
    try:
        known = _admin(kafka).list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise AnomalydError(
            f"no broker answers at {kafka.bootstrap_servers}: {error.args[0].str()}"
        ) from error
    found = []
    for role in ROLES:
        name = topics.name(role)
        found.append(TopicState(role, name, len(known[name].partitions) if name in known else 0))
    return found


def create(kafka: KafkaConfig, topics: TopicsConfig, timeout_s: float = 30.0) -> list[str]:
    """Make the topics that are missing; their names. What is there already is left as it is.

    Raises:
        AnomalydError: the cluster refused one; the message says which and why.
    """
    missing = [state for state in states(kafka, topics, timeout_s) if not state.partitions]
    wanted = [
        NewTopic(
            state.name,
            num_partitions=1 if state.role == "deliveries" else topics.partitions,
            replication_factor=topics.replication_factor,
            config=_config(state.role),
        )
        for state in missing
    ]
    made = []
    if wanted:
        admin = _admin(kafka)  # held until all is done: a client that is collected fails its requests
        for name, future in admin.create_topics(wanted, operation_timeout=timeout_s).items():
            try:
                future.result(timeout_s)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise AnomalydError(f"topic {name!r} could not be made: {error.args[0].str()}") from error
            else:
                made.append(name)
    return made


def verify(kafka: KafkaConfig, topics: TopicsConfig, timeout_s: float = 10.0) -> dict[str, int]:
    """Partitions of each topic by role.

    Raises:
        TopicsMissingError: one is missing; the message names the command that makes it.
        AnomalydError: no broker answered in time.
    """
    found = states(kafka, topics, timeout_s)
    if missing := [state.name for state in found if not state.partitions]:
        raise TopicsMissingError(
            f"topics missing on {kafka.bootstrap_servers}: {', '.join(missing)}; "
            "make them with: anomalyd topics create"
        )
    return {state.role: state.partitions for state in found}


def largest_message_bytes(kafka: KafkaConfig, topic: str, timeout_s: float = 10.0) -> int:
    """The largest message that the topic takes from us.

    Raises:
        AnomalydError: the cluster does not say.
    """
    admin = _admin(kafka)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        (future,) = admin.describe_configs([resource], request_timeout=timeout_s).values()
        config = future.result(timeout_s)
    except KafkaException as error:
        raise AnomalydError(f"topic {topic!r} cannot be described: {error.args[0].str()}") from error
    return min(int(config["max.message.bytes"].value), MOST_MESSAGE_BYTES)
