"""The peers' scores on series, in several processes; SPOT by an interpreter that has it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from service.errors import AnomalydError
from tests.benchmarks.quality import peers
from tests.benchmarks.quality.arrays import Floats
from tests.benchmarks.quality.bench import Bench
from tests.benchmarks.quality.libraries import SPOT

MOST_SPOT_VALUES = 2_000_000
"""SPOT takes 0.2 ms a value; sets with more values than this it is spared."""
_ROOT = Path(__file__).resolve().parents[3]


class Valued(Protocol):
    """A source whose values (n, k) can be had."""

    def values(self) -> Floats: ...


@dataclass(frozen=True, slots=True)
class PeerTask:
    """Every peer on one source."""

    stream: Valued

    def __call__(self) -> dict[str, Floats]:
        return peers.scores(self.stream.values())


@dataclass(frozen=True, slots=True)
class SpotTask:
    """SPOT on every value of one source, by another interpreter."""

    stream: Valued
    python: str

    def __call__(self) -> dict[str, Floats]:
        columns = peers.filled(self.stream.values()).T
        with tempfile.TemporaryDirectory(prefix="anomalyd-spot-") as name:
            given, made = Path(name) / "in.npz", Path(name) / "out.npz"
            np.savez(given, **{str(i): column for i, column in enumerate(columns)})
            command = [self.python, "-m", "tests.benchmarks.quality.libraries", str(given), str(made)]
            ran = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
            if ran.returncode:
                raise AnomalydError(f"SPOT: {ran.stderr.strip().splitlines()[-1]}")
            with np.load(made) as found:
                each = np.column_stack([found[str(i)] for i in range(len(columns))])
        return peers.joined(SPOT, each)


def peer_scores(
    bench: Bench, streams: Sequence[Valued], what: str, python: str | None
) -> dict[str, list[Floats]]:
    """By peer the scores of each source; SPOT only with the interpreter and where it is not too slow."""
    found = bench.run([PeerTask(stream) for stream in streams], f"peers on {what}")
    if python and sum(stream.values().size for stream in streams) <= MOST_SPOT_VALUES:
        by_spot = bench.run([SpotTask(stream, python) for stream in streams], f"SPOT on {what}")
        found = [one | other for one, other in zip(found, by_spot, strict=True)]
    return {name: [one[name] for one in found] for name in found[0]}
