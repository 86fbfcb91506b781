"""A snapshot is due by time, by records or by the time that replaying would take; one at a time."""

from __future__ import annotations

import threading
from collections import UserDict
from collections.abc import Callable, ItemsView, Mapping
from concurrent.futures import Future
from typing import Any, cast

import numpy as np
import pytest

from service.clock import ManualClock
from service.history.table import Array, Copied
from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.stream.snapshots.config import SnapshotsConfig
from service.stream.snapshots.form import About
from service.stream.snapshots.taking import SnapshotTaker
from service.stream.snapshots.writer import SnapshotWriter, Written
from tests.stream.memory_kafka import MemoryKafka
from tests.stream.snapshots.saved import about, state, writer_of


class NotingWriter:
    """Notes what it is to write; each took `took_s`."""

    def __init__(self) -> None:
        self.share: float | None = 0.0  # of the time that writing took by now; None while one is written
        self.took_s = 0.0
        self.room = 0
        self.written: list[About] = []
        self.arrays: list[Mapping[str, Array]] = []
        self.futures: list[Future[Written | None]] = []

    def seconds(self, _partition: int) -> float:
        return self.took_s

    def rested(self, share: float) -> bool:
        return self.share is not None and self.share <= share

    def make_room(self, nbytes: int) -> None:
        self.room = nbytes

    def save(self, about: About, state: Callable[[Copied], Mapping[str, Array]]) -> Future[Written | None]:
        return self.write(about, state(np.copy))

    def write(self, about: About, arrays: Mapping[str, Array]) -> Future[Written | None]:
        self.written.append(about)
        self.arrays.append(arrays)
        self.futures.append(Future())
        return self.futures[-1]


class NoPipeline:
    saved_bytes = 4321
    held = np.arange(3)

    def state(self, copied: Copied) -> dict[str, Array]:
        return {"held": copied(self.held)}


PIPELINE = cast(DetectionPipeline, NoPipeline())


class Taking:
    """A taker with a clock that is moved."""

    def __init__(self, **config: Any) -> None:
        self.clock, self.writer, self.metrics = ManualClock(), NotingWriter(), Metrics()
        writer = cast(SnapshotWriter, self.writer)
        self.taker = SnapshotTaker(SnapshotsConfig(**config), writer, self.metrics, self.clock)

    def begin(self, partition: int = 0, replayed: int = 0, age_s: float = 0.0) -> None:
        taken_ms = int((self.clock.now() - age_s) * 1000)
        of = about(100, partition=partition)
        of = About(of.subject, partition, 0, 100, 1, 0, 0, taken_ms)
        self.taker.begin(of, 100 + replayed, PIPELINE)

    @property
    def ages(self) -> dict[str, float]:
        self.taker.show_ages()
        (family,) = self.metrics.snapshot_age_seconds.collect()
        return {sample.labels["partition"]: sample.value for sample in family.samples}


def test_without_records_none_is_ever_due() -> None:
    taking = Taking()
    taking.begin()
    taking.clock.advance(1e6)
    assert taking.taker.due() is None


def test_a_small_state_is_due_after_ten_seconds() -> None:
    taking = Taking()
    taking.begin()
    taking.taker.committed(0, 1, 0.0)
    taking.clock.advance(9.9)
    assert taking.taker.due() is None
    taking.clock.advance(0.1)
    assert taking.taker.due() == 0


@pytest.mark.parametrize(("took_s", "every_s"), [(0.01, 10.0), (0.3, 30.0), (5.0, 60.0)])
def test_what_takes_longer_to_write_is_written_less_often_up_to_the_setting(
    took_s: float, every_s: float
) -> None:
    taking = Taking(every="60s")
    taking.writer.took_s = took_s
    taking.begin()
    taking.taker.committed(0, 1, 0.0)
    taking.clock.advance(every_s - 0.1)
    assert taking.taker.due() is None
    taking.clock.advance(0.2)
    assert taking.taker.due() == 0


def test_it_is_due_when_so_many_records_came() -> None:
    taking = Taking(every_records=1000)
    taking.begin(replayed=400)
    taking.taker.committed(0, 599, 0.0)
    assert taking.taker.due() is None
    taking.taker.committed(0, 1, 0.0)
    assert taking.taker.due() == 0


def test_it_is_due_when_deciding_again_would_take_too_long() -> None:
    taking = Taking(longest_replay="5s")
    taking.begin()
    taking.taker.committed(0, 10, 3.0)
    assert taking.taker.due() is None
    taking.taker.committed(0, 10, 2.0)
    assert taking.taker.due() == 0


def test_the_age_of_a_snapshot_counts_from_before_the_restart() -> None:
    taking = Taking()
    taking.begin(replayed=1, age_s=10.0)
    assert taking.taker.due() == 0


def test_a_snapshot_from_the_future_is_of_now() -> None:
    taking = Taking()
    taking.begin(replayed=1, age_s=-1e6)
    taking.clock.advance(10.0)
    assert taking.taker.due() == 0


def test_the_one_that_waits_longest_comes_first_and_none_while_one_is_written() -> None:
    taking = Taking()
    taking.begin(0, replayed=1)
    taking.clock.advance(5.0)
    taking.begin(1, replayed=1)
    taking.clock.advance(10.0)
    assert taking.taker.due() == 0
    taking.writer.share = None
    assert taking.taker.due() is None
    taking.writer.share = 0.0
    taking.taker.take(0, PIPELINE, 101)
    assert taking.taker.due() == 1


def test_none_is_due_before_the_writer_has_rested_however_much_came() -> None:
    taking = Taking(every_records=10, writing_share=0.2)
    taking.begin(replayed=1000)
    taking.writer.share = 0.3
    assert taking.taker.due() is None
    taking.writer.share = 0.2
    assert taking.taker.due() == 0


def test_what_is_taken_is_of_its_offset_and_time_and_counting_begins_anew() -> None:
    taking = Taking(every_records=10)
    taking.begin()
    taking.taker.committed(0, 10, 0.0)
    taking.clock.advance(3.0)
    taking.taker.take(0, PIPELINE, 110)
    (written,) = taking.writer.written
    assert (written.offset, written.born, written.partition) == (110, 0, 0)
    assert not written.is_birth
    assert written.taken_ms == int(taking.clock.now() * 1000)
    assert taking.taker.due() is None
    taking.taker.committed(0, 9, 0.0)
    assert taking.taker.due() is None
    taking.taker.committed(0, 1, 0.0)
    assert taking.taker.due() == 0


def test_room_for_the_copy_is_made_when_a_partition_goes_live() -> None:
    taking = Taking()
    taking.begin()
    assert taking.writer.room == NoPipeline.saved_bytes


@pytest.mark.parametrize("last", [False, True])
def test_only_a_state_that_is_worked_on_is_copied(last: bool) -> None:
    taking = Taking()
    taking.begin(replayed=1)
    taking.taker.take(0, PIPELINE, 101, last=last)
    (arrays,) = taking.writer.arrays
    assert arrays["held"].tolist() == [0, 1, 2]
    assert np.shares_memory(arrays["held"], NoPipeline.held) == last


def test_nothing_is_taken_where_nothing_came() -> None:
    taking = Taking()
    taking.begin()
    taking.taker.take(0, PIPELINE, 100)
    assert taking.writer.written == []


@pytest.mark.parametrize(("outcome", "age_s"), [(None, 25.0), (Written(1, 2), 5.0)])
def test_the_age_shown_is_that_of_what_stands_on_the_topic(outcome: Written | None, age_s: float) -> None:
    taking = Taking()
    taking.begin(replayed=1)
    taking.clock.advance(20.0)
    taking.taker.take(0, PIPELINE, 101)
    taking.clock.advance(5.0)
    assert taking.ages == {"0": pytest.approx(25.0)}
    taking.writer.futures[0].set_result(outcome)
    assert taking.ages == {"0": pytest.approx(age_s)}


def test_what_leaves_is_not_due_and_has_no_age() -> None:
    taking = Taking()
    taking.begin(0, replayed=1, age_s=60.0)
    taking.begin(1, replayed=1, age_s=20.0)
    assert taking.ages == {"0": pytest.approx(60.0), "1": pytest.approx(20.0)}
    taking.taker.drop(0)
    assert taking.ages == {"1": pytest.approx(20.0)}
    assert taking.taker.due() == 1


class SlowState(UserDict[str, Array]):
    """Arrays whose writing takes so many seconds of a manual clock."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        super().__init__(state(10))
        self._clock, self._seconds = clock, seconds

    def items(self) -> ItemsView[str, Array]:
        self._clock.advance(self._seconds)
        return super().items()


def test_a_real_writer_works_until_the_snapshot_stands_and_then_rests() -> None:
    kafka, clock, go_on = MemoryKafka(), ManualClock(), threading.Event()
    writer = writer_of(kafka, clock)
    assert writer.rested(0.05)
    writer._thread.submit(go_on.wait)
    done = writer.write(about(10), SlowState(clock, 2.0))
    assert not writer.rested(1.0)
    assert not writer.wait(0.0)
    go_on.set()
    assert done.result() is not None
    assert writer.wait(10.0)
    assert not writer.rested(0.05)
    clock.advance(37.9)
    assert not writer.rested(0.05)
    clock.advance(0.2)
    assert writer.rested(0.05)
