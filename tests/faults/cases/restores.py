"""How long a large partition takes to come back."""

from __future__ import annotations

import time

import httpx
from confluent_kafka import Producer

from tests.faults.bed import Bed
from tests.faults.matrix import case
from tests.faults.post import Post

_SOURCES = 100_000
_REPLAYED = 500_000
_BAR_S = 20.0
_FIRST_MS = 1_767_225_600_000
_PATIENCE_S = 300.0
_WRITTEN = 'anomalyd_snapshots_total{outcome="written"} '


@case(
    "restore-large",
    f"{_SOURCES:,} sources, killed {_REPLAYED:,} records after the snapshot: back within {_BAR_S:.0f} s",
    overrides=("snapshots.every=1h", "snapshots.every_records=1000000000", "snapshots.longest_replay=1h"),
    partitions=1,
)
def restore_large(bed: Bed) -> None:
    bed.counted = False
    post = bed.post("a")
    sent = _flood(bed, 0, 2 * _SOURCES)
    bed.look(lambda: bed.lag() == 0, "the lag is 0", _PATIENCE_S)
    # The first snapshot of a life comes soon. It says how long one takes, and so how far off the next is.
    bed.stop(post)
    post.start()
    while not _written(post) and sent < 3 * _SOURCES:
        sent = _flood(bed, sent, 1_000)
        bed.pause(0.5)
    sent = _flood(bed, sent, _REPLAYED)
    bed.look(lambda: bed.lag() == 0, "the lag is 0 again", _PATIENCE_S)
    bed.load.start()
    began = time.monotonic()
    post.kill_for_good()
    post.start()
    bed.recovered(began)
    for restored in post.said("partitions restored"):
        seconds, replayed = restored["seconds"], restored["replayed"]
        bed.notes.append(
            f"restored in {seconds:.1f} s, {restored['replay_seconds']:.1f} s of it for {replayed:,} records"
        )
        bed.expect(replayed >= _REPLAYED, f"only {replayed:,} records were replayed")
        bed.expect(seconds <= _BAR_S, f"restoring took {seconds:.1f} s")


def _flood(bed: Bed, start: int, count: int) -> int:
    """So many points of all sources in turn, as fast as can be; where the next ones begin."""
    producer = Producer(
        {
            **bed.settings.kafka.connection(),
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            "log_level": 0,
        }
    )
    topic = bed.settings.topics.name("data_points")
    for number in range(start, start + count):
        source, value = number % _SOURCES, number * 7919 % 1000 / 100.0
        body = b'{"sourceId":"well-%d","timestamp":%d,"values":{"x":%.2f}}'
        while True:
            try:
                producer.produce(topic, body % (source, _FIRST_MS + number, value), b"well-%d" % source)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(_PATIENCE_S) == 0
    return start + count


def _written(post: Post) -> bool:
    """Whether the present life has written a snapshot."""
    serving = post.said("serving metrics and health")
    if not serving:
        return False
    lines = httpx.get(f"{serving[0]['url']}/metrics").text.splitlines()
    return any(float(line.removeprefix(_WRITTEN)) > 0 for line in lines if line.startswith(_WRITTEN))
