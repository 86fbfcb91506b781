"""Writes snapshots beside the loop: chunks first, and when they stand, the manifest."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from service.clock import Clock
from service.errors import AnomalydError
from service.history.copies import CopyRoom
from service.history.frozen import Frozen, freeze
from service.history.table import Array, Copied
from service.logs import Logger
from service.metrics import Metrics
from service.stream.crash_points import here
from service.stream.snapshots.cache import SnapshotCache
from service.stream.snapshots.form import CHUNK_BYTES, NONE, POINTER, About

_PATIENCE_S = 60.0  # for the cluster to take a round
_LOOK_S = 0.5
_ROUND_BYTES = 2 * 1024 * 1024
_RESTS = 3.0  # after a round, times as long as it took

P = ParamSpec("P")
T = TypeVar("T")

Record = tuple[bytes, memoryview]
"""Key and value."""


@dataclass(frozen=True, slots=True)
class Written:
    """The newest snapshot of a partition: its generation, and where its manifest stands."""

    generation: int = 0
    manifest_at: int = NONE
    seconds: float = 0.0  # that it took


class Pace:
    """Rests after each round of writing, so that records which come meanwhile find the cores free.

    In one go a state takes them for a second, one here and one in the broker, and those records wait.
    """

    def __init__(self, clock: Clock, hurry: threading.Event) -> None:
        """`hurry` is set while somebody waits for the end."""
        self._clock, self._hurry = clock, hurry
        self._began = self._resumed = clock.monotonic()
        self._rested_s = 0.0

    @property
    def worked_s(self) -> float:
        """Time since the beginning, less the rests."""
        return self._clock.monotonic() - self._began - self._rested_s

    def rest(self) -> None:
        """A round is done, and another one comes."""
        paused = self._clock.monotonic()
        self._clock.wait(self._hurry, _RESTS * (paused - self._resumed))
        self._resumed = self._clock.monotonic()
        self._rested_s += self._resumed - paused


class SnapshotWriter:
    """One thread and one producer; a snapshot that fails is a warning, for the one before it still holds."""

    def __init__(
        self,
        make_producer: Callable[[], Producer],
        topic: str,
        *,
        metrics: Metrics,
        clock: Clock,
        log: Logger,
        cache: SnapshotCache | None = None,
    ) -> None:
        self._make_producer = make_producer
        self._producer: Producer | None = None
        self._topic = topic
        self._cache = cache
        self._metrics, self._clock, self._log = metrics, clock, log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self._pending: set[Future[Any]] = set()
        self._room = CopyRoom()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._hurry = threading.Event()
        self._newest: dict[int, Written] = {}
        self._began, self._took_s = -math.inf, 0.0  # of the last attempt

    def rested(self, share: float) -> bool:
        """Whether none is being written, and the last one took no more than this share of the time by now."""
        with self._lock:
            return not self._pending and self._took_s <= share * (self._clock.monotonic() - self._began)

    def go_on_from(self, partition: int, newest: Written) -> None:
        """The partition's next snapshot comes after this one."""
        self._newest[partition] = newest

    def seconds(self, partition: int) -> float:
        """How long the partition's newest snapshot took to write; 0 if that is not known."""
        return self._newest.get(partition, Written()).seconds

    def make_room(self, nbytes: int) -> None:
        """States of so many bytes will be saved: have the memory for their copies ready by then."""
        self._submit(self._room.ensure, nbytes)

    def save(self, about: About, state: Callable[[Copied], Mapping[str, Array]]) -> Future[Written | None]:
        """Copy a state now, and write it as `write` does. The caller goes on to change it."""
        with self._lock:
            taken = bool(self._pending)  # by the copy that is being written
        if taken:
            return self.write(about, state(np.copy))
        self._room.clear()
        written = self.write(about, state(self._room.copied))
        self._submit(self._room.fit)
        return written

    def write(self, about: About, arrays: Mapping[str, Array]) -> Future[Written | None]:
        """Write a snapshot soon; `None` if it failed. The arrays are no longer the caller's.

        Generation and place of `about` are filled in; a generation of 0 stays one.
        """
        return self._submit(self._write, about, arrays)

    def _submit(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = self._thread.submit(job, *args, **kwargs)
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._done)
        return future

    def wait(self, timeout_s: float) -> bool:
        """Until all is written that was to be, without a rest from now on; false if it takes longer."""
        with self._lock:
            pending = list(self._pending)
        self._hurry.set()
        try:
            return not wait(pending, timeout_s).not_done
        finally:
            self._hurry.clear()

    def close(self) -> None:
        """Begin nothing more, and give up what is being written."""
        self._closed.set()
        self._hurry.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _done(self, future: Future[Any]) -> None:
        with self._lock:
            self._pending.discard(future)

    def _write(self, about: About, arrays: Mapping[str, Array]) -> Written | None:
        began, pace = self._clock.monotonic(), Pace(self._clock, self._hurry)
        try:
            return self._written(about, arrays, pace)
        finally:
            with self._lock:
                self._began, self._took_s = began, pace.worked_s

    def _written(self, about: About, arrays: Mapping[str, Array], pace: Pace) -> Written | None:
        try:
            if self._producer is None:
                self._producer = self._make_producer()
            before = self._newest.get(about.partition, Written())
            generation = 0 if about.is_birth else before.generation + 1
            about = replace(about, generation=generation, previous=before.manifest_at)
            frozen = freeze(arrays, CHUNK_BYTES)
            written = write(self._producer, self._topic, about, frozen, pace.rest, self._closed)
        except Exception as error:  # noqa: BLE001  whatever it is, the one before still holds
            self._producer = None  # what it still holds must not come later
            self._metrics.snapshots.labels("failed").inc()
            self._log.warning("snapshot not written", partition=about.partition, error=str(error))
            return None
        seconds = pace.worked_s
        self._newest[about.partition] = replace(written, seconds=seconds)
        if self._cache is not None and not about.is_birth:
            self._cache.keep(about, frozen)
        size = sum(map(len, frozen.chunks))
        self._metrics.snapshots.labels("written").inc()
        self._metrics.snapshot_bytes.labels(str(about.partition)).set(size)
        self._metrics.snapshot_seconds.observe(seconds)
        self._log.debug("snapshot", partition=about.partition, offset=about.offset, bytes=size)
        return written


def write(
    producer: Producer,
    topic: str,
    about: About,
    frozen: Frozen,
    rest: Callable[[], None] = lambda: None,
    given_up: threading.Event | None = None,
) -> Written:
    """Chunks, then the manifest; each flushed, so that a manifest never stands before its chunks.

    `rest` is called between two rounds of chunks.

    Raises:
        AnomalydError: the cluster did not take it in time, or it was given up.
        KafkaException: it refused.
    """
    sender = _Sender(producer, topic, about, given_up)
    offsets: list[int] = []
    for records in _rounds((about.chunk_key(number), chunk) for number, chunk in enumerate(frozen.chunks)):
        if offsets:
            rest()
        offsets += sender.send(records)
    here("mid-snapshot")
    about = replace(about, chunks_from=min(offsets, default=NONE))
    manifest = frozen.manifest(about.as_dict())
    (at,) = sender.send([(about.manifest_key, memoryview(manifest))])
    return Written(about.generation, at)


def _rounds(records: Iterable[Record]) -> Iterator[list[Record]]:
    """As many at a time as one rests after."""
    gathered: list[Record] = []
    size = 0
    for record in records:
        gathered.append(record)
        size += len(record[1])
        if size >= _ROUND_BYTES:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered


@dataclass(frozen=True, slots=True)
class _Sender:
    """Sends records of one snapshot, each of which leads to the manifest before it."""

    producer: Producer
    topic: str
    about: About
    given_up: threading.Event | None

    def send(self, records: Iterable[Record]) -> list[int]:
        """The offsets that the records got."""
        self._look()
        offsets: list[int] = []
        refused: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                refused.append(error)
            else:
                offsets.append(cast(int, message.offset()))

        for key, body in records:
            self._produce(key, bytes(body), delivered)
        waited = 0.0
        while (left := self.producer.flush(_LOOK_S)) and waited < _PATIENCE_S:
            waited += _LOOK_S
            self._look()
        if refused:
            raise KafkaException(refused[0])
        if left:
            raise AnomalydError(f"topic {self.topic!r} took no snapshot for {waited:.0f} s")
        return offsets

    def _look(self) -> None:
        """See whether to go on."""
        if self.given_up is not None and self.given_up.is_set():
            raise AnomalydError("given up, as the service ends")

    def _produce(
        self, key: bytes, body: bytes, delivered: Callable[[KafkaError | None, Message], None]
    ) -> None:
        headers = [(POINTER, b"%d" % self.about.previous)]
        while True:
            try:
                self.producer.produce(
                    self.topic,
                    body,
                    key,
                    self.about.partition,
                    on_delivery=delivered,
                    headers=headers,  # type: ignore[arg-type]  # invariant
                )
                return
            except BufferError:
                self.producer.poll(0.1)
