"""Peer: river's half-space trees, one model per source, in the loop of the others; all gone after a crash."""

from __future__ import annotations

from typing import Any

import msgspec
from river import anomaly, preprocessing

from tests.benchmarks.peers import loop

WINDOW = 128  # the service's; river's default of 250 costs the same a point and warms up for longer


class Result(msgspec.Struct, rename="camel"):
    source_id: str
    timestamp: int
    value: float
    score: float
    is_anomaly: bool


def make_model() -> Any:
    """As in river's documentation: the trees want values between 0 and 1."""
    return preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(window_size=WINDOW, seed=42)


class RiverTrees:
    """Scores a point by its source's own model, then learns from it."""

    def __init__(self) -> None:
        self._models: dict[str, Any] = {}
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, point: loop.Point) -> bytes:
        model = self._models.get(point.source_id)
        if model is None:
            model = self._models[point.source_id] = make_model()
        score = model.score_one(point.values)
        model.learn_one(point.values)
        value = point.values["value"]
        return self._encode(Result(point.source_id, point.timestamp, value, score, score > 0.95))


if __name__ == "__main__":
    loop.run(loop.arguments(__doc__).parse_args(), RiverTrees())
