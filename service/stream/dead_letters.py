"""Records that nothing can be made of: original bytes untouched, the reason in headers."""

from __future__ import annotations

from service.wire.data_point import InvalidRecord

Headers = list[tuple[str, bytes]]


def headers(invalid: InvalidRecord, original: Headers | None, provenance: Headers) -> Headers:
    """The original headers, then where the record stood and why it is here."""
    return [
        *(original or []),
        *provenance,
        ("x-reason", invalid.reason.encode()),
        ("x-detail", invalid.detail.encode()),
    ]
