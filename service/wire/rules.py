"""What text may hold, and how a fault is told; knows which characters, not which member of a record."""

from __future__ import annotations

import json
import re
from typing import Any

from service.wire.data_point import Reason


class FaultError(Exception):
    """The first fault of a record; never leaves the strict path."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)


_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def checked_text(value: object, reason: Reason, what: str, fewest: int, most: int) -> str:
    """The value, if it is text of so many characters.

    Raises:
        FaultError: it is not; the detail names it as `what`.
    """
    if type(value) is not str:
        raise FaultError(reason, f"{what} is {show(value)}, not a string")
    fault = fault_of_text(value, fewest, most)
    if fault:
        raise FaultError(reason, f"{what} {fault}")
    return value


def fault_of_text(text: str, fewest: int, most: int) -> str | None:
    """What is wrong with the text, as the end of a sentence."""
    if len(text) < fewest:
        return "is empty"
    if len(text) > most:
        return f"has {len(text)} characters, more than {most}: {quote(text)}"
    found = _FORBIDDEN.search(text)
    return f"holds the character U+{ord(found[0]):04X}: {quote(text)}" if found else None


_SHOWN_CHARS = 60
_KINDS: dict[Any, str] = {dict: "an object", list: "an array", bool: "a boolean", type(None): "null"}


def show(value: object) -> str:
    """The value as it stood in the record, short, or its kind: `the string "2.13"`, `an array`."""
    if type(value) is str:
        return f"the string {quote(value)}"
    if isinstance(value, str):
        return f"the number {short(str(value))}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _KINDS.get(type(value), type(value).__name__)


def quote(text: str) -> str:
    return short(json.dumps(text[: _SHOWN_CHARS + 1]))


def short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."
