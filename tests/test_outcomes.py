"""The source of a record is the same, looked up for a few or for all."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.outcomes import NO_RESULT, Outcomes
from service.pipeline import DetectionPipeline
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read

POINT = b'{"sourceId":"%s","timestamp":%d,"values":1}'
SOURCES = (b"pump-7", b"p\xc3\xbcmp", rb"a \"quoted\" one", rb"back\\slash")
KINDS = ("point", "tombstone", "bad")


def outcomes_of(records: list[tuple[str, int]]) -> Outcomes:
    values: list[bytes | None] = []
    for i, (kind, source) in enumerate(records):
        body = POINT % (SOURCES[source], i) if kind == "point" else b"not JSON"
        values.append(None if kind == "tombstone" else body)
    keys: list[bytes | None] = [b"pump-7"] * len(records)
    batch = RecordBatch(values, keys, {}, np.arange(len(records)), np.full(len(records), 1000))
    return DetectionPipeline().process_read(read(batch, InputLimits()))


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, len(SOURCES) - 1)), max_size=12), st.data())
def test_the_keys_of_some_records_are_those_that_all_have(
    records: list[tuple[str, int]], data: st.DataObject
) -> None:
    outcomes = outcomes_of(records)
    answered = np.flatnonzero(outcomes.status != NO_RESULT).tolist()
    some = data.draw(st.lists(st.sampled_from(answered), unique=True)) if answered else []
    assert outcomes.keys_of(some) == [outcomes.keys[i] for i in some]


def test_a_key_is_the_source_as_it_is_and_not_as_it_was_escaped() -> None:
    outcomes = outcomes_of([("point", 2), ("tombstone", 0), ("bad", 0), ("point", 3)])
    assert outcomes.keys == [b'a "quoted" one', b"pump-7", b"", rb"back\slash"]
    assert outcomes.keys_of([3, 1, 0]) == [rb"back\slash", b"pump-7", b'a "quoted" one']
