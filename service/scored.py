"""ScoredPoints: what the pipeline made of a stretch of points, before anything of it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.absence import Silence
from service.decision import DecisionBatch
from service.features.engine import FeatureBatch
from service.history.sources import Placement
from service.settling import Moves
from service.wire.batch import PointBatch


@dataclass(frozen=True, slots=True)
class ScoredPoints:
    """The columns of one stretch of points: where they belong, what they are, what was made of them."""

    batch: PointBatch
    placed: Placement
    features: FeatureBatch
    surprises: npt.NDArray[np.float64]
    decided: DecisionBatch
    held: npt.NDArray[np.bool_]
    accepted: npt.NDArray[np.int64]
    settled: Moves
    refused: Moves
    missing: Mapping[int, str]
    silences: Sequence[Silence] = ()
