"""The service's topics: made, looked at, and refused where they are not as the guarantees need them."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from service.errors import AnomalydError, TopicsMissingError, UnansweredError
from service.stream.answers import answer
from service.stream.clients import MOST_MESSAGE_BYTES, made
from service.stream.config import KafkaConfig, TopicsConfig

ROLES = ("data_points", "detection_results", "anomalies", "dead_letters", "snapshots", "deliveries")
COMPACTED = frozenset({"snapshots", "deliveries"})

_SNAPSHOT_SEGMENT_BYTES = 64 * 1024 * 1024


def _config(role: str) -> dict[str, str]:
    config = {"cleanup.policy": "compact" if role in COMPACTED else "delete"}
    if role == "snapshots":
        # Snapshots replace each other every minute; what was replaced goes when its segment is full.
        config |= {"segment.bytes": str(_SNAPSHOT_SEGMENT_BYTES), "min.cleanable.dirty.ratio": "0.2"}
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
        UnansweredError: no broker answered in time.
    """
    try:
        known = _admin(kafka).list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise UnansweredError(
            f"no broker answers at {kafka.bootstrap_servers}: {error.args[0].str()}"
        ) from error
    found = []
    for role in ROLES:
        name = topics.name(role)
        found.append(TopicState(role, name, len(known[name].partitions) if name in known else 0))
    return found


def create(kafka: KafkaConfig, topics: TopicsConfig, timeout_s: float = 30.0) -> list[str]:
    """Make the topics that are missing; their names. What is there already is left as it is.

    Where the input is there, all get as many partitions; so do snapshots that had fewer.

    Raises:
        AnomalydError: the cluster refused one; the message says which and why.
    """
    found = {state.role: state for state in states(kafka, topics, timeout_s)}
    missing = [state for state in found.values() if not state.partitions]
    partitions = found["data_points"].partitions or topics.partitions
    if 0 < found["snapshots"].partitions < partitions:
        _grow(kafka, found["snapshots"].name, partitions, timeout_s)
    wanted = [
        NewTopic(
            state.name,
            num_partitions=1 if state.role == "deliveries" else partitions,
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
                answer(future, timeout_s, f"topic {name!r} could not be made")
            except AnomalydError as error:
                if not _was_there(error):
                    raise
            else:
                made.append(name)
    return made


def _was_there(error: AnomalydError) -> bool:
    cause = error.__cause__
    return isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS


def _grow(kafka: KafkaConfig, topic: str, partitions: int, timeout_s: float) -> None:
    admin = _admin(kafka)
    grown = admin.create_partitions([NewPartitions(topic, partitions)], operation_timeout=timeout_s)
    answer(grown[topic], timeout_s, f"topic {topic!r} could not get partitions")


def verify(kafka: KafkaConfig, topics: TopicsConfig, timeout_s: float = 10.0) -> dict[str, int]:
    """Partitions of each topic by role.

    Raises:
        TopicsMissingError: one is missing or too small; the message names the command that mends it.
        UnansweredError: no broker answered in time.
    """
    found = states(kafka, topics, timeout_s)
    if missing := [state.name for state in found if not state.partitions]:
        raise TopicsMissingError(
            f"topics missing on {kafka.bootstrap_servers}: {', '.join(missing)}; "
            "make them with: anomalyd topics create"
        )
    partitions = {state.role: state.partitions for state in found}
    if partitions["snapshots"] < partitions["data_points"]:
        raise TopicsMissingError(
            f"topic {topics.name('snapshots')!r} has {partitions['snapshots']} partitions, the input "
            f"{partitions['data_points']}; add them with: anomalyd topics create"
        )
    return partitions


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """Tells a topic from one of the same name that was made after it was deleted."""

    id: str
    partitions: int


def identity(kafka: KafkaConfig, topic: str, timeout_s: float = 10.0) -> TopicIdentity:
    """Which topic this name is now.

    Raises:
        AnomalydError: the topic is missing, or the cluster does not say.
    """
    admin = _admin(kafka)
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)
    found = answer(described[topic], timeout_s, f"topic {topic!r} cannot be described")
    bits = (found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits())
    return TopicIdentity("".join(f"{part & 0xFFFFFFFFFFFFFFFF:016x}" for part in bits), len(found.partitions))


def largest_message_bytes(kafka: KafkaConfig, topic: str, timeout_s: float = 10.0) -> int:
    """The largest message that the topic takes from us.

    Raises:
        AnomalydError: the cluster does not say.
    """
    return min(int(_setting(kafka, topic, "max.message.bytes", timeout_s)), MOST_MESSAGE_BYTES)


def is_compacted(kafka: KafkaConfig, topic: str, timeout_s: float = 10.0) -> bool:
    """Whether the topic's records may vanish one by one.

    Raises:
        AnomalydError: the cluster does not say.
    """
    return "compact" in _setting(kafka, topic, "cleanup.policy", timeout_s)


def _setting(kafka: KafkaConfig, topic: str, name: str, timeout_s: float) -> str:
    admin = _admin(kafka)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    (future,) = admin.describe_configs([resource], request_timeout=timeout_s).values()
    value: str = answer(future, timeout_s, f"topic {topic!r} cannot be described")[name].value
    return value
