"""A real Apache Kafka as child processes, for the demo, `anomalyd broker`, tests and benchmarks; pip is enough.

Knows how to start, break and stop brokers; knows nothing of the topics on them.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from service.stream import broker_supervisor
from service.stream.broker_files import HOST, NodeFiles, NodePorts, open_cluster, write_node
from service.stream.java_archive import JavaArchive
from service.stream.kafka_jars import Java, LocalBrokerError, Progress, kafka_version, local_java, silent

# Below the ranges from which Linux and macOS give out ports to connecting clients: a client that tries again
# and again to reach a broker that is down can otherwise connect to itself, and take the broker's port.
PORTS = range(20000, 32000)
KAFKA = "kafka.Kafka"
FORMAT = "kafka.tools.StorageTool"
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02

# Serial is the collector that needs least memory and threads for a heap this small, and starts soonest.
JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC")


class LocalBroker:
    """One or more Kafka nodes on this machine, gone when this process is, however it ends.

    Without `data_dir` the data is temporary and deleted at the end. With `port`, node i listens on `port + i`;
    otherwise free ports are chosen. `properties` are added to each node's configuration. `listeners` names
    further listeners and their security protocol; `bootstrap("NAME")` says where they are.
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
        jvm_options: Sequence[str] = JVM_OPTIONS,
    ) -> None:
        if nodes < 1:
            raise ValueError(f"nodes must be at least 1, not {nodes}")
        self._nodes = nodes
        self._data_dir = data_dir
        self._port = port
        self._progress = progress
        self._properties = dict(properties or {})
        self._protocols = dict(listeners or {})
        self._jvm_options = tuple(jvm_options)
        self._java: Java | None = None
        self._archive: JavaArchive | None = None
        self._recording = False
        self._directory: Path | None = None
        self._ports: dict[int, NodePorts] = {}
        self._supervisor: _Supervisor | None = None

    @property
    def nodes(self) -> int:
        return self._nodes

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{HOST}:{ports.clients}" for ports in self._ports.values())

    def bootstrap(self, listener: str) -> str:
        """The addresses of one of the further `listeners`."""
        return ",".join(f"{HOST}:{ports.further[listener]}" for ports in self._ports.values())

    @property
    def java(self) -> Java:
        """The Java that runs this broker; raises before the start."""
        assert self._java is not None, "the broker was not started"
        return self._java

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
        assert self._supervisor is None, "the broker runs already"
        try:
            self._java = local_java("broker", progress=self._progress)
            self._archive = JavaArchive.of(self._java)
            self._recording = not self._archive.exists
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
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.close()

    def kill_node(self, node: int) -> None:
        """As a crash: no chance to say goodbye or to flush."""
        self._signal(node, signal.SIGKILL)

    def stop_node(self, node: int) -> None:
        """As an operator does: leadership is handed over first, where others are there to take it."""
        if self._signal(node, signal.SIGTERM) is None:
            raise LocalBrokerError(f"node {node} did not stop within {STOP_TIMEOUT_S:.0f} s")

    def start_node(self, node: int) -> None:
        """Starts a stopped or killed node again and waits until it serves."""
        assert self.exit_code(node) is not None, f"node {node} runs already"
        self._launch(node)
        self._wait_ready([node])

    def node_pid(self, node: int) -> int:
        """For faults of other kinds, such as SIGSTOP."""
        return self._running.pids[_name(node)]

    def exit_code(self, node: int) -> int | None:
        """None while the node runs."""
        return self._running.request("wait", _name(node))["exit"]  # type: ignore[no-any-return]

    def log_tail(self, node: int) -> str:
        return self._files(node).log_tail()

    @property
    def _class_archive(self) -> JavaArchive:
        assert self._archive is not None
        return self._archive

    @property
    def _class_list(self) -> Path:
        return self._files(0).directory / "classes.lst"

    @property
    def _running(self) -> "_Supervisor":
        if self._supervisor is None:
            raise LocalBrokerError("the broker does not run")
        return self._supervisor

    def _files(self, node: int) -> NodeFiles:
        return NodeFiles(self.directory / f"node-{node}")

    def _lay_out(self) -> str:
        self._ports = self._choose_ports()
        if self._data_dir is None:
            self._directory = Path(tempfile.mkdtemp(prefix="anomalyd-kafka-"))
        else:
            self._directory = self._data_dir.absolute()
        temporary = self._data_dir is None
        self._supervisor = _Supervisor(self._directory, temporary=temporary)
        cluster_id = open_cluster(self._directory, self._nodes)
        for node in range(self._nodes):
            write_node(self._files(node), node, self._ports, self._protocols, self._properties)
        return cluster_id

    def _choose_ports(self) -> dict[int, NodePorts]:
        taken: set[int] = set()

        def free() -> int:
            port = next(port for port in _shuffled_ports() if port not in taken and is_free(port))
            taken.add(port)
            return port

        if self._port is not None:
            taken.update(range(self._port, self._port + self._nodes))
            for port in sorted(taken):
                if not is_free(port):
                    raise LocalBrokerError(f"port {port} is taken on {HOST}: choose another, or none for any")
        return {
            node: NodePorts(
                clients=free() if self._port is None else self._port + node,
                controller=free(),
                further={name: free() for name in self._protocols},
            )
            for node in range(self._nodes)
        }

    def _format(self, cluster_id: str) -> None:
        new = [node for node in range(self._nodes) if not self._files(node).formatted]
        for node in new:  # at once: each is a Java of its own
            command = self._command(node, FORMAT, "format", "--cluster-id", cluster_id, "--config")
            self._running.start(f"format-{node}", command, self._files(node).log)
        for node in new:
            answer = self._running.request("wait", f"format-{node}", timeout_s=START_TIMEOUT_S)
            if answer["exit"] != 0:
                raise self._failure(node, "could not format its storage")

    def _launch(self, node: int) -> None:
        self._running.start(_name(node), self._command(node, KAFKA), self._files(node).log)

    def _command(self, node: int, main_class: str, *args: str) -> list[str]:
        directory = self._files(node).directory
        options = [
            *self._jvm_options, *(["-XX:TieredStopAtLevel=1"] if main_class == FORMAT else []),
            *self._class_options(node, main_class),
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",  # its file in /tmp would outlive a killed broker; so would unpacked libraries
            f"-Djava.io.tmpdir={directory / 'tmp'}",
            f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}",
        ]
        return self.java.command(main_class, *args, str(self._files(node).properties), options=options)

    def _class_options(self, node: int, main_class: str) -> list[str]:
        if not self._recording:
            return self._class_archive.use
        return self._class_archive.record(self._class_list) if (node, main_class) == (0, KAFKA) else []

    def _make_archive(self) -> None:
        """Behind the running broker, the first time only; if this process ends before it, the next one tries."""
        if not self._recording:
            return
        self._recording = False
        final = self._class_archive.path
        made = final.with_suffix(f".{os.getpid()}.part")
        command = self._class_archive.make(self.java, self._class_list, made)
        self._running.start("archive", command, self.directory / "archive.log", rename=(str(made), str(final)))

    def _signal(self, node: int, number: signal.Signals) -> int | None:
        answer = self._running.request("signal", _name(node), signal=number, timeout_s=STOP_TIMEOUT_S)
        return answer["exit"]  # type: ignore[no-any-return]

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
        time.sleep(POLL_S)

    def _failure(self, node: int, what: str) -> LocalBrokerError:
        return LocalBrokerError(f"Kafka's node {node} {what}; the end of its log:\n{self.log_tail(node)}")


class _Supervisor:
    """The parent's side of `broker_supervisor.py`: one request, one answer, from any thread."""

    def __init__(self, directory: Path, *, temporary: bool) -> None:
        kind = "temporary" if temporary else "kept"
        script = str(Path(broker_supervisor.__file__))
        environment = {
            name: value for name, value in os.environ.items() if "JAVA" not in name and name != "CLASSPATH"
        }
        self.pids: dict[str, int] = {}
        self._mutex = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603 - our own script, arguments as a list
            [sys.executable, "-I", "-S", script, str(os.getpid()), kind, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )

    def start(self, name: str, command: list[str], log: Path, **details: object) -> None:
        self.pids[name] = self.request("start", name, command=command, log=str(log), **details)["pid"]

    def request(self, do: str, name: str, **details: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps({"do": do, "name": name, **details}).encode() + b"\n"
        with self._mutex:
            try:
                self._process.stdin.write(line)
                self._process.stdin.flush()
                answer = self._process.stdout.readline()
            except BrokenPipeError:
                answer = b""
        if not answer:
            raise LocalBrokerError("the process that watches over the local Kafka is gone, and Kafka with it")
        return json.loads(answer)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Ends the supervisor, which ends its children and deletes what is temporary."""
        with self._mutex, self._process:  # leaving closes the pipes and waits
            pass


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _shuffled_ports() -> list[int]:
    return random.SystemRandom().sample(PORTS, len(PORTS))


def _living(admin: AdminClient) -> set[int]:
    try:
        return set(admin.list_topics(timeout=2.0).brokers)
    except KafkaException:
        return set()


def _name(node: int) -> str:
    return f"node-{node}"
