from __future__ import annotations

import numpy as np
import pytest

from service.detectors import policy


def opened(points: float, evidence: float, surprise: float) -> bool:
    """Whether an incident opens after so many quiet points, at a budget of 1 in 1,000."""
    row = np.zeros(policy.NUMBERS)
    row[policy.POINTS] = points
    return bool(policy.opens(row, evidence, surprise, True, 3.0, 1e-3))


@pytest.mark.parametrize(
    ("points", "evidence", "surprise", "opens"),
    [
        (2000.0, 1.3, 0.0, True),
        (2000.0, 1.2, 9.0, False),
        (20.0, 1.6, 1.0, False),
        (20.0, 1.0, 3.0, True),
        (200.0, 1.6, 1.0, False),
        (200.0, 1.6, 2.4, True),
    ],
)
def test_the_evidence_decides_alone_once_it_ranks_among_many_points(
    points: float, evidence: float, surprise: float, opens: bool
) -> None:
    assert opened(points, evidence, surprise) is opens


def test_what_only_the_doubt_held_back_raises_the_threshold_and_hinders_no_clear_opening() -> None:
    row = np.zeros(policy.NUMBERS)
    quiet = [bool(policy.opens(row, 2.0, 1.0, True, 3.0, 1e-3)) for _ in range(50)]
    assert not any(quiet)
    other = row.copy()
    assert not policy.opens(row, 2.0, 2.8, True, 3.0, 1e-3)
    assert policy.opens(other, 2.0, 3.3, True, 3.0, 1e-3)
