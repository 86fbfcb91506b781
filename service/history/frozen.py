"""Arrays by name into chunks of bytes and back, with checksums; knows not what they mean or where they go.

A manifest says what the chunks hold and has a digest of each, so that a chunk that was cut, changed or
overwritten by another snapshot is found before anything of it is used. Nothing but numbers is ever loaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from service.history.table import Array, zeros

FORMAT = 2
_DIGEST_BYTES = 16
_PLAIN = "biuf"  # kinds of numbers: bool, signed, unsigned, float


class BrokenError(ValueError):
    """Saved state that cannot be taken up; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The chunks of some arrays in their order, and what a manifest will say of them."""

    chunks: Sequence[memoryview]
    parts: list[tuple[str, str, list[int], int]]  # name, type, shape, chunks
    digests: list[str]

    def manifest(self, about: Mapping[str, Any]) -> bytes:
        """What makes a snapshot of the chunks, with a digest of itself in front; carries `about`."""
        document = {
            "format": FORMAT,
            "about": dict(about),
            "arrays": self.parts,
            "digests": self.digests,
        }
        body = json.dumps(document, separators=(",", ":")).encode()
        return _digest(body).encode() + body


def freeze(arrays: Mapping[str, Array], chunk_bytes: int) -> Frozen:
    """Chunks of at most so many bytes; the arrays are not copied.

    Raises:
        ValueError: an array holds something else than numbers.
    """
    parts = []
    chunks: list[memoryview] = []
    for name, array in arrays.items():
        if array.dtype.kind not in _PLAIN:
            raise ValueError(f"{name}: {array.dtype} are no numbers")
        cut = _cut(np.ascontiguousarray(array), chunk_bytes)
        parts.append((name, array.dtype.str, list(array.shape), len(cut)))
        chunks += cut
    return Frozen(chunks, parts, [_digest(chunk) for chunk in chunks])


def _digest(body: bytes | memoryview) -> str:
    """Of SHA-256: processors have instructions for it, and take a third of the time of BLAKE2."""
    return sha256(body).hexdigest()[: 2 * _DIGEST_BYTES]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot says of itself."""

    about: dict[str, Any]
    arrays: list[tuple[str, str, tuple[int, ...], int]]  # name, type, shape, chunks
    digests: list[str]

    @classmethod
    def parse(cls, sealed: bytes) -> Manifest:
        """The manifest in these bytes.

        Raises:
            BrokenError: there is none, or it is of a format that this program does not know.
        """
        seal, body = sealed[: 2 * _DIGEST_BYTES], sealed[2 * _DIGEST_BYTES :]
        if seal != _digest(body).encode():
            raise BrokenError("the manifest does not match its digest")
        document = json.loads(body)
        if document["format"] != FORMAT:
            raise BrokenError(f"the manifest is of format {document['format']}, this program reads {FORMAT}")
        arrays = [(name, kind, tuple(shape), chunks) for name, kind, shape, chunks in document["arrays"]]
        return cls(document["about"], arrays, document["digests"])

    def fits(self, number: int, chunk: bytes) -> bool:
        """Whether this is chunk `number`."""
        return number < len(self.digests) and _digest(chunk) == self.digests[number]

    def chunk_sizes(self, chunk_bytes: int) -> Iterator[int]:
        """The bytes of each chunk, for the most that `freeze` was given."""
        for _, kind, shape, count in self.arrays:
            size = np.dtype(kind).itemsize * math.prod(shape)
            for number in range(count):
                yield min(chunk_bytes, size - number * chunk_bytes)

    def thaw(self, chunks: Iterable[tuple[int, bytes]], chunk_bytes: int) -> dict[str, Array]:
        """The arrays, each with memory of its own, from chunks by their numbers in whatever order.

        What does not fit is passed over, for another one of that number may. A chunk is copied to its place
        when it comes, so that this takes hardly more memory than the arrays.

        Raises:
            BrokenError: a chunk is missing or is not what was frozen.
        """
        arrays = {name: zeros(shape, np.dtype(kind)) for name, kind, shape, _ in self.arrays}
        places = [place for array in arrays.values() for place in _cut(array, chunk_bytes)]
        if len(places) != len(self.digests):
            raise BrokenError(f"its {len(self.digests)} chunks are not of {chunk_bytes} bytes")
        missing = set(range(len(places)))
        for number, chunk in chunks:
            if self.fits(number, chunk):
                places[number][:] = chunk
                missing.discard(number)
        if missing:
            raise BrokenError(f"chunk {min(missing)} is not there or does not match its digest")
        return arrays


def _cut(array: Array, chunk_bytes: int) -> list[memoryview]:
    """A contiguous array's memory in pieces of so many bytes, the last one of what is left."""
    body = array.reshape(-1).view(np.uint8).data
    return [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
