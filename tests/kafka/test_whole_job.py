from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.kafka.conftest import RunningBroker
from tests.whole_job import whole_job

ROWS = 800


def write_csv(path: Path, seed: int) -> Path:
    """Two values of noise with three large spikes in the last quarter."""
    values = np.random.default_rng(seed).normal([10.0, 50.0], [1.0, 2.0], (ROWS, 2))
    values[[620, 680, 740], 0] += 40.0
    rows = [f"{1_767_225_600_000 + i * 10_000},{a:.4f},{b:.4f}" for i, (a, b) in enumerate(values)]
    path.write_text("\n".join(["timestamp,pressure,flow", *rows]) + "\n", encoding="utf-8")
    return path


def test_every_witness_of_the_whole_job_counts_the_same(broker: RunningBroker, tmp_path: Path) -> None:
    files = [write_csv(tmp_path / f"pump-{seed}.csv", seed) for seed in (1, 2, 3)]
    counts = whole_job(broker.bootstrap_servers, files)
    assert counts.disagreements() == []
    assert counts.results == 3 * ROWS
    assert counts.anomalies > 0
    assert counts.alerts_at_slack > 0
