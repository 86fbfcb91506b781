"""The alerting on a real Kafka: workers, groups, deliveries, restarts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from service.alerting.config import AlertingConfig
from service.alerting.deliveries import Delivery
from service.alerting.worker import ChannelWorker
from service.clock import SystemClock
from service.metrics import Metrics
from service.stream.alert_topics import KafkaDeliveryLog, build_workers
from service.wire.timestamps import format_rfc3339
from tests.alerting.anomalies import record
from tests.alerting.channels.servers import Answer, HttpServer
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import wait_for

pytestmark = pytest.mark.kafka

_PATIENCE_S = 60.0
_STARTING = (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)


@dataclass(slots=True)
class Cluster:
    """The two topics of one test."""

    bootstrap: str
    prefix: str

    @property
    def kafka(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.bootstrap}

    @property
    def anomalies(self) -> str:
        return f"{self.prefix}anomalies"

    @property
    def deliveries(self) -> str:
        return f"{self.prefix}deliveries"

    def create(self) -> None:
        topics = [
            NewTopic(self.anomalies, num_partitions=2),
            NewTopic(self.deliveries, num_partitions=1, config={"cleanup.policy": "compact"}),
        ]
        admin = AdminClient(self.kafka)
        for future in admin.create_topics(topics).values():
            future.result(30)

    def publish(self, *records: dict[str, Any], transactional: bool = False, abort: bool = False) -> None:
        settings = {"transactional.id": f"{self.prefix}tx"} if transactional else {}
        producer = Producer({**self.kafka, "partitioner": "murmur2_random", **settings})
        if transactional:
            producer.init_transactions(30)
            producer.begin_transaction()
        for item in records:
            producer.produce(self.anomalies, json.dumps(item).encode(), key=item["sourceId"])
        assert producer.flush(30) == 0
        if transactional:
            (producer.abort_transaction if abort else producer.commit_transaction)(30)

    def delivered(self) -> list[Delivery]:
        """Every record in the deliveries topic."""
        log = KafkaDeliveryLog(self.kafka, self.deliveries, f"{self.prefix}test")
        log.mark_end()
        found: list[Delivery] = []
        while (records := log.read_back(1_000, 0.2)) is not None:
            found.extend(Delivery.decode(value) for _, value in records)
        log.close()
        return found

    def committed(self, group: str) -> int:
        """Records of anomalies that the group is done with."""
        consumer = Consumer({**self.kafka, "group.id": group})
        partitions = [TopicPartition(self.anomalies, partition) for partition in range(2)]
        try:
            offsets = [found.offset for found in consumer.committed(partitions, 30)]
        except KafkaException as error:
            # A broker that has just started may still be loading its coordinators.
            if error.args[0].code() not in _STARTING:
                raise
            return 0
        finally:
            consumer.close()
        return sum(max(0, offset) for offset in offsets)

    def workers(self, *urls: str, **members: Any) -> list[ChannelWorker]:
        channels = {
            f"hook-{i}": {"type": "webhook", "url": url, "allow_private": True} for i, url in enumerate(urls)
        }
        return build_workers(
            AlertingConfig.model_validate({"channels": channels, **members}),
            anomalies=self.anomalies,
            deliveries=self.deliveries,
            group_id=self.prefix,
            kafka=self.kafka,
            metrics=Metrics(),
            clock=SystemClock(),
        )

    def group(self, channel: str) -> str:
        return f"{self.prefix}-alerts-{channel}"


@pytest.fixture
def cluster(broker: RunningBroker, topic_prefix: str) -> Cluster:
    cluster = Cluster(broker.bootstrap_servers, topic_prefix)
    cluster.create()
    return cluster


@contextmanager
def running(workers: list[ChannelWorker]) -> Iterator[list[ChannelWorker]]:
    for worker in workers:
        worker.start()
    try:
        yield workers
    finally:
        for worker in workers:
            worker.stop(deadline_s=20)
        left = [worker.join() for worker in workers]
    assert all(left)


def incident(number: int, **members: Any) -> dict[str, Any]:
    return record(f"a{number}", at=time.time(), sourceId=f"pump-{number}", **members)


def ids(server: HttpServer) -> list[str]:
    return [request.headers["idempotency-key"] for request in server.requests]


def test_anomalies_are_sent_recorded_and_committed(cluster: Cluster) -> None:
    cluster.publish(*(incident(number) for number in range(20)), transactional=True)
    with HttpServer() as server:
        with running(cluster.workers(server.url)):
            # 20 records, and a transaction's marker in each of the partitions that it touched.
            wait_for(lambda: cluster.committed(cluster.group("hook-0")) >= 20)
        assert sorted(ids(server)) == sorted(f"a{number}" for number in range(20))
    assert {(found.key, found.outcome) for found in cluster.delivered()} == {
        (f"hook-0/a{number}", "sent") for number in range(20)
    }


def test_an_aborted_transaction_pages_nobody(cluster: Cluster) -> None:
    cluster.publish(incident(1), transactional=True, abort=True)
    cluster.publish(incident(2), transactional=True)
    with HttpServer() as server:
        with running(cluster.workers(server.url)):
            wait_for(lambda: bool(server.requests))
        assert ids(server) == ["a2"]


def test_a_restarted_worker_sends_nothing_twice_and_still_knows_what_is_a_duplicate(cluster: Cluster) -> None:
    at = time.time()
    cluster.publish(record("a1", at=at))
    with HttpServer() as server:
        with running(cluster.workers(server.url)):
            wait_for(lambda: cluster.committed(cluster.group("hook-0")) == 1)
        _rewind(cluster, cluster.group("hook-0"))
        cluster.publish(record("a2", at=at + 10), record("a3", at=at + 400))
        with running(cluster.workers(server.url)):
            wait_for(lambda: cluster.committed(cluster.group("hook-0")) == 3)
        assert ids(server) == ["a1", "a3"]
    assert [(found.alert_id, found.outcome) for found in cluster.delivered()] == [
        ("a1", "sent"),
        ("a2", "suppressed"),
        ("a3", "sent"),
    ]


_CHILD = """
import json, sys
from tests.kafka.test_alerting import Cluster
bootstrap, prefix, url = json.loads(sys.argv[1])
worker, = Cluster(bootstrap, prefix).workers(url)
worker.start()
worker.join()
"""


def test_a_killed_worker_loses_nothing_and_repeats_at_most_the_alert_in_flight(cluster: Cluster) -> None:
    cluster.publish(*(incident(number) for number in range(12)))
    with HttpServer() as server:
        for _ in range(3):
            arguments = json.dumps([cluster.bootstrap, cluster.prefix, server.url])
            child = subprocess.Popen([sys.executable, "-c", _CHILD, arguments], stdout=subprocess.DEVNULL)
            seen = len(server.requests)

            def kill(child: subprocess.Popen[bytes] = child, seen: int = seen) -> None:
                # The destination has the alert, its answer never arrives.
                if len(server.requests) == seen + 3:
                    child.kill()
                    child.wait()

            server.on_request = kill
            child.wait(_PATIENCE_S)
        server.on_request = lambda: None
        with running(cluster.workers(server.url)):
            wait_for(lambda: cluster.committed(cluster.group("hook-0")) == 12)
        counts = Counter(ids(server))
    assert set(counts) == {f"a{number}" for number in range(12)}
    assert sum(counts.values()) == 12 + 3
    assert max(counts.values()) == 2


def test_a_dead_channel_stops_no_other(cluster: Cluster) -> None:
    cluster.publish(*(incident(number) for number in range(5)))
    down = Answer(503, {"Retry-After": "3600"})
    with HttpServer(default=down) as dead, HttpServer() as alive:
        with running(cluster.workers(dead.url, alive.url)) as workers:
            wait_for(lambda: len(alive.requests) == 5)
            assert all(worker.healthy for worker in workers)
        assert len(dead.requests) == 1
    assert cluster.committed(cluster.group("hook-0")) == 0
    assert cluster.committed(cluster.group("hook-1")) == 5


def test_what_waited_for_a_retry_is_sent_by_the_next_worker(cluster: Cluster) -> None:
    cluster.publish(incident(1))
    with HttpServer(Answer(429, {"Retry-After": "600"})) as server:
        with running(cluster.workers(server.url)):
            wait_for(lambda: len(server.requests) == 1)
        with running(cluster.workers(server.url)):
            wait_for(lambda: len(server.requests) == 2)
        assert ids(server) == ["a1", "a1"]


def test_a_second_worker_takes_over_partitions_without_repeats(cluster: Cluster) -> None:
    with HttpServer() as server, running(cluster.workers(server.url)) as first:
        cluster.publish(*(incident(number) for number in range(10)))
        wait_for(lambda: len(server.requests) == 10)
        with running(cluster.workers(server.url)):
            cluster.publish(*(incident(number) for number in range(10, 30)))
            wait_for(lambda: len(server.requests) >= 30)
            first[0].stop()
            assert first[0].join()
            cluster.publish(*(incident(number) for number in range(30, 40)))
            wait_for(lambda: len(set(ids(server))) == 40)
        assert sorted(ids(server)) == sorted(f"a{number}" for number in range(40))


def test_a_storm_of_duplicates_is_worked_through(cluster: Cluster) -> None:
    at = time.time()
    storm = [record(f"a{number}", at=at + number * 1e-3) for number in range(30_000)]
    cluster.publish(*storm)
    with HttpServer() as server:
        with running(cluster.workers(server.url)):
            wait_for(lambda: cluster.committed(cluster.group("hook-0")) == 30_000)
        assert ids(server) == ["a0"]
    outcomes = [found.outcome for found in cluster.delivered()]
    assert (outcomes.count("sent"), outcomes.count("suppressed")) == (1, 29_999)


def test_a_missing_topic_is_waited_for(broker: RunningBroker, topic_prefix: str) -> None:
    cluster = Cluster(broker.bootstrap_servers, topic_prefix)
    with HttpServer() as server, running(cluster.workers(server.url)) as workers:
        assert workers[0].healthy
        cluster.create()
        cluster.publish(incident(1))
        wait_for(lambda: bool(server.requests))


def test_the_time_of_a_record_is_kafkas_own(cluster: Cluster) -> None:
    producer = Producer(cluster.kafka)
    day_before_yesterday_ms = int((time.time() - 2 * 86_400) * 1000)
    stale = incident(1, detectedAt=format_rfc3339(day_before_yesterday_ms))
    producer.produce(
        cluster.anomalies, json.dumps(stale).encode(), key="k", timestamp=day_before_yesterday_ms
    )
    assert producer.flush(30) == 0
    with HttpServer() as server:
        with running(cluster.workers(server.url)):
            wait_for(lambda: cluster.committed(cluster.group("hook-0")) == 1)
        assert server.requests == []
    assert [found.reason for found in cluster.delivered()] == ["too_old"]


def _rewind(cluster: Cluster, group: str) -> None:
    """As after a crash between the recording and the commit."""
    consumer = Consumer({**cluster.kafka, "group.id": group})
    consumer.commit(
        offsets=[TopicPartition(cluster.anomalies, partition, 0) for partition in range(2)],
        asynchronous=False,
    )
    consumer.close()
