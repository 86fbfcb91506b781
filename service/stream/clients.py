"""librdkafka's properties for the detection loop's two clients, each that matters with its reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from service.errors import ConfigurationError
from service.stream.config import KafkaConfig, Properties, merged

# Dead letters carry the original record, however large its topic lets it be.
MOST_MESSAGE_BYTES = 16 * 1024 * 1024

ErrorCallback = Callable[[KafkaError], None]


def consumer_properties(kafka: KafkaConfig, worker_id: str) -> dict[str, Any]:
    """The properties of the loop's consumer."""
    ours: Properties = {
        "group.id": kafka.group_id,
        # Static membership: a worker that is back within the session timeout takes up its partitions
        # with no rebalance. The new protocol (KIP-848) holds a killed worker's place for 45 s.
        "group.protocol": "classic",
        "group.instance.id": f"{kafka.group_id}-{worker_id}",
        "partition.assignment.strategy": "cooperative-sticky",
        # Offsets are committed in the transaction of the results and nowhere else.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        # Where to read from is always said; a log that does not reach there must never be read from 0.
        "auto.offset.reset": "error",
    }
    defaults: Properties = {
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 1_500,
        # At the default of 1,000 a full queue holds fetching for a second: a quarter of the speed.
        "fetch.queue.backoff.ms": 5,
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 65_536,
        # Small requests that wait for others to be acknowledged made the slowest transactions slower still.
        "socket.nagle.disable": True,
        "statistics.interval.ms": 0,
    }
    return merged(defaults, kafka.connection(), kafka.consumer, ours)


WHOLE: Properties = {
    "enable.idempotence": True,
    # With more requests under way what came first for a partition may be lost, as delivered, in a committed
    # transaction, too: a broker that is not its leader yet refuses the first request, and once it is takes a
    # later one, for of a producer new to it it takes any sequence number; librdkafka (2.16) holds what came
    # before an accepted request for accepted. One topic in ten lost points so that was made a moment before.
    # It costs nothing that could be measured: a broker answers a connection's requests one by one.
    "max.in.flight.requests.per.connection": 1,
}
"""Of a producer whose messages all arrive, once and in order."""


def producer_properties(kafka: KafkaConfig, worker_id: str) -> dict[str, Any]:
    """The properties of the loop's transactional producer."""
    ours: Properties = {
        "transactional.id": f"{kafka.group_id}-{worker_id}",
        **WHOLE,
        # Java's partitioner, so that keys land where other clients put them.
        "partitioner": "murmur2_random",
    }
    defaults: Properties = {
        "transaction.timeout.ms": 10_000,
        "compression.type": "lz4",
        "message.max.bytes": MOST_MESSAGE_BYTES,
        # A batch is sent when it is full, the rest by the commit's flush. What lingered for its time and
        # cannot be sent, as a request is under way, makes librdkafka look for room without a pause: with
        # 5 ms that was a tenth of all CPU.
        "linger.ms": 1_000,
        # So few that what is held back of a partition at the end is not, on its way, more than one request.
        "batch.num.messages": 2_000,
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
        # What becomes of a message the transaction tells; a report for each one cost half a microsecond.
        "delivery.report.only.error": True,
        # After a commit the broker still writes its markers and answers CONCURRENT_TRANSACTIONS to the
        # next one; at the default of 100 ms that allows ten commits a second. With 1 instead of 5 a small
        # transaction took 13 ms instead of 16.
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 100,
        "socket.nagle.disable": True,  # as for the consumer
    }
    return merged(defaults, kafka.connection(), kafka.producer, ours)


def snapshot_producer_properties(kafka: KafkaConfig) -> dict[str, Any]:
    """The properties of the producer of snapshots: large records, now and then.

    Not an idempotent one: a chunk that stands there twice does no harm, and such a one's flush asks without a
    pause whether the next request may go (see `Transactions`), two thirds of what a snapshot cost.
    """
    defaults: Properties = {
        "compression.type": "lz4",
        "linger.ms": 5,
        "message.timeout.ms": 60_000,
        "queue.buffering.max.kbytes": 65_536,
    }
    return merged(defaults, kafka.connection(), kafka.producer)


# librdkafka would write to stderr by itself. What of it people need to hear, `ClusterState` says once; the
# rest is there at log level debug.
CLIENT_LOG = logging.getLogger("librdkafka")
CLIENT_LOG.addHandler(logging.NullHandler())  # commands that set up no log stay silent


Client = TypeVar("Client")


def made(kind: Callable[..., Client], properties: Mapping[str, Any]) -> Client:
    """A client of librdkafka's.

    Raises:
        ConfigurationError: librdkafka does not take one of the properties.
    """
    try:
        return kind(properties, logger=CLIENT_LOG)
    except KafkaException as error:
        raise ConfigurationError([f"kafka: {error.args[0].str()}"]) from None


def make_consumer(kafka: KafkaConfig, worker_id: str, on_error: ErrorCallback) -> Consumer:
    properties = consumer_properties(kafka, worker_id)
    return made(Consumer, {**properties, "error_cb": on_error})


def make_producer(kafka: KafkaConfig, worker_id: str, on_error: ErrorCallback) -> Producer:
    return made(Producer, {**producer_properties(kafka, worker_id), "error_cb": on_error})


def make_snapshot_producer(kafka: KafkaConfig) -> Producer:
    return made(Producer, snapshot_producer_properties(kafka))
