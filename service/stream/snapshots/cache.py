"""Copies of the newest snapshots on this machine's disk; the topic alone says which one is valid."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from service.history.frozen import Frozen, Manifest
from service.stream.snapshots.form import About


class SnapshotCache:
    """One file per input partition with the chunks of its newest snapshot, one after another."""

    def __init__(self, folder: Path, group: str) -> None:
        self._folder = folder / group

    def keep(self, about: About, frozen: Frozen) -> None:
        """Put the chunks in the place of those of the last snapshot; a disk that is full is no matter."""
        path = self._path(about)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_suffix(f".{os.getpid()}")
            try:
                with new.open("wb") as file:
                    for chunk in frozen.chunks:
                        file.write(chunk)
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)

    def chunks(self, about: About, manifest: Manifest, chunk_bytes: int) -> Iterator[tuple[int, bytes]]:
        """What is here, cut and numbered like the chunks that this manifest means; their digests tell."""
        with contextlib.suppress(OSError), self._path(about).open("rb") as file:
            for number, size in enumerate(manifest.chunk_sizes(chunk_bytes)):
                yield number, file.read(size)

    def _path(self, about: About) -> Path:
        return self._folder / f"{about.subject.topic}-{about.partition}.chunks"
