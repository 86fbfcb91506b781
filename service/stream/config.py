"""The settings of the stream: the cluster, the topics and the loop, and what may not be changed in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    field_validator,
    model_validator,
)

from service.durations import Duration
from service.errors import AnomalydError

Property = str | int | float | bool
Properties = dict[str, Property]

# Words in the names of librdkafka's properties that hold secrets, beside the passwords.
_SECRET_WORDS = ("secret", "pem", "sasl.oauthbearer.config", "sasl.jaas.config", "token")


def _without_secrets(properties: Properties) -> Properties:
    return {
        name: "**********" if any(word in name for word in _SECRET_WORDS) else value
        for name, value in properties.items()
    }


# Shown nowhere but in dumps, and there without secrets.
GivenProperties = Annotated[Properties, Field(repr=False), PlainSerializer(_without_secrets)]

# The exactly-once promise rests on these (and on their aliases); the service sets them itself.
FIXED_PROPERTIES = frozenset(
    {
        "bootstrap.servers",
        "metadata.broker.list",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "partition.assignment.strategy",
        "enable.auto.commit",
        "auto.commit.enable",
        "enable.auto.offset.store",
        "isolation.level",
        "auto.offset.reset",
        "allow.auto.create.topics",
        "transactional.id",
        "enable.idempotence",
        "acks",
        "request.required.acks",
        "partitioner",
        "max.in.flight.requests.per.connection",
        "max.in.flight",
        "message.send.max.retries",
        "retries",
        "enable.gapless.guarantee",
    }
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


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
    properties: GivenProperties = Field(default_factory=dict)
    """librdkafka properties of every client: `security.protocol`, `sasl.mechanism`, `ssl.ca.location`, ..."""
    consumer: GivenProperties = Field(default_factory=dict)
    producer: GivenProperties = Field(default_factory=dict)
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = None
    ssl_key_password: SecretStr | None = None
    ssl_key_password_file: Path | None = None

    _guarded = field_validator("properties", "consumer", "producer")(_refuse_fixed)

    @field_validator("sasl_password_file", "ssl_key_password_file")
    @classmethod
    def _can_be_read(cls, file: Path | None) -> Path | None:
        if file is not None:
            try:
                _read_secret(file)
            except AnomalydError as error:
                raise ValueError(str(error)) from None
        return file

    @model_validator(mode="after")
    def _each_secret_once(self) -> Self:
        for name in ("sasl_password", "ssl_key_password"):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"{name} and {name}_file are both given")
        return self

    def connection(self) -> Properties:
        """What any client of ours needs to reach the cluster, secrets in the clear.

        Raises:
            AnomalydError: a secret's file cannot be read any more.
        """
        connection: Properties = {"bootstrap.servers": self.bootstrap_servers, **self.properties}
        for name, secret, file in (
            ("sasl.password", self.sasl_password, self.sasl_password_file),
            ("ssl.key.password", self.ssl_key_password, self.ssl_key_password_file),
        ):
            if file is not None:
                connection[name] = _read_secret(file)
            elif secret is not None:
                connection[name] = secret.get_secret_value()
        return connection


def _read_secret(file: Path) -> str:
    try:
        content = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise AnomalydError(f"cannot read {file}: {why}") from None
    if not content:
        raise AnomalydError(f"{file} is empty")
    return content


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

    max_batch_records: int = Field(32_000, ge=1, le=100_000)
    """Most records of one transaction: more is faster under load, fewer is sooner visible."""
    max_wait: Duration = 0.005
    """How long a record waits at most for others to share its transaction."""
    start_from: str = Field("earliest", pattern="^(earliest|latest)$")
    """Where a consumer group without committed offsets begins."""


def merged(*parts: Mapping[str, Property]) -> Properties:
    """Properties of several layers, later ones winning."""
    whole: Properties = {}
    for part in parts:
        whole.update(part)
    return whole
