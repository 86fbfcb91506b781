"""When a model is fitted, on which points, and from when on it scores: all at fixed counts of points.

Knows no model. A fit takes from 20 ms to the better part of a second, so it may run beside the scoring;
because it comes into force at a count and not when it is done, results are the same however long it took.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, Generic, TypeVar

import numpy as np
from pydantic import Field

from service.detectors.base import Array, DetectorConfig, Floats
from service.features.engine import VECTOR_WIDTH
from service.kernels import kernel


class FittedConfig(DetectorConfig):
    """A detector whose model is fitted anew now and then on the partition's newest vectors."""

    first_fit_points: int = Field(1024, ge=64, le=10_000_000)
    """Points of the partition after which the first model is fitted."""
    refit_points: int = Field(1_000_000, ge=64, le=1_000_000_000)
    """Points from one fit to the next; the first few come sooner, at fourfold counts."""
    sample_points: int = Field(8192, ge=64, le=1_000_000)
    """The newest points that a fit learns from."""
    seed: int = Field(1, ge=0)


@kernel
def _keep(vectors: Floats, sample: Floats, kept: int) -> int:
    """Put the finite vectors into the places of the oldest of the sample; how many were kept now."""
    for i in range(vectors.shape[0]):
        if not math.isnan(vectors[i, 0]):
            for d in range(vectors.shape[1]):  # a slice assignment looks for overlap each time
                sample[kept % sample.shape[0], d] = vectors[i, d]
            kept += 1
    return kept


class FitSchedule:
    """Keeps the newest vectors and says when the next fit is due, counted in points, never in time."""

    def __init__(self, config: FittedConfig) -> None:
        self._config = config
        self._sample = np.zeros((config.sample_points, VECTOR_WIDTH))
        self._kept = 0
        self._learned = 0

    @property
    def points_to_fit(self) -> int:
        every, at = self._config.refit_points, self._config.first_fit_points
        if self._learned < at:
            return at - self._learned
        while at <= self._learned:
            at *= 4
        regular = (self._learned // every + 1) * every
        if self._learned >= every or regular < at:
            at = regular
        return at - self._learned

    @property
    def learned(self) -> int:
        """Points taken so far."""
        return self._learned

    def take(self, vectors: Floats) -> bool:
        """Keep the finite ones of at most `points_to_fit` vectors; true if a fit is due after them."""
        due = len(vectors) == self.points_to_fit
        self._learned += len(vectors)
        self._kept = _keep(vectors, self._sample, self._kept)
        return due

    def sample(self) -> Floats:
        """The vectors kept, oldest first."""
        if self._kept <= len(self._sample):
            return self._sample[: self._kept].copy()
        return np.roll(self._sample, -(self._kept % len(self._sample)), axis=0)

    def state(self) -> dict[str, Array]:
        return {
            "sample": self._sample[: min(self._kept, len(self._sample))].copy(),
            "counts": np.array([self._kept, self._learned]),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        sample, counts = state.get("sample"), state.get("counts")
        if sample is None or counts is None:
            raise ValueError(f"saved state has no sample, only {sorted(state)}")
        if sample.shape[1:] != self._sample.shape[1:] or len(sample) != min(
            int(counts[0]), len(self._sample)
        ):
            raise ValueError("saved sample is of another configuration")
        self._sample[: len(sample)] = sample
        self._kept, self._learned = (int(n) for n in counts)


Model = TypeVar("Model")

FEWEST_VECTORS = 64  # a fit on fewer is left out
_MOST_LAG_POINTS = 16_384


class InlineExecutor(Executor):
    """Does the work at once, in the caller's thread: for the library, the command line and tests."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Fitting(Generic[Model]):
    """Fits `fit(sample)` on schedule through an executor and hands the model out when it is to score.

    A model fitted on the points up to a count comes into force a quarter of that count later (at most
    16,384 points, at most half a refit's distance); whoever gets there first waits for the other.
    """

    def __init__(self, config: FittedConfig, fit: Callable[[Floats], Model], executor: Executor) -> None:
        self._schedule = FitSchedule(config)
        self._longest_lag = min(_MOST_LAG_POINTS, config.refit_points // 2)
        self._fit = fit
        self._executor = executor
        self._sample: Floats | None = None  # what the model under way learns from
        self._under_way: Future[Model] | None = None
        self._left = 0  # points until it comes into force
        self._begin_at = 0  # points left at which the fit begins at the latest, if it was not begun

    @property
    def points_to_change(self) -> int:
        """After how many points at most `take` is to be called again."""
        due = self._schedule.points_to_fit
        return min(due, self._left) if self._sample is not None else due

    def take(self, vectors: Floats) -> Model | None:
        """Learn at most `points_to_change` vectors (n, VECTOR_WIDTH); a model if one now comes into force."""
        model = None
        if self._sample is not None:
            self._left -= len(vectors)
            if self._under_way is None and self._left <= self._begin_at:
                self._under_way = self._executor.submit(self._fit, self._sample)
            if self._left == 0:
                assert self._under_way is not None, "begun before that"
                model = self._under_way.result()
                self._sample, self._under_way = None, None
        if self._schedule.take(vectors) and len(sample := self._schedule.sample()) >= FEWEST_VECTORS:
            self._left = max(1, min(self._schedule.learned // 4, self._longest_lag))
            self._start(sample)
        return model

    def _start(self, sample: Floats) -> None:
        self._sample = sample
        self._under_way = self._executor.submit(self._fit, sample)

    def state(self) -> dict[str, Array]:
        state = self._schedule.state()
        if self._sample is not None:
            state |= {"under_way": self._sample.copy(), "left": np.array([self._left])}
        return state

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` gave; a fit that was under way is begun anew, half of the way from there.

        So that a process that has just started, and has yet to import what fits, is quickly back at work.

        Raises:
            ValueError: the arrays are of another configuration.
        """
        self._schedule.restore(state)
        self._sample, self._under_way, self._left = None, None, 0
        if "under_way" in state:
            self._left = int(state["left"][0])
            self._begin_at = self._left // 2
            self._sample = state["under_way"].copy()


STATE_NAMES = frozenset({"sample", "counts", "under_way", "left"})
