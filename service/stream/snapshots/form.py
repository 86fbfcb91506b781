"""How a snapshot lies on the topic: keys, slots, and what its manifest says of where it belongs.

An input partition has three slots that its generations take in turn, and one for its birth, each of chunks
and a manifest that comes last. A manifest names the one before it, and every chunk the newest manifest before
it, so that from the log's last record all are found without reading the log.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from service.history.frozen import BrokenError, Manifest

GENERATIONS = 3  # that are kept
CHUNK_BYTES = 512 * 1024  # well below what brokers take by default
POINTER = "x-manifest"
NONE = -1
"""Stands for no offset."""

_MANIFEST = "manifest"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose state it is: a consumer group's, of one input topic as it was made, under one model."""

    group: str
    topic: str
    topic_id: str
    partitions: int
    model: str


@dataclass(frozen=True, slots=True)
class About:
    """What a manifest says: the state at `offset` of a history that began at `born`.

    Attributes:
        offset: the first input record that is not in the state.
        born: the first one that is.
        generation: counts the snapshots of a partition; 0 is the birth, which holds nothing learned.
        chunks_from: offset of the first chunk in the snapshots topic.
        previous: offset of the manifest before this one there.
        taken_ms: when it was taken, on the clock of whoever took it.
    """

    subject: Subject
    partition: int
    born: int
    offset: int
    generation: int
    chunks_from: int
    previous: int
    taken_ms: int

    @property
    def slot(self) -> str:
        return str(self.generation % GENERATIONS) if self.generation else "birth"

    @property
    def is_birth(self) -> bool:
        return self.generation == 0

    @property
    def manifest_key(self) -> bytes:
        return f"{self.partition}/{self.slot}/{_MANIFEST}".encode()

    def chunk_key(self, number: int) -> bytes:
        return f"{self.partition}/{self.slot}/{number}".encode()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """What this manifest says.

        Raises:
            BrokenError: it is not about a partition's state.
        """
        try:
            about = dict(manifest.about)
            return cls(Subject(**about.pop("subject")), **about)
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenError(f"the manifest is not one of a partition's state: {error}") from None


def is_manifest(key: bytes | None, partition: int) -> bool:
    """Whether a record of the topic with this key is a manifest of this input partition."""
    first, _, rest = (key or b"").partition(b"/")
    return first == b"%d" % partition and rest.endswith(b"/" + _MANIFEST.encode())
