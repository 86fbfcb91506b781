"""What is said to be held back is what a producer by librdkafka's rules holds back, or a little more."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.stream.bulk import Bulk
from service.stream.lingering import FullRequest

FRAME, HEADERS = 12, (("x-in-topic", b"points"), ("x-model", b"m"))
BESIDE = FRAME + sum(len(name) + len(value) + 2 for name, value in (*HEADERS, ("x-in-offset", b"0")))


def a_bulk(sizes: list[int], partition: int = 1, topic: str = "results") -> Bulk:
    none, body = np.zeros(len(sizes), np.int64), np.zeros(sum(sizes), np.uint8)
    return Bulk(topic, partition, HEADERS, body, np.cumsum(sizes), body, none, none, none)


def held_back(sizes: list[int], full: FullRequest) -> int:
    """What librdkafka does with messages that all wait: full requests go, the rest stays."""
    left = list(sizes)
    while len(left) >= full.messages or sum(left) >= full.bytes:
        taken = on_its_way = 0
        while left and taken < full.messages:
            if taken and on_its_way + left[0] + BESIDE > full.bytes:
                break
            on_its_way += left.pop(0) + BESIDE
            taken += 1
    return len(left)


limits = st.builds(FullRequest, st.integers(20, 60), st.integers(4_000, 20_000))


@given(st.lists(st.integers(1, 900), min_size=1, max_size=300), limits)
def test_no_more_is_held_back_than_is_said(sizes: list[int], full: FullRequest) -> None:
    assert full.held_back([a_bulk(sizes)]) >= held_back(sizes, full)


def test_of_messages_alike_it_is_the_rest_of_full_requests() -> None:
    full = FullRequest(2_000, 1_000_000)
    assert full.held_back([a_bulk([360] * 5_000)]) == 1_000
    assert full.held_back([a_bulk([360] * 1_999)]) == 1_999
    large = [4_000] * 900  # some 245 of them are a request
    assert full.held_back([a_bulk(large)]) == held_back(large, full)


def test_a_partition_s_bulks_are_one_row_and_partitions_are_apart() -> None:
    full = FullRequest(100, 1_000_000)
    parts = [a_bulk([10] * 70), a_bulk([10] * 70)]
    assert full.held_back(parts) == 40
    assert full.held_back([parts[0], a_bulk([10] * 70, partition=2)]) == 140
    assert full.held_back([parts[0], a_bulk([10] * 70, topic="others")]) == 140


def test_what_the_partitioner_shares_out_may_all_be_held_back() -> None:
    assert FullRequest(100, 1_000_000).held_back([a_bulk([10] * 150, partition=-1)]) == 150


def test_limits_are_those_of_the_producer() -> None:
    assert FullRequest.of({"batch.num.messages": "7", "batch.size": 9, "linger.ms": 5}) == FullRequest(7, 9)
