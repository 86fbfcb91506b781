"""What a local Kafka reads from disk: directories, properties and logging, for one node or several."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.stream.broker_ports import HOST, NodePorts
from service.stream.kafka_jars import LocalBrokerError

DESCRIPTION = "cluster.json"

LOG4J2 = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %-5p %m (%c{1})%n%ex
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """One node's directory."""

    directory: Path

    @property
    def properties(self) -> Path:
        return self.directory / "server.properties"

    @property
    def log(self) -> Path:
        return self.directory / "broker.log"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def formatted(self) -> bool:
        return (self.data / "meta.properties").exists()

    def log_tail(self, lines: int = 15) -> str:
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def open_cluster(directory: Path, nodes: int) -> str:
    """The id of the cluster that lives in this directory, made there if the directory is empty."""
    directory.mkdir(parents=True, exist_ok=True)
    description = directory / DESCRIPTION
    if description.exists():
        cluster = json.loads(description.read_text(encoding="utf-8"))
        if cluster["nodes"] != nodes:
            raise LocalBrokerError(f"{directory} holds a Kafka of {cluster['nodes']} node(s), not of {nodes}")
        return str(cluster["id"])
    if any(directory.iterdir()):
        raise LocalBrokerError(f"{directory} is not empty and holds no local Kafka: name another directory")
    cluster_id = _new_cluster_id()
    description.write_text(json.dumps({"id": cluster_id, "nodes": nodes}), encoding="utf-8")
    (directory / "log4j2.properties").write_text(LOG4J2, encoding="utf-8")
    return cluster_id


def write_node(
    files: NodeFiles,
    node: int,
    ports: Mapping[int, NodePorts],
    protocols: Mapping[str, str],
    overrides: Mapping[str, str],
    advertised: Mapping[str, Sequence[int]],
) -> None:
    files.directory.mkdir(exist_ok=True)
    (files.directory / "tmp").mkdir(exist_ok=True)
    properties = node_properties(node, ports, protocols, advertised) | {
        "log.dirs": str(files.data),
        **overrides,
    }
    # JSON's string escapes are those of a properties file.
    lines = [f"{name}={json.dumps(value)[1:-1]}\n" for name, value in properties.items()]
    files.properties.write_text("".join(lines), encoding="ascii")


def node_properties(
    node: int,
    ports: Mapping[int, NodePorts],
    protocols: Mapping[str, str],
    advertised: Mapping[str, Sequence[int]],
) -> dict[str, str]:
    """The configuration of one combined broker and controller.

    Production's behaviour, except where one machine calls for less: fewer internal partitions (each is
    files and a second of start), a compaction buffer of 16 MB (Kafka takes 128 MB of heap, more than all the
    rest of it), no wait for further members of a new group.
    """
    replicas = min(3, len(ports))
    in_sync = max(1, replicas - 1)
    own = ports[node]
    clients = {"PLAINTEXT": own.clients, **own.further}
    elsewhere = {name: by_node[node] for name, by_node in advertised.items()}
    return {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "listeners": _addresses({**clients, "CONTROLLER": own.controller}),
        "advertised.listeners": _addresses(clients | elsewhere),
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocol}"
            for name, protocol in {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **protocols}.items()
        ),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.quorum.voters": ",".join(
            f"{other}@{HOST}:{each.controller}" for other, each in ports.items()
        ),
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.replication.factor": str(replicas),
        "offsets.topic.num.partitions": str(max(4, 2 * len(ports))),
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(in_sync),
        "transaction.state.log.num.partitions": str(max(4, 2 * len(ports))),
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": str(in_sync),
        "group.initial.rebalance.delay.ms": "0",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        # A dead broker is noticed in 4 s instead of 9.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "1000",
    }


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())


def _new_cluster_id() -> str:
    """A UUID as Kafka writes it; a leading dash would look like an option to its tools."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
