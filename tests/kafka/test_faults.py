"""A small part of `python -m tests.faults` on every run: what dies comes back, and the audit is clean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.bed import Bed, Ground, Options
from tests.faults.cases.kills import die_at, kill
from tests.faults.cases.snapshots import restore_corrupted
from tests.kafka.conftest import RunningBroker

pytestmark = pytest.mark.kafka

QUICK = Options(kills=2, rate=500.0, sources=200, partitions=2, corruptions=10)


@contextmanager
def _bed(name: str, broker: RunningBroker, directory: Path) -> Iterator[Bed]:
    """A case's bed; at the end nothing may be missing, double, out of order or of other bytes."""
    bed = Bed(name, QUICK, Ground(broker.bootstrap_servers, broker.bootstrap_servers), directory)
    try:
        yield bed
        report = bed.finish()
    finally:
        bed.close()
    assert bed.problems == []
    assert report is not None
    assert report.clean, report.as_json()


def test_kills_at_random_moments_and_at_named_ones_lose_repeat_and_change_nothing(
    broker: RunningBroker, tmp_path: Path
) -> None:
    with _bed("kill", broker, tmp_path) as bed:
        kill(bed)
        (post,) = bed.posts
        assert die_at(bed, post, "after-send-offsets", 3)
        assert die_at(bed, post, "after-commit", 5)
        assert die_at(bed, post, "mid-restore", 1)
    assert len(bed.recoveries) == QUICK.kills + 3


def test_a_partition_comes_back_to_the_bit_whichever_of_its_snapshots_are_damaged(
    broker: RunningBroker, tmp_path: Path
) -> None:
    bed = Bed("corrupted", QUICK, Ground(broker.bootstrap_servers, broker.bootstrap_servers), tmp_path)
    try:
        restore_corrupted(bed, QUICK.corruptions)
    finally:
        bed.close()
    assert bed.problems == []
