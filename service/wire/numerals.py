"""Decimal text to doubles and back, compiled; knows the grammar of a JSON number and nothing around it.

Reading gives the nearest double (Clinger's exact cases, else Eisel and Lemire: "Number Parsing at a
Gigabyte per Second", 2021) or says that the number is not for this reader. Writing gives up to six
significant digits in the form of C's `%g`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.kernels import bits_of, inlined, kernel, put_word

Text = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

ODD = -1
"""The place after a number that only the strict reader can judge, or that is none."""

_LEAST_POWER, _MOST_POWER = -342, 308
_MOST_DIGITS = 19  # that surely fit into 64 bits


def _powers_of_five() -> Words:
    """The 128 leading bits of 5^q for every q that matters, as (high, low), after Lemire's appendix B."""
    words = []
    for q in range(_LEAST_POWER, _MOST_POWER + 1):
        if q < 0:
            power = 5**-q
            bits = power.bit_length() if power & (power - 1) else power.bit_length() - 1
            value = (1 << (bits + 127 if q >= -27 else 2 * bits + 128)) // power + 1
        else:
            value = 5**q << 128
        value >>= value.bit_length() - 128
        words.append((value >> 64, value & (2**64 - 1)))
    return np.array(words, np.uint64)


_POWERS_OF_FIVE = _powers_of_five()
_EXACT_TENS = 10.0 ** np.arange(23)  # the powers of ten that a double holds exactly
_TENS = np.array([float(f"1e{power}") for power in range(-330, 309)])
_NO_TEN = 330  # place of 10^0 in `_TENS`

_U0, _U1, _U2, _U3 = (np.uint64(n) for n in range(4))
_U8, _U9, _U10, _U16, _U32, _U52, _U63 = (np.uint64(n) for n in (8, 9, 10, 16, 32, 52, 63))
_LOW_32 = np.uint64(0xFFFFFFFF)
_LOW_9 = np.uint64(0x1FF)
_ALL_64 = np.uint64(0xFFFFFFFFFFFFFFFF)
_HIDDEN = np.uint64(1 << 52)
_EXACT_MANTISSA = np.uint64(1 << 53)


@kernel
def _product(a: np.uint64, b: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The 128 bits of a · b as (high, low)."""
    a_low, a_high = a & _LOW_32, a >> _U32
    b_low, b_high = b & _LOW_32, b >> _U32
    low = a_low * b_low
    middle = a_high * b_low + (low >> _U32)
    other = a_low * b_high + (middle & _LOW_32)
    return a_high * b_high + (middle >> _U32) + (other >> _U32), a * b


@kernel
def _leading_zeros(word: np.uint64) -> int:
    zeros = 0
    for step in (32, 16, 8, 4, 2, 1):
        if word >> np.uint64(64 - step) == _U0:
            zeros += step
            word <<= np.uint64(step)
    return zeros


@kernel
def _nearest(mantissa: np.uint64, power: int, word: Words) -> bool:
    """The bits of the double nearest to mantissa · 10^power into `word`; false if it is not a normal one.

    `mantissa` is not 0. Names follow the paper's algorithm 1.
    """
    if power < _LEAST_POWER or power > _MOST_POWER:
        return False
    shift = _leading_zeros(mantissa)
    w = mantissa << np.uint64(shift)
    row = power - _LEAST_POWER
    high, low = _product(w, _POWERS_OF_FIVE[row, 0])
    if high & _LOW_9 == _LOW_9:
        more, _ = _product(w, _POWERS_OF_FIVE[row, 1])
        low += more
        if more > low:
            high += _U1
    if low == _ALL_64 and (power < -27 or power > 55):
        return False
    upper = high >> _U63
    m = high >> (upper + _U9)
    exponent = (((152170 + 65536) * power) >> 16) + 63 + int(upper) - shift + 1023
    if exponent <= 0 or exponent >= 2046:
        return False
    if low <= _U1 and -4 <= power <= 23 and m & _U3 == _U1 and m << (upper + _U9) == high:
        m &= ~_U1  # exactly halfway, and even below
    m = (m + (m & _U1)) >> _U1
    if m >= _HIDDEN << _U1:
        m = _HIDDEN
        exponent += 1
    word[0] = (m & ~_HIDDEN) | (np.uint64(exponent) << _U52)
    return True


@inlined
def read_number(text: Text, at: int, stop: int, word: Words, number: npt.NDArray[np.float64]) -> int:
    """Read the JSON number that begins at `at` into `number[0]`; the place after it, or ODD.

    ODD also where more than 19 digits count, and near the ends of what a double can hold. `number` is a
    view of the one element of `word`.
    """
    negative = at < stop and text[at] == 45
    if negative:
        at += 1
    first = at
    mantissa = _U0
    digits = 0  # from the first that is not zero
    while at < stop and 48 <= text[at] <= 57:
        if digits > 0 or text[at] != 48:
            digits += 1
            mantissa = mantissa * _U10 + np.uint64(text[at] - 48)
        at += 1
    if at == first or (text[first] == 48 and at > first + 1):
        return ODD
    power = 0
    whole = True
    if at < stop and text[at] == 46:
        whole = False
        at += 1
        first = at
        while at < stop and 48 <= text[at] <= 57:
            if digits > 0 or text[at] != 48:
                digits += 1
                mantissa = mantissa * _U10 + np.uint64(text[at] - 48)
            at += 1
        if at == first:
            return ODD
        power = first - at
    if at < stop and (text[at] == 101 or text[at] == 69):
        whole = False
        at += 1
        sign = 1
        if at < stop and (text[at] == 43 or text[at] == 45):
            sign = -1 if text[at] == 45 else 1
            at += 1
        first = at
        exponent = 0
        while at < stop and 48 <= text[at] <= 57:
            exponent = min(exponent * 10 + int(text[at]) - 48, 100_000)
            at += 1
        if at == first:
            return ODD
        power += sign * exponent
    if digits > _MOST_DIGITS:
        return ODD
    if mantissa == _U0:
        number[0] = -0.0 if negative and not whole else 0.0  # the integer -0 is 0
        return at
    if mantissa <= _EXACT_MANTISSA and -22 <= power <= 22:
        number[0] = float(mantissa)
        if power < 0:
            number[0] /= _EXACT_TENS[-power]
        else:
            number[0] *= _EXACT_TENS[power]
    elif not _nearest(mantissa, power, word):
        return ODD
    if negative:
        number[0] = -number[0]
    return at


MOST_COMPUTED_BYTES = 16  # of -1.23456e-308, and as many as are written on the way
_PAIRS = np.frombuffer(b"".join(b"%02d" % i for i in range(100)), np.uint8)
_PAIR_WORDS = _PAIRS.view("<u2").astype(np.uint64)
_ENDS_IN_ZERO = (np.arange(100) % 10 == 0).astype(np.int64)
_WHOLE_TENS = np.array([10**power for power in range(7)], np.uint32)
_U100, _U10_000 = np.uint32(100), np.uint32(10_000)
_FOUR = 4
_NULL, _NOTHING_AND = (np.uint64(int.from_bytes(text, "little")) for text in (b"null", b"0.0000"))
_ZERO, _POINT, _MINUS, _PLUS, _E = (np.uint64(ord(text)) for text in "0.-+e")
_ZEROS = np.uint64(int.from_bytes(b"00", "little"))
_U64, _U56 = np.uint64(64), np.uint64(56)
_LOW_8 = np.uint64(0xFF)
_SPACE = 32
_LARGEST_OF_FOUR = 1.797e308  # what is larger would be rounded to what no double can hold


@inlined
def text_of(x: float, figures: int) -> tuple[np.uint64, np.uint64, int]:
    """A number with 4 or 6 significant digits, without zeros behind: the bytes of its text, and how many.

    They are in two words, the first lowest: what comes of one number does not wait for the length of another,
    so several are formatted in the time of one. What is not finite is null.
    """
    if bits_of(x) == 0:  # most often
        return _ZERO, _U0, 1
    return _text_of(x, figures)


@inlined
def _text_of(x: float, figures: int) -> tuple[np.uint64, np.uint64, int]:
    if x - x != 0.0:
        return _NULL, _U0, 4
    is_negative = bits_of(x) < 0
    x = abs(x) if figures != _FOUR else min(abs(x), _LARGEST_OF_FOUR)
    if x == 0.0:
        return _MINUS | (_ZERO << _U8), _U0, 2
    # The decimal exponent from the binary one, at most one too small.
    binary = bits_of(x) >> 52
    if binary == 0:  # not a normal number
        binary = bits_of(x * 2.0**64) >> 52
        binary -= 64
    exponent = ((binary - 1023) * 78_913) >> 18  # log10 of 2
    exponent += int(x >= _TENS[exponent + 1 + _NO_TEN])
    shift = figures - 1 - exponent
    if shift > 300:  # 10^shift could be past the largest double
        scaled = x * 1e200 * _TENS[shift - 200 + _NO_TEN]
    elif shift >= 0:
        scaled = x * _TENS[shift + _NO_TEN]
    else:
        scaled = x / _TENS[_NO_TEN - shift]
    digits, least = np.uint32(np.rint(scaled)), _WHOLE_TENS[figures - 1]
    if digits >= _WHOLE_TENS[figures]:
        digits = least
        exponent += 1
    elif digits < least:  # rounding of the scale put x just below its power of ten
        digits = least
    text, count = _four(digits) if figures == _FOUR else _six(digits)
    if exponent < -4 or exponent >= 6:
        low, high, stop = _scientific(text, count, exponent)
    else:
        low, high, stop = _plain(text, count, exponent)
    if is_negative:
        return (low << _U8) | _MINUS, (high << _U8) | (low >> _U56), stop + 1
    return low, high, stop


@inlined
def _plain(text: np.uint64, count: int, exponent: int) -> tuple[np.uint64, np.uint64, int]:
    """The digits, the first of which counts 10^exponent, with a point among or zeros before them."""
    below_one = exponent < 0
    before = 0 if below_one else exponent + 1  # digits before the point
    bits = np.uint64(8 * before)
    head = _NOTHING_AND if below_one else (text & ((_U1 << bits) - _U1)) | (_POINT << bits)
    length = 1 - exponent if below_one else before + 1
    rest, bits = text >> bits, np.uint64(8 * length)
    low = (head & ((_U1 << bits) - _U1)) | (rest << bits)
    return low, rest >> (_U64 - bits), length + count - before if count > before else before


@kernel
def _scientific(text: np.uint64, count: int, exponent: int) -> tuple[np.uint64, np.uint64, int]:
    """The digits with a point behind the first, and the power of ten."""
    low, stop = text & _LOW_8, 1
    if count > 1:
        low |= (_POINT << _U8) | (text >> _U8 << _U16)
        stop = count + 1
        low &= (_U1 << np.uint64(8 * stop)) - _U1
    size = abs(exponent)
    power, bytes_of_it = _PAIR_WORDS[size % 100], 2
    if size >= 100:
        power, bytes_of_it = (power << _U8) | (_ZERO + np.uint64(size // 100)), 3
    power = _E | ((_MINUS if exponent < 0 else _PLUS) << _U8) | (power << _U16)
    bits = np.uint64(8 * stop)
    return low | (power << bits), power >> (_U64 - bits), stop + 2 + bytes_of_it


@inlined
def _six(digits: np.uint32) -> tuple[np.uint64, int]:
    """The bytes of six digits as a word, the first lowest, and how many are left without zeros at the end."""
    first, middle, last = digits // _U10_000, digits // _U100 % _U100, digits % _U100
    text = _PAIR_WORDS[first] | (_PAIR_WORDS[middle] << _U16) | (_PAIR_WORDS[last] << _U32)
    if last:
        return text, 6 - _ENDS_IN_ZERO[last]
    if middle:
        return text, 4 - _ENDS_IN_ZERO[middle]
    return text, 2 - _ENDS_IN_ZERO[first]


@inlined
def _four(digits: np.uint32) -> tuple[np.uint64, int]:
    """The same of four digits, with two zeros behind."""
    first, last = digits // _U100, digits % _U100
    text = _PAIR_WORDS[first] | (_PAIR_WORDS[last] << _U16) | (_ZEROS << _U32)
    return text, 4 - _ENDS_IN_ZERO[last] if last else 2 - _ENDS_IN_ZERO[first]


@inlined
def put_text(out: Text, at: int, low: np.uint64, high: np.uint64, count: int) -> int:
    """Write what `text_of` gave; the place after it. What lies behind, up to 16 bytes, is lost."""
    put_word(out, at, low)
    put_word(out, at + 8, high)
    return at + count


@kernel
def _write_all(out: Text, numbers: npt.NDArray[np.float64], figures: int) -> int:
    at = 0
    for x in numbers:
        low, high, count = text_of(x, figures)
        at = put_text(out, at, low, high, count)
        out[at] = _SPACE
        at += 1
    return at


def computed_texts(numbers: Sequence[float], figures: int = 6) -> list[str]:
    """The `text_of` each, for records that are written one by one.

    All numbers of a record at once: the way into a kernel takes longer than to write one.
    """
    out = np.empty(len(numbers) * (MOST_COMPUTED_BYTES + 1), np.uint8)
    stop = _write_all(out, np.array(numbers, np.float64), figures)
    return out[:stop].tobytes().decode().split()
