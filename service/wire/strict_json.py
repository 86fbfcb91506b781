"""Bytes into the members of one JSON text, or the first fault of it; knows no member by name."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import numpy as np

from service.wire.data_point import Reason
from service.wire.limits import InputLimits
from service.wire.rules import FaultError, quote


class Integer(str):
    """A number's own digits, so that its size costs nothing."""

    __slots__ = ()


class Fraction(str):
    """A number written with fraction or exponent."""

    __slots__ = ()


def parse(value: bytes, limits: InputLimits) -> Any:
    """The JSON text's value, with numbers left as `Integer` and `Fraction`.

    Raises:
        FaultError: there is none; the reason is in `Reason` no later than LONE_SURROGATE.
    """
    if len(value) > limits.max_record_bytes:
        raise FaultError(Reason.TOO_LARGE, f"{len(value)} bytes, more than {int(limits.max_record_bytes)}")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{value[error.start]:02x} at position {error.start}"
        raise FaultError(Reason.NOT_UTF8, f"{found}: {error.reason}") from None
    _refuse_depth(text, limits.max_depth)
    try:
        document = _STRICT_JSON.decode(text)
    except json.JSONDecodeError as error:
        _refuse_syntax(text, error)
    except FaultError:
        # A key or a literal that is refused ended the reading; if the text is no JSON at all, that is
        # the fault, wherever it stands.
        try:
            _GRAMMAR.decode(text)
        except json.JSONDecodeError as error:
            _refuse_syntax(text, error)
        raise
    if _SURROGATE_ESCAPE.search(text):
        _refuse_lone_surrogates(document)
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise FaultError(Reason.REPEATED_KEY, f"the key {quote(name)} stands twice in one object")
            seen.add(name)
    return members


def _refuse_literal(literal: str) -> NoReturn:
    raise FaultError(Reason.NON_FINITE_NUMBER, f"{literal} is no JSON number")


_STRICT_JSON = json.JSONDecoder(
    object_pairs_hook=_members, parse_constant=_refuse_literal, parse_int=Integer, parse_float=Fraction
)
_GRAMMAR = json.JSONDecoder(parse_constant=str, parse_int=str, parse_float=str)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # possessive: one pass, whatever the text


def _refuse_depth(text: str, max_depth: int) -> None:
    """Counts brackets outside strings before anything recursive sees the text."""
    if text.count("{") + text.count("[") <= max_depth:
        return
    outside = np.frombuffer(_STRING.sub("", text).encode(), dtype=np.uint8)
    opened = (outside == ord("{")) | (outside == ord("["))
    closed = (outside == ord("}")) | (outside == ord("]"))
    depth = np.cumsum(opened.astype(np.int32) - closed.astype(np.int32))
    if depth.size and depth.max() > max_depth:
        raise FaultError(Reason.TOO_DEEP, f"nested {depth.max()} deep, more than {max_depth}")


def _refuse_syntax(text: str, error: json.JSONDecodeError) -> NoReturn:
    if not text:
        detail = "the value is empty"
    elif text.startswith("\ufeff"):
        detail = "starts with a byte order mark"
    else:
        found = quote(text[error.pos : error.pos + 16]) if error.pos < len(text) else "the end"
        detail = f"{error.msg} at character {error.pos}: {found}"
    raise FaultError(Reason.NOT_JSON, detail) from None


def _refuse_lone_surrogates(document: Any) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        found = ord(error.object[error.start])
        detail = f"the escape \\u{found:04x} is half a surrogate pair, which no UTF-8 can hold"
        raise FaultError(Reason.LONE_SURROGATE, detail) from None
