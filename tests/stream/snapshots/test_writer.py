"""Chunks stand before their manifest, generations follow each other, and a failure is a warning."""

from __future__ import annotations

import threading
from typing import cast

import numpy as np
import pytest
from confluent_kafka import KafkaError, Producer

from service import logs
from service.clock import ManualClock
from service.history.table import Column, StateTable
from service.metrics import Metrics
from service.stream.snapshots.form import NONE
from service.stream.snapshots.writer import SnapshotWriter, Written
from tests.stream.memory_kafka import MemoryKafka, MemoryProducer
from tests.stream.snapshots.saved import TOPIC, about, snapshots_of, state, writer_of


def keys(kafka: MemoryKafka) -> list[bytes]:
    return [cast(bytes, message.key()) for message in kafka.log(TOPIC) if message is not None]


def test_the_manifest_comes_last_and_leads_to_the_one_before() -> None:
    kafka = MemoryKafka()
    writer = writer_of(kafka)
    first = writer.write(about(10), state(10)).result()
    second = writer.write(about(20), state(20)).result()
    parts = (b"0", b"1", b"2", b"manifest")
    assert keys(kafka) == [b"0/%d/%s" % (slot, part) for slot in (1, 2) for part in parts]
    assert first is not None
    assert second is not None
    assert (first.generation, first.manifest_at) == (1, 3)
    assert (second.generation, second.manifest_at) == (2, 7)
    newest, older = snapshots_of(kafka).newest_first()
    assert (newest.about.chunks_from, newest.about.previous) == (4, 3)
    assert (older.about.chunks_from, older.about.previous) == (0, NONE)


@pytest.mark.parametrize("room", [0, 100, 10_000_000])
def test_a_state_is_written_as_it_was_when_it_was_saved(room: int) -> None:
    kafka, go_on = MemoryKafka(), threading.Event()
    writer = writer_of(kafka)
    writer.make_room(room)
    held = StateTable({"some": Column(np.int64), "more": Column(np.float64, 300)}, rows=1000)
    assert writer.wait(10.0)
    writer._thread.submit(go_on.wait)
    saved = []
    for offset in (10, 20, 30):  # the second and the third while the first still waits to be written
        held["some"][:], held["more"][:] = offset, offset / 7
        saved.append(writer.save(about(offset), lambda copied: held.arrays(900, copied)))
    held["some"][:] = held["more"][:] = -1
    go_on.set()
    assert all(future.result() is not None for future in saved)
    assert writer.wait(10.0)
    held["some"][:], held["more"][:] = 40, 40 / 7
    assert writer.save(about(40), lambda copied: held.arrays(900, copied)).result() is not None
    found = list(snapshots_of(kafka).newest_first())
    assert [each.about.offset for each in found] == [40, 30, 20, 10]
    for each in found:
        arrays = snapshots_of(kafka).load(each)
        np.testing.assert_array_equal(arrays["some"], np.full(900, each.about.offset))
        np.testing.assert_array_equal(arrays["more"], np.full((900, 300), each.about.offset / 7))


def test_it_goes_on_from_what_was_restored() -> None:
    kafka = MemoryKafka()
    writer = writer_of(kafka)
    writer.go_on_from(0, Written(7, 1234))
    written = writer.write(about(10), state(10)).result()
    assert written is not None
    assert written.generation == 8
    (found,) = snapshots_of(kafka).newest_first()
    assert found.about.previous == 1234


def test_a_birth_stays_one() -> None:
    kafka = MemoryKafka()
    written = writer_of(kafka).write(about(0, 0), state(0)).result()
    assert written is not None
    assert written.generation == 0
    assert keys(kafka)[-1] == b"0/birth/manifest"


def test_partitions_count_for_themselves() -> None:
    kafka = MemoryKafka()
    writer = writer_of(kafka)
    for partition in (0, 0, 1):
        writer.write(about(10, partition=partition), state(10)).result()
    assert next(snapshots_of(kafka, 1).newest_first()).about.generation == 1
    assert next(snapshots_of(kafka, 0).newest_first()).about.generation == 2


def test_what_the_cluster_refuses_is_not_written_and_the_next_takes_its_generation() -> None:
    kafka = MemoryKafka()
    writer = writer_of(kafka)
    writer.write(about(10), state(10)).result()
    for code in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._MSG_TIMED_OUT):
        kafka.refuses = KafkaError(code)
        assert writer.write(about(20), state(20)).result() is None
    kafka.refuses = None
    written = writer.write(about(30), state(30)).result()
    assert written is not None
    assert written.generation == 2
    assert [found.about.offset for found in snapshots_of(kafka).newest_first()] == [30, 10]


def test_a_state_without_arrays_is_a_snapshot_too() -> None:
    kafka = MemoryKafka()
    writer_of(kafka).write(about(10), {}).result()
    snapshots = snapshots_of(kafka)
    (found,) = snapshots.newest_first()
    assert snapshots.load(found) == {}


class SlowProducer(MemoryProducer):
    """Each flush takes a second of a clock that nothing else moves but rests."""

    def __init__(self, kafka: MemoryKafka, clock: ManualClock) -> None:
        super().__init__(kafka)
        self._clock = clock
        self.flushes = 0

    def flush(self, timeout_s: float) -> int:
        self._clock.advance(1.0)
        self.flushes += 1
        return super().flush(timeout_s)


def slow_writer() -> tuple[SnapshotWriter, SlowProducer, ManualClock]:
    clock = ManualClock()
    producer = SlowProducer(MemoryKafka(), clock)
    writer = SnapshotWriter(
        lambda: cast(Producer, producer), TOPIC, metrics=Metrics(), clock=clock, log=logs.logger("test")
    )
    return writer, producer, clock


LARGE = {"some": np.arange(750_000, dtype=np.float64)}  # 6 MB: three rounds, and one of the manifest


def test_between_two_rounds_of_a_large_state_it_rests_three_times_as_long_as_the_round_took() -> None:
    writer, producer, clock = slow_writer()
    began = clock.monotonic()
    written = writer.write(about(10), LARGE).result()
    assert written is not None
    assert producer.flushes == 4
    assert clock.monotonic() - began == 4 + 2 * 3
    assert written.manifest_at == 12
    assert writer.seconds(0) == 4.0  # what it worked, by which its share of the time is counted
    assert writer.wait(10.0)
    assert not writer.rested(0.25)
    clock.advance(6.0)
    assert writer.rested(0.25)


def test_it_does_not_rest_while_somebody_waits_for_the_end() -> None:
    writer, producer, clock = slow_writer()
    go_on = threading.Event()
    writer._thread.submit(go_on.wait)
    writer.write(about(10), LARGE)
    writing_ended: list[bool] = []
    waiting = threading.Thread(target=lambda: writing_ended.append(writer.wait(30.0)))
    began = clock.monotonic()
    waiting.start()
    assert writer._hurry.wait(10.0)
    go_on.set()
    waiting.join()
    assert writing_ended == [True]
    assert producer.flushes == 4
    assert clock.monotonic() - began == 4


def test_what_is_being_written_at_the_end_is_given_up() -> None:
    writer, producer, _ = slow_writer()
    go_on = threading.Event()
    writer._thread.submit(go_on.wait)
    writing = writer.write(about(10), LARGE)
    writer._closed.set()
    go_on.set()
    assert writing.result() is None
    assert producer.flushes == 0
