from __future__ import annotations

import math
import struct
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.wire.numerals import ODD, computed_texts, read_number

finite = st.floats(allow_nan=False, allow_infinity=False)
any_bits = (
    st.binary(min_size=8, max_size=8).map(lambda b: float(struct.unpack("<d", b)[0])).filter(math.isfinite)
)


def read(text: str) -> tuple[int, float]:
    """The place after the number in the text, and the number."""
    body = np.frombuffer(bytearray(text.encode()), np.uint8)
    word = np.zeros(1, np.uint64)
    number = word.view(np.float64)
    return int(read_number(body, 0, len(body), word, number)), float(number[0])


@settings(max_examples=2000)
@given(finite | any_bits)
def test_a_double_is_read_back_to_the_bit_from_its_shortest_form(x: float) -> None:
    text = repr(x)
    end, number = read(text)
    if end == ODD:
        assert abs(x) < 1e-300 or abs(x) > 1e300, text
    else:
        assert (end, repr(number)) == (len(text), repr(float(text)))


@settings(max_examples=2000)
@given(st.from_regex(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
@example("9007199254740993")
@example("9007199254740993e0")
@example("4503599627370497.5")
@example("1.00000000000000011102230246251565")
@example("0.000000000000000000000000000123")
@example("8.5e15")
def test_a_number_that_is_read_is_the_nearest_double(text: str) -> None:
    end, number = read(text)
    if end != ODD:
        expected = float(text)
        if not any(mark in text for mark in ".eE"):
            expected += 0.0  # the integer -0 is 0
        assert (end, repr(number)) == (len(text), repr(expected))


@pytest.mark.parametrize(
    "text", ["", "-", "01", "-01", ".5", "1.", "1.e5", "1e", "1e+", "+1", "NaN", "1" * 20]
)
def test_what_is_no_number_or_too_long_is_left(text: str) -> None:
    assert read(text)[0] == ODD


@pytest.mark.parametrize(
    ("text", "end"), [("12,", 2), ("1.5}", 3), ("0]", 1), ("1e5 ", 3), ("-0.0,", 4), ("0x", 1)]
)
def test_reading_ends_behind_the_number(text: str, end: int) -> None:
    assert read(text)[0] == end


@pytest.mark.parametrize("figures", [4, 6])
@settings(max_examples=3000)
@given(finite | any_bits | st.floats(-1e7, 1e7) | st.integers(-(10**8), 10**8).map(float))
@example(999_999.5)
@example(99_999.95)
@example(9_999.5)
@example(-0.0)
@example(5e-324)
@example(1.797e308)
@example(-sys.float_info.max)
@example(0.0001)
@example(0.00001)
def test_computed_numbers_have_so_many_digits_in_the_form_of_g(figures: int, x: float) -> None:
    (text,) = computed_texts([x], figures)
    unit = 10.0 ** (1 - figures)
    assert math.isclose(float(text), x, rel_tol=0.5000001 * unit, abs_tol=0.0)
    # Exactly what C writes, but for the last digit of what lies within rounding of a half, and large numbers
    # are written out up to a million.
    if abs(x) <= 1.797e308:  # beyond, four digits could be rounded up to what is no number
        assert math.isclose(float(text), float(f"{x:.{figures}g}"), rel_tol=1.1 * unit)
    assert len(text) <= len(f"{float(text):.6g}")


@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null(x: float) -> None:
    assert computed_texts([1.5, x, 2]) == ["1.5", "null", "2"]
