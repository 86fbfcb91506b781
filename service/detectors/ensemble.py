"""EnsembleDetector: several detectors, one score.

Members enter by their surprise, -log10 of how rare their oddness is among the partition's points, so that
a weight means the same for each. A member that cannot score a point takes no part in it, and the others'
weights count for the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from service.detectors.base import AnomalyDetector, Array, Floats
from service.detectors.ranking import MemberRanking
from service.errors import ConfigurationError
from service.features.engine import FeatureBatch
from service.kernels import kernel


class Strategy(StrEnum):
    """How members become one."""

    WEIGHTED_AVERAGE = "weighted_average"
    MAX = "max"
    MAJORITY_VOTE = "majority_vote"
    """The surprise that members of more than half the weight reach: above a threshold exactly when the
    majority votes that it is, whatever the threshold."""


@kernel
def _average(surprise: Floats, weights: Floats, out: Floats) -> None:
    for point in range(out.shape[0]):
        total = weight = 0.0
        for member in range(weights.shape[0]):
            if not math.isnan(surprise[point, member]):
                total += weights[member] * surprise[point, member]
                weight += weights[member]
        out[point] = total / weight if weight > 0.0 else np.nan


@kernel
def _maximum(surprise: Floats, weights: Floats, out: Floats) -> None:
    for point in range(out.shape[0]):
        highest = np.nan
        for member in range(weights.shape[0]):
            value = surprise[point, member]
            if weights[member] > 0.0 and not math.isnan(value) and not value <= highest:
                highest = value
        out[point] = highest


@kernel
def _majority(surprise: Floats, weights: Floats, out: Floats) -> None:
    members = weights.shape[0]
    for point in range(out.shape[0]):
        whole = 0.0
        for member in range(members):
            if not math.isnan(surprise[point, member]):
                whole += weights[member]
        agreed = np.nan
        for candidate in range(members):
            level = surprise[point, candidate]
            if weights[candidate] == 0.0 or math.isnan(level) or level <= agreed:
                continue
            votes = 0.0
            for member in range(members):
                if surprise[point, member] >= level:
                    votes += weights[member]
            if votes > 0.5 * whole:
                agreed = level
        out[point] = agreed


_COMBINE = {
    Strategy.WEIGHTED_AVERAGE: _average,
    Strategy.MAX: _maximum,
    Strategy.MAJORITY_VOTE: _majority,
}


class EnsembleDetector(AnomalyDetector):
    """Detectors, their weights and a strategy.

    Raises:
        ConfigurationError: no detector, weights that do not fit, or an unknown strategy.
    """

    name = "ensemble"

    def __init__(
        self,
        detectors: Sequence[AnomalyDetector],
        weights: Sequence[float] | None = None,
        strategy: str = Strategy.WEIGHTED_AVERAGE,
    ) -> None:
        self.detectors = tuple(detectors)
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(self.detectors)
        problems = _problems(self.detectors, self.weights, strategy)
        if problems:
            raise ConfigurationError(problems)
        self.strategy = Strategy(strategy)
        self._weights = np.array(self.weights)
        self._ranking = MemberRanking([detector.ranked for detector in self.detectors])

    @property
    def is_trained(self) -> bool:
        return any(detector.is_trained for detector in self.detectors)

    @property
    def points_to_change(self) -> int:
        return 1  # every point joins those that the next one is ranked among

    def train(self, vectors: Floats) -> None:
        for detector in self.detectors:
            detector.train(vectors)

    def warm(self, vectors: Floats) -> None:
        for detector in self.detectors:
            detector.warm(vectors)

    def members(self, batch: FeatureBatch) -> Floats:
        """Surprises (n, detectors) of the batch, which is then learned; NaN = takes no part."""
        return self._ranking.advance(np.stack([detector.run(batch) for detector in self.detectors]))

    def combine(self, surprises: Floats) -> Floats:
        """One oddness (n,) from the members' surprises (n, detectors); NaN where none takes part."""
        out = np.empty(len(surprises))
        _COMBINE[self.strategy](surprises, self._weights, out)
        return out

    def score(self, batch: FeatureBatch) -> Floats:
        """What the members, as trained now, make of the batch together, uncalibrated: nothing is learned."""
        oddness = [d.score(batch) if d.is_trained else np.full(len(batch), np.nan) for d in self.detectors]
        return self.combine(self._ranking.peek(np.stack(oddness)))

    def learn(self, batch: FeatureBatch) -> None:
        self.members(batch)

    def state(self) -> dict[str, Array]:
        state = {f"calibration/{name}": array for name, array in self._ranking.state().items()}
        for detector in self.detectors:
            state |= {f"{detector.name}/{name}": array for name, array in detector.state().items()}
        return state

    def restore(self, state: Mapping[str, Array]) -> None:
        def part(prefix: str) -> dict[str, Array]:
            return {n.removeprefix(prefix): array for n, array in state.items() if n.startswith(prefix)}

        self._ranking.restore(part("calibration/"))
        for detector in self.detectors:
            detector.restore(part(f"{detector.name}/"))


def _problems(detectors: Sequence[AnomalyDetector], weights: Sequence[float], strategy: str) -> list[str]:
    problems = []
    names = [detector.name for detector in detectors]
    if not detectors:
        problems.append("detectors: at least one is needed")
    if len(set(names)) < len(names):
        problems.append(f"detectors: each type once, got {names}")
    if len(weights) != len(detectors):
        problems.append(f"weights: {len(weights)} weights for {len(detectors)} detectors")
    if any(not math.isfinite(w) or w < 0 for w in weights):
        problems.append(f"weights: must be finite and not negative, got {list(weights)}")
    elif weights and not any(weights):
        problems.append("weights: at least one must be above 0")
    if strategy not in list(Strategy):
        problems.append(f"strategy: {strategy!r} is none of {', '.join(Strategy)}")
    return problems
