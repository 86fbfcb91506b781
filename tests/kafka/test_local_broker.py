"""The local broker does what its docstrings promise; also how it ends when nobody is left to end it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from service.stream.kafka_jars import LocalBrokerError, local_java
from service.stream.local_broker import LocalBroker
from tests.kafka.conftest import RunningBroker

QUIET = {"log_level": 0}


def create_topic(bootstrap_servers: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, **QUIET})
    admin.create_topics([NewTopic(topic, 1)])[topic].result()


def commit_one(bootstrap_servers: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "transactional.id": topic, **QUIET})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value)
    producer.commit_transaction(30)


def read_one(bootstrap_servers: str, topic: str) -> bytes | None:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": topic,
            "isolation.level": "read_committed",
            **QUIET,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        [message] = consumer.consume(1, timeout=30)
        assert message.error() is None
        return message.value()
    finally:
        consumer.close()


def test_serves_transactions(broker: RunningBroker, topic_prefix: str) -> None:
    topic = topic_prefix + "points"
    create_topic(broker.bootstrap_servers, topic)

    commit_one(broker.bootstrap_servers, topic, b"committed")

    assert read_one(broker.bootstrap_servers, topic) == b"committed"


def test_kafkas_own_tools_run_in_the_same_java(broker: RunningBroker, topic_prefix: str) -> None:
    topic = topic_prefix + "points"
    create_topic(broker.bootstrap_servers, topic)
    java = local_java("broker", "tools")

    listed = subprocess.run(
        java.command(
            "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.bootstrap_servers, "--list"
        ),
        capture_output=True,
        check=True,
        text=True,
    )

    assert topic in listed.stdout.split()


PARENT = """
import json, sys
from service.stream.local_broker import LocalBroker
with LocalBroker() as broker:
    print(json.dumps([broker.node_pid(0), str(broker.directory)]), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a broker of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def test_dies_with_a_killed_parent_and_takes_its_data_along(parent: subprocess.Popen[bytes]) -> None:
    assert parent.stdout is not None
    pid, directory = json.loads(parent.stdout.readline())
    java = psutil.Process(pid)
    supervisor = java.parent()
    assert supervisor is not None
    assert Path(directory).exists()

    parent.kill()

    _, alive = psutil.wait_procs([supervisor, java], timeout=10)
    assert alive == []
    assert not Path(directory).exists()


def test_three_nodes_go_on_when_one_is_killed_and_take_it_back(topic_prefix: str) -> None:
    topic = topic_prefix + "points"
    with LocalBroker(nodes=3) as broker:
        create_topic(broker.bootstrap_servers, topic)

        broker.kill_node(1)

        assert broker.exit_code(1) == -signal.SIGKILL
        commit_one(broker.bootstrap_servers, topic, b"meanwhile")
        broker.start_node(1)
        assert broker.exit_code(1) is None
        assert read_one(broker.bootstrap_servers, topic) == b"meanwhile"


def test_kept_data_is_there_again_and_opens_only_as_what_it_was(tmp_path: Path, topic_prefix: str) -> None:
    topic = topic_prefix + "points"
    with LocalBroker(data_dir=tmp_path / "kafka") as broker:
        create_topic(broker.bootstrap_servers, topic)
        commit_one(broker.bootstrap_servers, topic, b"kept")

    with LocalBroker(data_dir=tmp_path / "kafka") as broker:
        assert read_one(broker.bootstrap_servers, topic) == b"kept"
    with pytest.raises(LocalBrokerError, match="holds a Kafka of 1 node"):
        LocalBroker(data_dir=tmp_path / "kafka", nodes=3).start()


def test_a_directory_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()

    with pytest.raises(LocalBrokerError, match="not empty"):
        LocalBroker(data_dir=tmp_path).start()

    assert [each.name for each in tmp_path.iterdir()] == ["precious"]


@pytest.fixture(scope="module")
def own() -> Iterator[LocalBroker]:
    with LocalBroker(listeners={"SECOND": "PLAINTEXT"}) as broker:
        yield broker


def test_a_further_listener_has_its_own_address(own: LocalBroker, topic_prefix: str) -> None:
    address = own.bootstrap("SECOND")

    create_topic(address, topic_prefix)

    assert address != own.bootstrap_servers


def test_a_terminals_ctrl_c_does_not_reach_it(own: LocalBroker) -> None:
    assert os.getsid(own.node_pid(0)) != os.getsid(0)


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LocalBrokerError, match=f"port {port} is taken"):
            LocalBroker(port=port).start()


def test_a_failed_start_shows_the_brokers_log_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with pytest.raises(LocalBrokerError, match=r"num\.io\.threads"):
        LocalBroker(properties={"num.io.threads": "-1"}).start()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_address_and_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from service.commands.broker import app; app()"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        address = command.stdout.readline().strip()
        create_topic(address, "points")
        assert list(tmp_path.iterdir()) != []

        command.send_signal(number)

        assert command.wait(timeout=20) == 0
        assert command.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []
