"""A real Apache Kafka as child processes: for the demo, `anomalyd broker`, tests and benchmarks.

Knows how to start, break and stop brokers; knows nothing of the topics on them. Needs the packages of
`anomalyd[local]`, and neither Docker nor a Java of the system.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from service.stream.broker_files import NodeFiles, open_cluster, write_node
from service.stream.broker_ports import HOST, NodePorts, accepts, choose_ports
from service.stream.broker_supervisor import Supervised, SupervisorGoneError
from service.stream.java_archive import JavaArchive
from service.stream.kafka_jars import (
    Java,
    LocalBrokerError,
    Progress,
    kafka_version,
    local_java,
    silent,
)

KAFKA = "kafka.Kafka"
FORMAT = "kafka.tools.StorageTool"
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02

# Of Java's collectors the parallel one stops the broker for 5 ms every other second. The serial one stops it
# for 30, a third of what the slowest records of a steady stream waited. Throughput is the same with each.
JVM_OPTIONS = ("-Xmx512m", "-XX:+UseParallelGC")

# Without the optimising compiler a start takes a third less processor time. Several nodes on one machine are
# there to fail and come back; what is there for speed has one node.
FAST_COMPILER = "-XX:TieredStopAtLevel=1"


class LocalBroker:
    """One or more Kafka nodes on this machine, gone when this process is, however it ends.

    Node i is Kafka's node.id i, from 0.

    Args:
        nodes: three replicate everything three times and go on without one of them.
        data_dir: kept, and opened again if it holds a cluster of as many nodes. None = a temporary
            directory, deleted at the end.
        port: node i listens on `port + i`. None = any free ones.
        progress: told what is going on, in lines for a person.
        properties: added to every node's configuration.
        listeners: further listeners by name, each with its security protocol; see `bootstrap`.
        advertised: the port that each node tells its clients, by listener and node, where it is not its own:
            that of something in between.
        jvm_options: heap, collector and compiler. None = `JVM_OPTIONS`, made for a quick start where there
            are several nodes.
    """

    def __init__(
        self,
        *,
        nodes: int = 1,
        data_dir: Path | None = None,
        port: int | None = None,
        progress: Progress = silent,
        properties: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
        advertised: Mapping[str, Sequence[int]] | None = None,
        jvm_options: Sequence[str] | None = None,
    ) -> None:
        if nodes < 1:
            raise ValueError(f"nodes must be at least 1, not {nodes}")
        self._nodes = nodes
        self._data_dir = data_dir
        self._port = port
        self._progress = progress
        self._properties = dict(properties or {})
        self._listeners = dict(listeners or {})
        self._advertised = dict(advertised or {})
        default = JVM_OPTIONS if nodes == 1 else (*JVM_OPTIONS, FAST_COMPILER)
        self._jvm_options = default if jvm_options is None else tuple(jvm_options)
        self._ports: dict[int, NodePorts] = {}
        self._pids: dict[int, int] = {}
        self._archive: JavaArchive | None = None
        self._recording = False
        self._directory: Path | None = None
        self._supervised: Supervised | None = None

    @property
    def nodes(self) -> int:
        return self._nodes

    @property
    def bootstrap_servers(self) -> str:
        assert self._ports, "the broker was not started"
        return ",".join(f"{HOST}:{ports.clients}" for ports in self._ports.values())

    def bootstrap(self, listener: str) -> str:
        """The addresses of one of the further `listeners`."""
        return ",".join(f"{HOST}:{ports.further[listener]}" for ports in self._ports.values())

    @property
    def java(self) -> Java:
        """The Java that runs this broker; see `local_java` for one with more of Kafka's jars."""
        return self._class_archive.java

    @property
    def directory(self) -> Path:
        assert self._directory is not None, "the broker was not started"
        return self._directory

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """1. fetch Kafka 2. lay out files 3. format new nodes 4. start them 5. wait until they serve."""
        assert self._supervised is None, "the broker runs already"
        try:
            self._fetch()
            cluster_id = self._lay_out()
            self._progress(f"Starting Apache Kafka {kafka_version()}")
            self._format(cluster_id)
            for node in range(self._nodes):
                self._launch(node)
            self._wait_ready(range(self._nodes))
            self._make_archive()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops every node; temporary data is gone when this returns."""
        supervised, self._supervised = self._supervised, None
        if supervised is not None:
            supervised.close()

    def kill_node(self, node: int) -> None:
        """As a crash: no chance to say goodbye or to flush."""
        self._running.signal(_name(node), signal.SIGKILL, STOP_TIMEOUT_S)

    def stop_node(self, node: int) -> None:
        """As an operator does: leadership is handed over first, where others are there to take it."""
        if self._running.signal(_name(node), signal.SIGTERM, STOP_TIMEOUT_S) is None:
            raise LocalBrokerError(f"Kafka's node {node} did not stop within {STOP_TIMEOUT_S:.0f} s")

    def start_node(self, node: int, *, wait: bool = True) -> None:
        """Starts a stopped or killed node again; by default returns when it serves."""
        assert self.exit_code(node) is not None, f"node {node} runs already"
        self._launch(node)
        if wait:
            self._wait_ready([node])

    def node_pid(self, node: int) -> int:
        """For faults of other kinds, such as SIGSTOP."""
        return self._pids[node]

    def exit_code(self, node: int) -> int | None:
        """None while the node runs."""
        try:
            return self._running.wait(_name(node))
        except SupervisorGoneError:
            return -signal.SIGKILL

    def log_tail(self, node: int) -> str:
        return self._files(node).log_tail()

    @property
    def _running(self) -> Supervised:
        assert self._supervised is not None, "the broker does not run"
        return self._supervised

    @property
    def _class_archive(self) -> JavaArchive:
        assert self._archive is not None, "the broker was not started"
        return self._archive

    @property
    def _class_list(self) -> Path:
        return self._files(0).directory / "classes.lst"

    def _files(self, node: int) -> NodeFiles:
        return NodeFiles(self.directory / f"node-{node}")

    def _fetch(self) -> None:
        self._archive = JavaArchive.of(local_java("broker", progress=self._progress))
        self._recording = not self._archive.path.exists()

    def _lay_out(self) -> str:
        self._ports = choose_ports(self._nodes, self._port, self._listeners)
        temporary = self._data_dir is None
        if self._data_dir is None:
            self._directory = Path(tempfile.mkdtemp(prefix="anomalyd-kafka-"))
        else:
            self._directory = self._data_dir.absolute()
        self._supervised = Supervised(self._directory, temporary=temporary)
        cluster_id = open_cluster(self._directory, self._nodes)
        for node in range(self._nodes):
            write_node(
                self._files(node), node, self._ports, self._listeners, self._properties, self._advertised
            )
        return cluster_id

    def _format(self, cluster_id: str) -> None:
        new = [node for node in range(self._nodes) if not self._files(node).formatted]
        for node in new:  # at once: each is a Java of its own
            command = self._command(
                node,
                [*self._class_archive.use, FAST_COMPILER],
                FORMAT,
                *("format", "--cluster-id", cluster_id, "--config"),
            )
            self._running.start(f"format-{node}", command, self._files(node).log)
        for node in new:
            if self._running.wait(f"format-{node}", START_TIMEOUT_S) != 0:
                raise self._failure(node, "could not format its storage")

    def _launch(self, node: int) -> None:
        record = self._recording and node == 0
        classes = self._class_archive.record(self._class_list) if record else self._class_archive.use
        command = self._command(node, classes, KAFKA)
        self._pids[node] = self._running.start(_name(node), command, self._files(node).log)

    def _command(self, node: int, java_options: Sequence[str], main_class: str, *args: str) -> list[str]:
        files = self._files(node)
        options = [
            *self._jvm_options,
            *java_options,
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",  # its file in /tmp would outlive a killed broker; so would unpacked libraries
            f"-Djava.io.tmpdir={files.directory / 'tmp'}",
            f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}",
        ]
        return self.java.command(main_class, *args, str(files.properties), options=options)

    def _make_archive(self) -> None:
        """Behind the running broker, the first time only; if this process ends before it, the next tries."""
        if self._recording:
            self._recording = False
            final = self._class_archive.path
            made = final.with_suffix(f".{os.getpid()}.part")
            command = self._class_archive.make(self._class_list, made)
            self._running.make("archive", command, self.directory / "archive.log", made, final)

    def _wait_ready(self, nodes: Sequence[int]) -> None:
        """Returns when every one of these nodes is in the cluster's own list of living brokers."""
        deadline = time.monotonic() + START_TIMEOUT_S
        for node in nodes:
            while not accepts(self._ports[node].clients):
                self._check(node, deadline)
        addresses = ",".join(f"{HOST}:{self._ports[node].clients}" for node in nodes)
        admin = AdminClient({"bootstrap.servers": addresses, "log_level": 0})
        while not set(nodes) <= _living(admin):
            for node in nodes:
                self._check(node, deadline)

    def _check(self, node: int, deadline: float) -> None:
        if self.exit_code(node) is not None:
            raise self._failure(node, "ended while it started")
        if time.monotonic() > deadline:
            raise self._failure(node, f"was not ready after {START_TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)  # a starting broker tells nobody when it is ready: only asking does

    def _failure(self, node: int, what: str) -> LocalBrokerError:
        return LocalBrokerError(f"Kafka's node {node} {what}; the end of its log:\n{self.log_tail(node)}")


def _living(admin: AdminClient) -> set[int]:
    try:
        return set(admin.list_topics(timeout=2.0).brokers)
    except KafkaException:
        return set()


def _name(node: int) -> str:
    return f"node-{node}"
