"""A small part of `python -m tests.faults` on every run: what dies comes back, and the audit is clean.

What is published again after a restart need not have the bytes of an uninterrupted run here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.stream.auditing.findings import Kind
from tests.faults.bed import Bed, Ground, Options
from tests.faults.cases.kills import die_at, kill
from tests.kafka.conftest import RunningBroker

pytestmark = pytest.mark.kafka

QUICK = Options(kills=2, rate=500.0, sources=200, partitions=2)


@contextmanager
def _bed(name: str, broker: RunningBroker, directory: Path) -> Iterator[Bed]:
    """A case's bed; at the end nothing may be missing, double or out of order."""
    bed = Bed(name, QUICK, Ground(broker.bootstrap_servers, broker.bootstrap_servers), directory)
    try:
        yield bed
        report = bed.finish()
    finally:
        bed.close()
    assert bed.problems == []
    assert report is not None
    assert {kind for kind, _, _ in report.findings} <= {Kind.DIFFERING}, report.as_json()


def test_kills_at_random_moments_lose_and_repeat_nothing(broker: RunningBroker, tmp_path: Path) -> None:
    with _bed("kill", broker, tmp_path) as bed:
        kill(bed)
    assert len(bed.recoveries) == QUICK.kills


def test_a_kill_at_each_step_of_a_transaction_loses_and_repeats_nothing(
    broker: RunningBroker, tmp_path: Path
) -> None:
    with _bed("kill-points", broker, tmp_path) as bed:
        post = bed.under_load()
        assert die_at(bed, post, "after-produce", 7)
        assert die_at(bed, post, "after-send-offsets", 3)
        assert die_at(bed, post, "after-commit", 5)
