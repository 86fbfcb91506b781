"""Finds a partition's snapshots on the topic, newest first, and takes up their chunks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from confluent_kafka import Consumer, Message, TopicPartition

from service.history.frozen import BrokenError, Manifest
from service.history.table import Array
from service.stream.reading import Span, read_with, span_of
from service.stream.snapshots.cache import SnapshotCache
from service.stream.snapshots.form import CHUNK_BYTES, GENERATIONS, NONE, POINTER, About, is_manifest
from service.stream.transaction import Headers


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest that can be read, and where it stands."""

    about: About
    manifest: Manifest
    at: int


@dataclass(slots=True)
class Snapshots:
    """The snapshots of one input partition, read with a lent consumer; `broken` says what was not one.

    The last record of the log leads to the newest manifest and each manifest to the one before it. Where
    that way is broken, the whole log is read.
    """

    consumer: Consumer
    topic: str
    partition: int
    cache: SnapshotCache | None = None
    broken: list[str] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def newest_first(self) -> Iterator[Found]:
        """Every manifest of the partition.

        Raises:
            AnomalydError, KafkaException: the topic cannot be read.
        """
        whole = span_of(self.consumer, TopicPartition(self.topic, self.partition))
        if whole.stop <= whole.start:
            return
        yield from self._along_the_chain(whole)
        yield from self._everywhere(whole)

    def load(self, found: Found) -> dict[str, Array]:
        """The arrays of a snapshot.

        Raises:
            BrokenError: a chunk is not there any more, or is not what was written.
        """
        about, manifest = found.about, found.manifest
        if self.cache is not None:
            with contextlib.suppress(BrokenError):
                return manifest.thaw(self.cache.chunks(about, manifest, CHUNK_BYTES), CHUNK_BYTES)
        return manifest.thaw(self._chunks(found), CHUNK_BYTES)

    def _along_the_chain(self, whole: Span) -> Iterator[Found]:
        at = self._last_manifest(whole)
        for _ in range(GENERATIONS + 1):
            if not whole.start <= at < whole.stop:
                return
            found = self._at(at)
            if found is None:
                return
            yield found
            at = found.about.previous

    def _last_manifest(self, whole: Span) -> int:
        """Where the log's last record says that the newest manifest is."""
        for message in self._between(whole.stop - 1, whole.stop):
            if is_manifest(message.key(), self.partition):
                return whole.stop - 1
            pointer = dict(cast(Headers, message.headers() or [])).get(POINTER) or b""
            if pointer.isdigit():
                return int(pointer)
        return NONE

    def _everywhere(self, whole: Span) -> Iterator[Found]:
        """The manifests that were not seen yet, newest first; reads all that there is."""
        found = [
            manifest
            for message in self._between(*whole)
            if message.offset() not in self._seen and is_manifest(message.key(), self.partition)
            if (manifest := self._parsed(message)) is not None
        ]
        yield from reversed(found)

    def _chunks(self, found: Found) -> Iterator[tuple[int, bytes]]:
        """What stands on the topic as this snapshot's chunks, by their numbers."""
        numbers = {found.about.chunk_key(number): number for number in range(len(found.manifest.digests))}
        if not numbers:
            return
        for message in self._between(found.about.chunks_from, found.at):
            number = numbers.get(cast(bytes, message.key()))
            if number is not None:
                yield number, message.value() or b""

    def _at(self, offset: int) -> Found | None:
        for message in self._between(offset, offset + 1):
            if is_manifest(message.key(), self.partition):
                return self._parsed(message)
        return None

    def _parsed(self, message: Message) -> Found | None:
        at = cast(int, message.offset())
        self._seen.add(at)
        try:
            manifest = Manifest.parse(message.value() or b"")
            return Found(About.of(manifest), manifest, at)
        except BrokenError as error:
            self.broken.append(f"the manifest at offset {at}: {error}")
            return None

    def _between(self, start: int, stop: int) -> Iterator[Message]:
        for messages in read_with(self.consumer, self.topic, {self.partition: Span(start, stop)}):
            yield from messages
