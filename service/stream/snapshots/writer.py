"""Writes snapshots beside the loop: chunks first, and when they stand, the manifest."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
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

_PATIENCE_S = 60.0  # for the cluster to take one
_LOOK_S = 0.5

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Written:
    """The newest snapshot of a partition: its generation, and where its manifest stands."""

    generation: int = 0
    manifest_at: int = NONE
    seconds: float = 0.0  # that it took


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
        if not self.wait(0.0):  # the copy that is being written still takes the room
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
        """Until all is written that was to be; false if it takes longer."""
        with self._lock:
            pending = list(self._pending)
        return not wait(pending, timeout_s).not_done

    def close(self) -> None:
        """Begin nothing more, and give up what is being written."""
        self._closed.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _done(self, future: Future[Any]) -> None:
        with self._lock:
            self._pending.discard(future)

    def _write(self, about: About, arrays: Mapping[str, Array]) -> Written | None:
        began = self._clock.monotonic()
        try:
            return self._written(about, arrays, began)
        finally:
            with self._lock:
                self._began, self._took_s = began, self._clock.monotonic() - began

    def _written(self, about: About, arrays: Mapping[str, Array], began: float) -> Written | None:
        try:
            if self._producer is None:
                self._producer = self._make_producer()
            before = self._newest.get(about.partition, Written())
            generation = 0 if about.is_birth else before.generation + 1
            about = replace(about, generation=generation, previous=before.manifest_at)
            frozen = freeze(arrays, CHUNK_BYTES)
            written = write(self._producer, self._topic, about, frozen, self._closed)
        except Exception as error:  # noqa: BLE001  whatever it is, the one before still holds
            self._producer = None  # what it still holds must not come later
            self._metrics.snapshots.labels("failed").inc()
            self._log.warning("snapshot not written", partition=about.partition, error=str(error))
            return None
        seconds = self._clock.monotonic() - began
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
    given_up: threading.Event | None = None,
) -> Written:
    """Chunks, then the manifest; each flushed, so that a manifest never stands before its chunks.

    Raises:
        AnomalydError: the cluster did not take it in time, or it was given up.
        KafkaException: it refused.
    """
    pointer = [(POINTER, b"%d" % about.previous)]
    offsets = _send(
        producer,
        topic,
        about.partition,
        [(about.chunk_key(number), chunk) for number, chunk in enumerate(frozen.chunks)],
        pointer,
        given_up,
    )
    here("mid-snapshot")
    about = replace(about, chunks_from=min(offsets, default=NONE))
    manifest = frozen.manifest(about.as_dict())
    last = [(about.manifest_key, memoryview(manifest))]
    (at,) = _send(producer, topic, about.partition, last, pointer, given_up)
    return Written(about.generation, at)


def _send(
    producer: Producer,
    topic: str,
    partition: int,
    records: list[tuple[bytes, memoryview]],
    headers: list[tuple[str, bytes]],
    given_up: threading.Event | None,
) -> list[int]:
    """The offsets that the records got."""
    offsets: list[int] = []
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            refused.append(error)
        else:
            offsets.append(cast(int, message.offset()))

    for key, body in records:
        while True:
            try:
                producer.produce(
                    topic,
                    bytes(body),
                    key,
                    partition,
                    on_delivery=delivered,
                    headers=headers,  # type: ignore[arg-type]  # invariant
                )
                break
            except BufferError:
                producer.poll(0.1)
    waited = 0.0
    while left := producer.flush(_LOOK_S):
        waited += _LOOK_S
        if waited >= _PATIENCE_S or (given_up is not None and given_up.is_set()):
            break
    if refused:
        raise KafkaException(refused[0])
    if left:
        raise AnomalydError(f"topic {topic!r} took no snapshot for {waited:.0f} s")
    return offsets
