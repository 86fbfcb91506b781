"""The settings of the stream: the cluster, the topics and the loop, and what may not be changed in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from service.durations import Duration

Property = str | int | float | bool
Properties = dict[str, Property]

# The exactly-once promise rests on these; the service sets them itself.
FIXED_PROPERTIES = frozenset(
    {
        "bootstrap.servers",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "partition.assignment.strategy",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "isolation.level",
        "allow.auto.create.topics",
        "transactional.id",
        "enable.idempotence",
        "acks",
        "partitioner",
        "max.in.flight.requests.per.connection",
        "message.send.max.retries",
        "retries",
        "enable.gapless.guarantee",
    }
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _refuse_fixed(properties: Properties) -> Properties:
    if refused := sorted(FIXED_PROPERTIES & set(properties)):
        raise ValueError(f"{', '.join(refused)}: set by the service, its guarantees rest on it")
    if secret := sorted(name for name in properties if "password" in name):
        raise ValueError(
            f"{', '.join(secret)}: give secrets as kafka.sasl_password or kafka.ssl_key_password"
        )
    return properties


class KafkaConfig(_Section):
    """The cluster, and how to log in there."""

    bootstrap_servers: str = Field("localhost:9092", min_length=1)
    group_id: str = Field("anomalyd", min_length=1, max_length=200)
    properties: Properties = Field(default_factory=dict)
    """librdkafka properties of every client: `security.protocol`, `sasl.mechanism`, `ssl.ca.location`, ..."""
    consumer: Properties = Field(default_factory=dict)
    producer: Properties = Field(default_factory=dict)
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = None
    ssl_key_password: SecretStr | None = None
    ssl_key_password_file: Path | None = None

    _guarded = field_validator("properties", "consumer", "producer")(_refuse_fixed)

    def connection(self) -> Properties:
        """What any client of ours needs to reach the cluster, secrets in the clear."""
        connection: Properties = {"bootstrap.servers": self.bootstrap_servers, **self.properties}
        for name, secret, file in (
            ("sasl.password", self.sasl_password, self.sasl_password_file),
            ("ssl.key.password", self.ssl_key_password, self.ssl_key_password_file),
        ):
            if file is not None:
                connection[name] = file.read_text(encoding="utf-8").strip()
            elif secret is not None:
                connection[name] = secret.get_secret_value()
        return connection


class TopicsConfig(_Section):
    """Names of the topics; all start with `prefix`."""

    prefix: str = Field("", max_length=100, pattern=r"^[A-Za-z0-9._-]*$")
    data_points: str = "data-points"
    detection_results: str = "detection-results"
    anomalies: str = "anomalies"
    dead_letters: str = "dead-letters"
    snapshots: str = "snapshots"
    deliveries: str = "deliveries"
    partitions: int = Field(4, ge=1, le=10_000)
    """Partitions of topics that `anomalyd topics create` makes."""
    replication_factor: int = Field(-1, ge=-1, le=32)
    """-1 takes the cluster's default."""

    def name(self, role: str) -> str:
        """The full name of the topic with this role, `data_points` and so on."""
        return f"{self.prefix}{getattr(self, role)}"


class StreamConfig(_Section):
    """How the loop gathers records into transactions."""

    max_batch_records: int = Field(10_000, ge=1, le=100_000)
    """Most records of one transaction: more is faster under load, fewer is sooner visible."""
    max_wait: Duration = 0.02
    """How long a record waits for others to share its transaction; most of the latency when idle."""
    start_from: str = Field("earliest", pattern="^(earliest|latest)$")
    """Where a consumer group without committed offsets begins."""


def merged(*parts: Mapping[str, Property]) -> Properties:
    """Properties of several layers, later ones winning."""
    whole: Properties = {}
    for part in parts:
        whole.update(part)
    return whole
