from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from service.history.frozen import BrokenError, Frozen, Manifest, freeze
from service.history.table import Array

ABOUT = {"model": "0123456789ab", "offset": 17}

some_arrays = st.dictionaries(
    st.text(max_size=8),
    arrays_of.arrays(
        st.sampled_from([np.uint8, np.int32, np.int64, np.uint64, np.float32, np.float64, np.bool_]),
        arrays_of.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=9),
    ),
    max_size=5,
)


def thawed(frozen: Frozen, chunk_bytes: int) -> dict[str, Array]:
    return Manifest.parse(frozen.manifest(ABOUT)).thaw(enumerate(map(bytes, frozen.chunks)), chunk_bytes)


@given(some_arrays, st.integers(1, 64))
def test_arrays_come_back_to_the_bit(arrays: dict[str, Array], chunk_bytes: int) -> None:
    frozen = freeze(arrays, chunk_bytes)
    assert all(0 < len(chunk) <= chunk_bytes for chunk in frozen.chunks)
    again = thawed(frozen, chunk_bytes)
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)
        assert again[name].tobytes() == array.tobytes()
        assert again[name].flags.writeable
    assert Manifest.parse(frozen.manifest(ABOUT)).about == ABOUT


@given(st.data())
def test_a_flipped_bit_or_a_cut_is_found_wherever_it_is(data: st.DataObject) -> None:
    frozen = freeze({"a": np.arange(40.0), "b": np.arange(9, dtype=np.uint8)}, 50)
    parts = [frozen.manifest(ABOUT), *(bytes(chunk) for chunk in frozen.chunks)]
    which = data.draw(st.integers(0, len(parts) - 1))
    broken = bytearray(parts[which])
    if data.draw(st.booleans()):
        bit = data.draw(st.integers(0, 8 * len(broken) - 1))
        broken[bit // 8] ^= 1 << bit % 8
    else:
        del broken[data.draw(st.integers(0, len(broken) - 1)) :]
    parts[which] = bytes(broken)
    with pytest.raises(BrokenError):
        Manifest.parse(parts[0]).thaw(enumerate(parts[1:]), 50)


def test_chunks_that_are_missing_or_of_another_number_are_refused() -> None:
    frozen = freeze({"a": np.arange(40.0)}, 100)
    chunks = [bytes(chunk) for chunk in frozen.chunks]
    manifest = Manifest.parse(frozen.manifest(ABOUT))
    with pytest.raises(BrokenError, match="chunk 3 is not there"):
        manifest.thaw(enumerate(chunks[:-1]), 100)
    with pytest.raises(BrokenError, match="chunk 0 is not there or does not match"):
        manifest.thaw(enumerate(chunks[::-1]), 100)
    with pytest.raises(BrokenError, match="4 chunks are not of 50 bytes"):
        manifest.thaw(enumerate(chunks), 50)


@given(st.data())
def test_chunks_may_come_in_any_order_among_others_that_are_none(data: st.DataObject) -> None:
    arrays = {"a": np.arange(40.0), "b": np.arange(9, dtype=np.uint8)}
    frozen = freeze(arrays, 50)
    chunks = list(enumerate(map(bytes, frozen.chunks)))
    others = [(number, chunk[::-1] + b"?") for number, chunk in chunks] + [(len(chunks), b"")]
    came = data.draw(st.permutations([*chunks, *others]))
    again = Manifest.parse(frozen.manifest(ABOUT)).thaw(came, 50)
    assert {n: a.tobytes() for n, a in again.items()} == {n: a.tobytes() for n, a in arrays.items()}


def test_objects_are_never_frozen() -> None:
    with pytest.raises(ValueError, match="a: object are no numbers"):
        freeze({"a": np.array([object()])}, 100)
