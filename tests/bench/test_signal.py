from __future__ import annotations

import numpy as np
import pytest

from service.bench.signal import (
    TEMPLATES,
    Signal,
    number_of,
    order_of,
    partitions_of,
    source_id,
    sources_of,
    value_names,
)
from service.wire.partitioning import partition_of


@pytest.mark.parametrize("partitions", [1, 4, 7])
def test_all_partitions_at_once_are_those_of_each_key(partitions: int) -> None:
    found = partitions_of(500, partitions).tolist()
    assert found == [partition_of(source_id(i), partitions) for i in range(500)]


def test_every_source_is_in_one_partition() -> None:
    parts = [sources_of(partition, 300, 4) for partition in range(4)]
    assert sorted(source for part in parts for source in part) == [source_id(i) for i in range(300)]


def test_a_source_has_its_number_in_its_name() -> None:
    assert number_of(source_id(4_711)) == 4_711


def test_names_of_values_differ() -> None:
    assert len(set(value_names(20))) == 20


def test_the_signal_is_the_same_each_time_and_goes_on() -> None:
    numbers = np.arange(50)
    first, again = Signal(3).at(numbers, -2), Signal(3).at(numbers, -2)
    assert first.shape == (50, 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, Signal(3).at(numbers, -1))


def test_sources_of_one_template_live_alike() -> None:
    signal = Signal(1)
    alike = np.array([5, 5 + TEMPLATES, 5 + 2 * TEMPLATES])
    values = np.concatenate([signal.at(alike, step) for step in range(400)], axis=1)
    spread = values.std(axis=1).mean()
    assert np.ptp(values.mean(axis=1)) < spread


def test_each_step_has_everybody_in_another_order() -> None:
    first, second = order_of(100, 0), order_of(100, 1)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(100))
    assert first.tolist() != second.tolist()
