"""A processor that cannot look nodes up in its registers gives the very same sums."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from service.detectors import register_walk

SUMS = """
import numpy as np
from service.detectors import register_walk
from service.detectors.ranked_trees import RankedTrees
rng = np.random.default_rng(0)
dimension, cut = rng.integers(0, 6, (20, 255)).astype(np.int8), rng.normal(size=(20, 255))
sums = RankedTrees.of(dimension, cut, 6).add_up(rng.normal(size=(300, 6)), rng.random((20, 256)))
print(register_walk.AVAILABLE, sums.tobytes().hex())
"""


def run(**environment: str) -> tuple[str, str]:
    """Whether registers were used, and the sums."""
    command = [sys.executable, "-c", SUMS]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    used, sums = done.stdout.split()
    return used, sums


@pytest.mark.skipif(not register_walk.AVAILABLE, reason="this processor has no AVX-512BW")
@pytest.mark.parametrize("told", [{"NUMBA_CPU_NAME": "generic"}, {"NUMBA_ENABLE_AVX": "0"}])
def test_sums_are_the_same_where_the_processor_cannot(told: dict[str, str]) -> None:
    used, sums = run()
    without, same = run(**told)
    assert (used, without) == ("True", "False")
    assert sums == same
