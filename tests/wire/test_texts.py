from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.wire.texts import ODD, end_of_text, same

PLAIN = [b"a", b"7", b" ", b"!", b"#", b"[", b"]", b"~", "é".encode(), "€".encode(), "𝄞".encode()]
FAULTS = [b"\x00", b"\x1f", b"\\", b"\x7f", b"\xff", "\u2028".encode(), "\x85".encode()]
pieces = st.lists(st.sampled_from([*PLAIN * 15, *FAULTS]) | st.just(b'"'), max_size=40)


def end_of(found: list[bytes], most_chars: int) -> int:
    """Where the first quote stands, unless a fault or too many characters come first."""
    at = 0
    for chars, piece in enumerate(found):
        if piece == b'"':
            return at if chars <= most_chars else ODD
        if piece in FAULTS:
            return ODD
        at += len(piece)
    return ODD


@given(pieces, st.integers(0, 40), st.integers(0, 9))
def test_a_text_ends_at_its_quote_unless_it_is_odd_before(
    found: list[bytes], most_chars: int, behind: int
) -> None:
    body = b"".join(found)
    text = np.frombuffer(body + b'"' * behind + b"?", np.uint8)
    assert end_of_text(text, 0, len(body), most_chars) == end_of(found, most_chars)


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 9), st.integers(0, 39))
def test_spans_are_the_same_if_their_bytes_are(one: bytes, other: bytes, lead: int, changed: int) -> None:
    def are_same(a: bytes, b: bytes) -> bool:
        text, beside = np.frombuffer(b"?" * lead + a, np.uint8), np.frombuffer(b + b"!", np.uint8)
        return bool(same(text, lead, lead + len(a), beside, 0, len(b)))

    assert are_same(one, one)
    assert are_same(one, other) == (one == other)
    if one:
        at = changed % len(one)
        assert not are_same(one, one[:at] + bytes([one[at] ^ 1]) + one[at + 1 :])
