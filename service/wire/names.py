"""The tuples of value names that points of one shape share; knows no JSON and no values."""

from __future__ import annotations

from functools import lru_cache

from service.wire.limits import MAX_NAME_CHARS

BARE = ("value",)
CACHED_NAMES = 64  # wider points take the strict path, so that the cache stays below 50 MB at its worst


@lru_cache(maxsize=1024)
def checked_names(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The very tuple that came first, so that points of one shape share their names; None if one is odd.

    `isprintable` is stricter than the rule for text, which is then asked by the strict path.
    """
    good = all(0 < len(name) <= MAX_NAME_CHARS and name.isprintable() for name in names)
    return names if good and names else None


def shared_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Legal names, as the one tuple that points of this shape share."""
    return (checked_names(names) or names) if len(names) <= CACHED_NAMES else names


@lru_cache(maxsize=64)
def index_names(count: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(count))
