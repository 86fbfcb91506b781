from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.history.layouts import Layouts, place_of_name
from service.wire.texts import NO_NAMES, hash_of, with_name


def place(layouts: Layouts, number: int, name: bytes) -> int:
    rows, names, text = layouts.arrays
    body = np.frombuffer(name, np.uint8)
    digest = np.uint64(hash_of(body, 0, len(body)))
    return int(place_of_name(rows[number], names, text, digest, body, 0, len(body)))


def test_equal_names_share_a_layout_and_their_order_counts() -> None:
    layouts = Layouts()
    first = layouts.take((b"p", b"q"))
    assert layouts.take((b"p", b"q")) == first
    assert layouts.take((b"q", b"p")) != first
    assert layouts.names(first) == (b"p", b"q")
    assert len(layouts) == layouts.few == 2


def test_a_layout_has_the_shape_of_its_names() -> None:
    layouts = Layouts()
    number = layouts.take((b"p", b"flow"))
    shape = NO_NAMES
    for name in (b"p", b"flow"):
        shape = np.uint64(with_name(shape, np.uint64(hash_of(np.frombuffer(name, np.uint8), 0, len(name)))))
    assert layouts.arrays.layouts[number]["shape"] == shape


some_names = st.lists(st.binary(min_size=1, max_size=5), min_size=1, max_size=4, unique=True).map(tuple)


@given(st.lists(st.tuples(some_names, st.booleans()), max_size=60))
def test_what_is_in_use_is_found_and_what_is_not_is_given_again(
    steps: list[tuple[tuple[bytes, ...], bool]],
) -> None:
    layouts, users = Layouts(), dict[tuple[bytes, ...], int]()
    numbers = dict[tuple[bytes, ...], int]()
    for names, take in steps:
        if take:
            numbers[names] = layouts.take(names)
            users[names] = users.get(names, 0) + 1
        elif users.get(names):
            layouts.release(numbers[names])
            users[names] -= 1
    used = {names for names, count in users.items() if count}
    assert len({numbers[names] for names in used}) == len(used)
    for names in used:
        assert layouts.names(numbers[names]) == names
        assert [place(layouts, numbers[names], name) for name in names] == list(range(len(names)))
        assert place(layouts, numbers[names], b"another") == -1


def test_names_of_the_past_take_no_room_for_ever() -> None:
    layouts = Layouts()
    kept = layouts.take((b"kept",))
    for i in range(30_000):
        layouts.release(layouts.take((b"gone-%d" % i, b"x")))
    assert len(layouts) == 2
    assert len(layouts.arrays.names) <= 16_384
    assert place(layouts, kept, b"kept") == 0


def test_too_many_layouts_are_not_looked_through_by_kernels() -> None:
    layouts = Layouts()
    for i in range(1025):
        layouts.take((b"%d" % i,))
    assert layouts.few == 0
