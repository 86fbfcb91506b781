"""Brokers die, restart, are too few: three nodes, replication 3, two in sync."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import KafkaException

from service.stream.kafka_jars import local_java
from tests.faults.bed import Bed
from tests.faults.matrix import case

_NODES = (0, 1, 2)
_PATIENCE_S = 120.0


@case("brokers-rolling", "every broker stopped and started again in turn", kafka="three nodes")
def rolling(bed: Bed) -> None:
    bed.under_load()
    for node in _NODES:
        bed.fault(partial(bed.broker.stop_node, node), patience_s=_PATIENCE_S)
        _start(bed, node)


@case("brokers-leader", "kill -9 of a broker that leads partitions of the results", kafka="three nodes")
def leader(bed: Bed) -> None:
    _kill_each(bed, lambda: _leader(bed, bed.settings.topics.name("detection_results"), 0), times=2)


@case("brokers-coordinator", "kill -9 of the coordinators of transaction and group", kafka="three nodes")
def coordinator(bed: Bed) -> None:
    transactional_id = f"{bed.settings.kafka.group_id}-a"
    _kill_each(bed, lambda: _coordinator(bed, "__transaction_state", transactional_id), times=2)
    _kill_each(bed, lambda: _coordinator(bed, "__consumer_offsets", bed.settings.kafka.group_id), times=2)


@case("brokers-controller", "kill -9 of the active controller", kafka="three nodes")
def controller(bed: Bed) -> None:
    _kill_each(bed, lambda: _controller(bed), times=2)


@case(
    "brokers-min-isr", "two of three brokers dead for a while: nothing can be committed", kafka="three nodes"
)
def min_isr(bed: Bed) -> None:
    bed.under_load()
    dead = bed.random.sample(_NODES, 2)
    for node in dead:
        bed.broker.kill_node(node)
    bed.pause(20.0)
    _all_back(bed, dead)


@case("brokers-all-down", "all three brokers dead for a minute", kafka="three nodes")
def all_down(bed: Bed) -> None:
    bed.under_load()
    for node in _NODES:
        bed.broker.kill_node(node)
    bed.pause(60.0)
    _all_back(bed, list(_NODES))


def _kill_each(bed: Bed, which: Callable[[], int], times: int) -> None:
    if not any(post.alive for post in bed.posts):
        bed.under_load()
    for _ in range(times):
        node = which()
        bed.fault(partial(bed.broker.kill_node, node), patience_s=_PATIENCE_S)
        _start(bed, node)


def _all_back(bed: Bed, dead: list[int]) -> None:
    """Start them at once, for a quorum needs two; recovery counts from when all serve."""
    for node in dead:
        bed.broker.start_node(node, wait=False)
    bed.look(lambda: _living(bed) == set(_NODES), "all brokers are back")
    bed.recovered(time.monotonic(), _PATIENCE_S)
    bed.look(lambda: _in_sync(bed), "every replica is in sync")


def _start(bed: Bed, node: int) -> None:
    bed.broker.start_node(node)
    bed.look(lambda: _in_sync(bed), "every replica is in sync")
    bed.wait_for_results(_PATIENCE_S)


def _living(bed: Bed) -> set[int]:
    try:
        return set(bed.ground.admin.list_topics(timeout=5.0).brokers)
    except KafkaException:
        return set()


def _in_sync(bed: Bed) -> bool:
    try:
        topics = bed.ground.admin.list_topics(timeout=5.0).topics
    except KafkaException:
        return False
    return all(
        set(partition.isrs) == set(partition.replicas) and partition.leader >= 0
        for topic in topics.values()
        for partition in topic.partitions.values()
    )


def _leader(bed: Bed, topic: str, partition: int) -> int:
    return int(bed.ground.admin.list_topics(topic, timeout=10.0).topics[topic].partitions[partition].leader)


def _coordinator(bed: Bed, topic: str, name: str) -> int:
    """The leader of the partition that this name's coordinator keeps its log in."""
    partitions = bed.ground.admin.list_topics(topic, timeout=10.0).topics[topic].partitions
    return int(partitions[_java_hash(name) % len(partitions)].leader)


def _java_hash(text: str) -> int:
    """Java's `hashCode` of an ASCII text, without its sign, as Kafka's `Utils.abs` takes it."""
    code = 0
    for character in text.encode():
        code = (31 * code + character) & 0xFFFFFFFF
    return code & 0x7FFFFFFF


def _controller(bed: Bed) -> int:
    arguments = ["--bootstrap-server", bed.ground.bootstrap, "describe", "--status"]
    command = local_java("broker", "tools").command(
        "org.apache.kafka.tools.MetadataQuorumCommand", *arguments
    )
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("LeaderId")]
    return int(line.split()[-1])
