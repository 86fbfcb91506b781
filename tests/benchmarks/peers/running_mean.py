"""Peer: running mean and variance per source in plain Python, a dict of objects; all gone after a crash."""

from __future__ import annotations

from math import sqrt

import msgspec

from tests.benchmarks.peers import loop


class Result(msgspec.Struct, rename="camel", gc=False):
    source_id: str
    timestamp: int
    value: float
    mean: float
    variance: float
    score: float


class Statistics:
    """Welford's running moments of one source."""

    __slots__ = ("count", "mean", "squares")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    @property
    def variance(self) -> float:
        return self.squares / (self.count - 1) if self.count > 1 else 0.0

    def learn(self, value: float) -> None:
        self.count += 1
        deviation = value - self.mean
        self.mean += deviation / self.count
        self.squares += deviation * (value - self.mean)


class RunningMean:
    """Scores a point against its source's past, then learns from it."""

    def __init__(self) -> None:
        self._sources: dict[str, Statistics] = {}
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, point: loop.Point) -> bytes:
        value = point.values["value"]
        statistics = self._sources.get(point.source_id)
        if statistics is None:
            statistics = self._sources[point.source_id] = Statistics()
        mean, variance = statistics.mean, statistics.variance
        score = abs(value - mean) / sqrt(variance) if variance > 0.0 else 0.0
        statistics.learn(value)
        return self._encode(Result(point.source_id, point.timestamp, value, mean, variance, score))


if __name__ == "__main__":
    loop.run(loop.arguments(__doc__).parse_args(), RunningMean())
