"""Streams of data points for tests: built by hand or from a seed, and their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from service.features.config import FeatureConfig
from service.features.engine import FeatureBatch, FeatureEngine
from service.history.sources import Sources
from service.wire.batch import PointBatch
from service.wire.data_point import DataPoint

Floats = npt.NDArray[np.float64]
MISSING = float("nan")


def a_point(
    source_id: str,
    time_s: float,
    values: Mapping[str, float] | float = 0.0,
    point_id: str | None = None,
    labels: dict[str, str] | None = None,
    timed: bool = True,
) -> DataPoint:
    """One point; a bare number is the value `value`."""
    members = values if isinstance(values, Mapping) else {"value": values}
    return DataPoint(
        source_id, int(time_s * 1000), tuple(members), tuple(members.values()), labels, point_id, timed
    )


def series(
    values: Sequence[float] | Floats, source_id: str = "pump-7", name: str = "value"
) -> list[DataPoint]:
    """One source with one value, a point every second."""
    return [a_point(source_id, i + 1, {name: float(x)}) for i, x in enumerate(values)]


def noise(
    seed: int, points: int, sources: int = 4, names: Sequence[str] = ("flow", "pressure")
) -> list[DataPoint]:
    """Independent Gaussian values of several sources in turn, each source at a level of its own."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(points, len(names)))
    return [
        a_point(
            f"pump-{i % sources}",
            1 + i // sources,
            {name: 10.0 * (i % sources) + float(x) for name, x in zip(names, row, strict=True)},
        )
        for i, row in enumerate(values)
    ]


class Features:
    """A feature engine with its own directory of sources, fed with points."""

    def __init__(self, config: FeatureConfig | None = None) -> None:
        self.engine = FeatureEngine(config or FeatureConfig())
        long_memory = self.engine.long_memory
        self.sources = Sources(
            1000,
            100,
            source_tables=[long_memory.source_table],
            series_tables=[self.engine.table, long_memory.table],
            others=long_memory.kinds,
        )

    def of(self, points: Sequence[DataPoint]) -> FeatureBatch:
        """The features of points none of which widens a source that stands before it."""
        batch = PointBatch.of(points)
        placed = self.sources.place(batch, 0)
        assert placed.stop == len(points)
        return self.engine.advance(placed, batch.points["time_ms"][placed.fresh])
