"""The benchmark's side of Kafka: topics with the points, how far a group is, what came out."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from service.stream.config import KafkaConfig
from service.stream.feeding import PointProducer
from tests.benchmarks.peers.measuring import Progress
from tests.benchmarks.peers.points import points

PARTITIONS = 4
TIMEOUT_S = 30.0
SAMPLE = 200
"""Results read per partition to tell their size."""


@dataclass(frozen=True, slots=True)
class Results:
    """What a peer wrote: `offsets` of records and transaction markers, `value_bytes` the mean of the last."""

    offsets: int
    value_bytes: int


class Cluster:
    """A running Kafka, seen from outside the peers."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def make(self, topic: str) -> None:
        (made,) = self._admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS)]).values()
        made.result(TIMEOUT_S)

    def delete(self, prefix: str) -> None:
        """Every topic whose name begins so: the next run shall find as much room on the disk."""
        known = self._admin.list_topics(timeout=TIMEOUT_S).topics
        if names := [name for name in known if name.startswith(prefix)]:
            for deleted in self._admin.delete_topics(names).values():
                deleted.result(TIMEOUT_S)

    def fill(self, topic: str, count: int, sources: int) -> None:
        """A new topic with the first `count` points, keyed by source."""
        self.make(topic)
        producer = PointProducer(KafkaConfig(bootstrap_servers=self.bootstrap), topic)
        for source_id, body in points(count, sources):
            producer.send(source_id, body)
        if lost := producer.finish():
            raise RuntimeError(f"topic {topic!r} did not take every point: {lost[0]}")

    @contextmanager
    def progress(self, group: str, topic: str) -> Iterator[Callable[[], Progress]]:
        """Tells how far the group is on a topic that nobody wrote to in transactions.

        By a consumer that never joins: an admin client that asks while the group's coordinator is being
        chosen kills the process (librdkafka of confluent-kafka 2.16.1).
        """
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        # Offsets of an open transaction are waited for under read_committed; here the last ones are wanted.
        watcher = self._reader(group, isolation="read_uncommitted")
        ends = [watcher.get_watermark_offsets(each, timeout=TIMEOUT_S)[1] for each in partitions]

        def done() -> Progress:
            try:
                known = watcher.committed(partitions, timeout=TIMEOUT_S)
            except KafkaException:  # a new cluster chooses coordinators: nothing is committed yet
                return Progress(0, 0.0)
            return Progress.of([max(each.offset, 0) for each in known], ends)

        try:
            yield done
        finally:
            watcher.close()

    def results(self, topic: str) -> Results:
        """From the end of each partition, as a reader of committed records sees it."""
        reader = self._reader(f"reader-{uuid.uuid4().hex}", isolation="read_committed")
        try:
            ends = []
            for number in range(PARTITIONS):
                partition = TopicPartition(topic, number)
                low, high = reader.get_watermark_offsets(partition, timeout=TIMEOUT_S)
                ends.append(high)
                partition.offset = max(low, high - SAMPLE)
                reader.incremental_assign([partition])
            # A transaction's end is a record too that nobody gets, so fewer come than were asked for.
            sample = reader.consume(SAMPLE * PARTITIONS, timeout=2.0)
            sizes = [len(message.value() or b"") for message in sample if message.error() is None]
        finally:
            reader.close()
        return Results(sum(ends), round(sum(sizes) / len(sizes)) if sizes else 0)

    def _reader(self, group: str, isolation: str) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "isolation.level": isolation,
                "log_level": 0,
            }
        )
