import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from service.stream.kafka_jars import LocalBrokerError, kafka_jars, local_java
from service.stream.local_broker import LocalBroker
from tests.kafka.conftest import RunningBroker


def create_topic(bootstrap_servers: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1)])[topic].result()


def commit_one(bootstrap_servers: str, topic: str, value: bytes, **producer: object) -> None:
    transaction = Producer(
        {"bootstrap.servers": bootstrap_servers, "transactional.id": topic, "log_level": 0, **producer}
    )
    transaction.init_transactions(30)
    transaction.begin_transaction()
    transaction.produce(topic, value)
    transaction.commit_transaction(30)


def read_one(bootstrap_servers: str, topic: str) -> bytes | None:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": topic,
            "isolation.level": "read_committed",
            "log_level": 0,
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


PARENT = """
import json, sys
from service.stream.local_broker import LocalBroker
with LocalBroker() as broker:
    print(json.dumps([broker.node_pid(0), str(broker.directory)]), flush=True)
    sys.stdin.read()
"""


def test_dies_with_a_killed_parent_and_takes_its_data_along() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid, directory = json.loads(parent.stdout.readline())
        java = psutil.Process(pid)
        supervisor = java.parent()
        assert supervisor is not None
        assert Path(directory).exists()

        parent.send_signal(signal.SIGKILL)

        psutil.wait_procs([supervisor], timeout=10)
        assert not supervisor.is_running()
        assert not java.is_running()
        assert not Path(directory).exists()


def test_three_nodes_go_on_when_one_is_killed_and_take_it_back(topic_prefix: str) -> None:
    topic = topic_prefix + "points"
    with LocalBroker(nodes=3) as broker:
        create_topic(broker.bootstrap_servers, topic)
        commit_one(broker.bootstrap_servers, topic, b"before")

        broker.kill_node(1)

        assert broker.exit_code(1) == -signal.SIGKILL
        commit_one(broker.bootstrap_servers, topic, b"after")
        assert read_one(broker.bootstrap_servers, topic) == b"before"
        broker.start_node(1)
        assert broker.exit_code(1) is None


def test_kept_data_is_there_again(tmp_path: Path, topic_prefix: str) -> None:
    topic = topic_prefix + "points"
    with LocalBroker(data_dir=tmp_path / "kafka") as broker:
        create_topic(broker.bootstrap_servers, topic)
        commit_one(broker.bootstrap_servers, topic, b"kept")

    with LocalBroker(data_dir=tmp_path / "kafka") as broker:
        assert read_one(broker.bootstrap_servers, topic) == b"kept"


def test_a_directory_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()

    with pytest.raises(LocalBrokerError, match="not empty"):
        LocalBroker(data_dir=tmp_path).start()

    assert (tmp_path / "precious").exists()


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LocalBrokerError, match=f"port {port} is taken"):
            LocalBroker(port=port).start()


def test_a_failed_start_shows_the_brokers_log_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with pytest.raises(LocalBrokerError, match="num.io.threads"):
        LocalBroker(properties={"num.io.threads": "-1"}).start()

    assert list(tmp_path.iterdir()) == []
