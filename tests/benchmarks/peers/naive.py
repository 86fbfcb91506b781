"""Peer: the naive service, a deque per source and scikit-learn's isolation forest called row by row."""

from __future__ import annotations

from collections import defaultdict, deque

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.ensemble import IsolationForest

from tests.benchmarks.peers import loop

WINDOW = 128
ROWS_TO_FIT = 256
# A second of work: a transaction of 10,000 would take longer than Kafka lets one take.
BATCH_RECORDS = 100


class Result(msgspec.Struct, rename="camel"):
    source_id: str
    timestamp: int
    value: float
    score: float | None
    is_anomaly: bool


class Naive:
    """Fits once, on the first rows it sees; refitting as the stream goes on would cost more still."""

    def __init__(self) -> None:
        self._windows: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._rows: list[list[float]] = []
        self._forest: IsolationForest | None = None

    def __call__(self, point: loop.Point) -> bytes:
        value = point.values["value"]
        window = self._windows[point.source_id]
        window.append(value)
        row = [value, value - float(np.mean(window)), float(np.std(window))]
        score = self._score(row)
        odd = score is not None and score > 0.6
        return msgspec.json.encode(Result(point.source_id, point.timestamp, value, score, odd))

    def _score(self, row: list[float]) -> float | None:
        """None before the forest is fitted."""
        if self._forest is not None:
            scores: npt.NDArray[np.float64] = self._forest.score_samples([row])
            return -float(scores[0])
        self._rows.append(row)
        if len(self._rows) == ROWS_TO_FIT:
            self._forest = IsolationForest(n_estimators=100, random_state=42).fit(self._rows)
        return None


if __name__ == "__main__":
    loop.run(loop.arguments(__doc__).parse_args(), Naive(), BATCH_RECORDS)
