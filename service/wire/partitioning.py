"""Which partition a key goes to: Java's default partitioner, as our producers (murmur2_random) use it."""

from __future__ import annotations

from functools import lru_cache

_SEED = 0x9747B28C
_FACTOR = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit MurmurHash2 of `org.apache.kafka.common.utils.Utils.murmur2`, unsigned."""
    length = len(data)
    h = _SEED ^ length
    whole = length - length % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _FACTOR & _MASK
        k = (k ^ (k >> 24)) * _FACTOR & _MASK
        h = (h * _FACTOR & _MASK) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * _FACTOR & _MASK
    h = (h ^ (h >> 13)) * _FACTOR & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)
def partition_of(source_id: str, partitions: int) -> int:
    """The partition, of so many, that a point keyed by its source goes to."""
    return (murmur2(source_id.encode()) & 0x7FFFFFFF) % partitions
