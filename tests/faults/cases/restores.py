"""How long a large partition takes to come back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import httpx
import numpy as np
from confluent_kafka import Producer

from service.bench.signal import Signal, order_of, source_id, sources_of, value_names
from service.bench.steady_state import STEP_MS, prefill
from service.clock import SystemClock
from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.stream import topics
from service.stream.auditing.audit import Recompute
from service.stream.clients import make_snapshot_producer
from service.stream.snapshots.form import NONE, About, Subject
from service.stream.snapshots.writer import SnapshotWriter
from tests.faults.bed import Bed
from tests.faults.history import SILENT
from tests.faults.matrix import case
from tests.faults.post import Post

_SOURCES = 100_000
_REPLAYED = 500_000
_BAR_S = 20.0
_NOW_MS = 1_767_225_600_000
_PATIENCE_S = 300.0
_WRITTEN = 'anomalyd_snapshots_total{outcome="written"} '

_NAMES = value_names(1)


@case(
    "restore-large",
    f"{_SOURCES:,} sources with a past, killed {_REPLAYED:,} records after the snapshot",
    overrides=("snapshots.every=1h", "snapshots.every_records=1000000000", "snapshots.longest_replay=1h"),
    partitions=1,
)
def restore_large(bed: Bed) -> None:
    bed.counted = False
    _give_a_past(bed)
    points = _points()
    post = bed.post("a")
    # The first snapshot of a life comes soon. It says how long one takes, and so how far off the next is.
    if not bed.look(lambda: _flood(bed, points, 1_000) and _written(post), "there is a snapshot"):
        return
    bed.look(lambda: bed.lag() == 0, "the lag is 0")
    _flood(bed, points, _REPLAYED)
    bed.look(lambda: bed.lag() == 0, "the lag is 0 again", _PATIENCE_S)
    bed.load.start()
    began = time.monotonic()
    post.kill_for_good()
    post.start()
    bed.recovered(began)
    for restored in post.said("partition restored"):
        seconds, replayed = restored["seconds"], restored["replayed"]
        bed.notes.append(
            f"restored in {seconds:.1f} s, {restored['replay_seconds']:.1f} s of it for {replayed:,} records"
        )
        bed.expect(replayed >= _REPLAYED, f"only {replayed:,} records were replayed")
        bed.expect(seconds <= _BAR_S, f"restoring took {seconds:.1f} s")


def _give_a_past(bed: Bed) -> None:
    """A birth that knows every source, its windows full and the models fitted."""
    kafka, topic = bed.settings.kafka, bed.settings.topics.name("data_points")
    pipeline = DetectionPipeline(bed.settings.detection, topic=topic)
    prefill(pipeline, sources_of(0, _SOURCES, 1), _NAMES, _NOW_MS)
    writer = SnapshotWriter(
        lambda: make_snapshot_producer(kafka),
        bed.settings.topics.name("snapshots"),
        metrics=Metrics(),
        clock=SystemClock(),
        log=SILENT,
    )
    subject = Subject(kafka.group_id, topic, topics.identity(kafka, topic).id, 1, pipeline.model_version)
    taken_ms = int(time.time() * 1000)
    birth = About(subject, 0, 0, 0, 0, NONE, NONE, taken_ms)
    assert writer.write(birth, pipeline.state()).result() is not None
    writer.close()
    bed.recompute = Recompute(lambda *_: pipeline, bed.settings.input, pipeline.model_version)


def _points() -> Iterator[tuple[bytes, bytes]]:
    """Key and body of every source's points, step by step."""
    signal, step = Signal(1), 0
    while True:
        numbers = order_of(_SOURCES, step)
        values = signal.at(np.arange(_SOURCES), step)[numbers, 0].tolist()
        for number, value in zip(numbers.tolist(), values, strict=True):
            source = source_id(number).encode()
            body = b'{"sourceId":"%s","timestamp":%d,"values":{"%s":%.3f}}'
            yield source, body % (source, _NOW_MS + step * STEP_MS, _NAMES[0].encode(), value)
        step += 1


def _flood(bed: Bed, points: Iterator[tuple[bytes, bytes]], count: int) -> bool:
    """So many of the points, as fast as can be."""
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
    for key, body in islice(points, count):
        while True:
            try:
                producer.produce(topic, body, key)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    return producer.flush(_PATIENCE_S) == 0


def _written(post: Post) -> bool:
    """Whether the present life has written a snapshot."""
    serving = post.said("serving metrics and health")
    if not serving:
        return False
    lines = httpx.get(f"{serving[0]['url']}/metrics").text.splitlines()
    return any(float(line.removeprefix(_WRITTEN)) > 0 for line in lines if line.startswith(_WRITTEN))
