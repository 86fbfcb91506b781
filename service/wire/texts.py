r"""Texts inside a buffer of bytes, compiled: where one ends, whether it may be one, and its hash.

A text is told by its span, the places of its first byte and after its last, and stands there as the
inside of a JSON string literal in its shortest form: only `"` and `\` are escaped, nothing else can be,
since texts hold no control characters. So equal texts are equal bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.kernels import inlined, kernel, low_zeros, word_of

Text = npt.NDArray[np.uint8]

ODD = -1
"""The end of a text that only the strict reader can judge."""

_FNV_START, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_U0, _U1, _U32, _U33 = (np.uint64(n) for n in (0, 1, 32, 33))
_QUOTE, _BACKSLASH, _DELETE = (np.uint64(n) for n in (0x22, 0x5C, 0x7F))
_EACH, _HIGH = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)


@kernel
def contains(text: Text, byte: int) -> bool:
    """Whether the byte is anywhere in the text; all of it is looked at, many bytes at a time."""
    found = False
    for at in range(len(text)):
        found |= text[at] == byte
    return found


@inlined
def mixed(h: np.uint64) -> np.uint64:
    """The finaliser of MurmurHash3, so that all bits of a hash depend on all bits of its input."""
    h = (h ^ (h >> _U33)) * _MIX_1
    h = (h ^ (h >> _U33)) * _MIX_2
    return h ^ (h >> _U33)


@inlined
def hash_of(text: Text, start: int, stop: int) -> np.uint64:
    """64-bit FNV-1a, finalised."""
    h = _FNV_START
    for at in range(start, stop):
        h = (h ^ np.uint64(text[at])) * _FNV_PRIME
    return mixed(h)


NO_NAMES = np.uint64(0)
"""The shape of no names."""

_SHAPE_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@inlined
def with_name(shape: np.uint64, name_hash: np.uint64) -> np.uint64:
    """The shape, a hash, of some names in their order and one more."""
    return mixed(shape * _SHAPE_FACTOR ^ name_hash)


@inlined
def same(text: Text, start: int, stop: int, other: Text, other_start: int, other_stop: int) -> bool:
    """Whether two spans, of one buffer or two, hold the same bytes."""
    length = stop - start
    if length != other_stop - other_start:
        return False
    at = 0
    while at + 8 <= length:
        if word_of(text, start + at) != word_of(other, other_start + at):
            return False
        at += 8
    while at < length:
        if text[start + at] != other[other_start + at]:
            return False
        at += 1
    return True


@inlined
def _wide(text: Text, at: int, stop: int) -> int:
    """The length of the UTF-8 sequence of two to four bytes at `at`; 0 if it is none, or must not be here.

    What text must not hold is said in `decode`.
    """
    first = int(text[at])
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if first < 0xC2 or first > 0xF4 or at + length > stop:
        return 0
    code = first & (0x7F >> length)
    for i in range(at + 1, at + length):
        if text[i] & 0xC0 != 0x80:
            return 0
        code = (code << 6) | int(text[i] & 0x3F)
    if (length == 3 and code < 0x800) or (length == 4 and not 0x10000 <= code <= 0x10FFFF):
        return 0  # longer than need be, or past the last character
    if code < 0xA0 or code == 0x061C or 0xD800 <= code <= 0xDFFF:
        return 0
    if 0x200E <= code <= 0x2069 and (code <= 0x200F or 0x2028 <= code <= 0x202E or code >= 0x2066):
        return 0
    return length


@inlined
def _below(word: np.uint64, byte: np.uint64) -> np.uint64:
    """Bit 7 of the lowest of eight ASCII bytes that is below one; perhaps of bytes behind it, too."""
    return (word - byte * _EACH) & ~word & _HIGH


@inlined
def _not_plain(word: np.uint64) -> np.uint64:
    """Bit 7 of the lowest of eight ASCII bytes that ends a text or must not stand in it."""
    odd = _below(word, _U32)
    for byte in (_QUOTE, _BACKSLASH, _DELETE):
        odd |= _below(word ^ (byte * _EACH), _U1)
    return odd


@inlined
def end_of_text(text: Text, at: int, stop: int, most_chars: int) -> int:
    """The place of the quote that ends the text that begins at `at`; ODD if it has an escape or a fault."""
    chars = 0
    while at < stop:
        if at + 8 <= stop:
            word = word_of(text, at)
            if word & _HIGH == _U0:
                plain = low_zeros(_not_plain(word)) >> 3
                at += plain
                chars += plain
                if plain == 8:
                    continue
        byte = text[at]
        if byte == 34:
            return at if chars <= most_chars else ODD
        if byte < 0x20 or byte == 92 or byte == 0x7F:
            return ODD
        if byte < 0x80:
            at += 1
        else:
            length = _wide(text, at, stop)
            if length == 0:
                return ODD
            at += length
        chars += 1
    return ODD
