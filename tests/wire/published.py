"""Published bodies read back strictly, and what the numbers in them may be."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import strategies as st

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
    st.sampled_from(['"', "\\", '\\"}', "</script>", "pump 7 ü 水 🚰", "", "null"]),
)


def _refuse(literal: str) -> None:
    raise AssertionError(f"{literal} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs), f"a name stands twice in {pairs}"
    return dict(pairs)


def read(body: bytes) -> dict[str, Any]:
    """The body as strict JSON: UTF-8, no NaN, no name twice."""
    document = json.loads(body.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_once)
    assert isinstance(document, dict)
    return document


def rounded(number: float, figures: int = 6) -> object:
    """What a computed number of so many digits reads back as."""
    return pytest.approx(number, rel=0.51 * 10.0 ** (1 - figures), abs=0.0) if math.isfinite(number) else None
