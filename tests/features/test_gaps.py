"""How long a value is missing while its source goes on, and what is said of it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.features import gaps
from service.outcomes import Outcome
from service.pipeline import DetectionPipeline, Record
from service.wire.anomaly import Anomaly
from tests.streams import a_point

WIDTH = 3


def slowly(here: list[tuple[bool, ...]]) -> tuple[list[float], list[int]]:
    """The oddness and the missing value of each point, from all that came before it."""
    oddness, missing = [], []
    for t in range(len(here)):
        longest, place = 0.0, -1
        for v in range(WIDTH):
            runs, run = [], 0
            for then in here[: t + 1]:
                run = 0 if then[v] else run + 1
                runs.append(run)
            if t + 1 >= 30 and 0 < run <= 32 and run % 4 == 0:
                longer = run / (1.0 + math.sqrt(np.mean(np.square(runs))))
                if longer > longest:
                    longest, place = longer, v
        oddness.append(longest)
        missing.append(place)
    return oddness, missing


@given(st.lists(st.tuples(*[st.integers(0, 60)] * WIDTH), min_size=1, max_size=12))
def test_a_missing_value_is_as_odd_as_its_run_is_long_against_all_its_runs(
    stretches: list[tuple[int, ...]],
) -> None:
    n = 30 * len(stretches)
    here = [tuple(t % 30 + 30 >= absent for absent in stretches[t // 30]) for t in range(n)]
    values = np.where(np.array(here), 1.0, np.nan).ravel()
    oddness, missing = np.zeros(n), np.empty(n, np.int64)
    gaps.advance(
        np.zeros((n, 4), np.int32),
        np.full(n, WIDTH, np.int32),
        WIDTH * np.arange(n + 1),
        np.tile(np.arange(WIDTH), n),
        values,
        np.zeros((WIDTH, 3), np.float32),
        oddness,
        missing,
    )
    expected = slowly(here)
    assert oddness == pytest.approx(expected[0], rel=1e-4)
    assert missing.tolist() == expected[1]


def records_of(lost: npt.NDArray[np.bool_]) -> list[Record]:
    """Points of three values, of which those that are `lost` (n, 3) do not come; a point a minute."""
    values = np.random.default_rng(4).normal(size=lost.shape)
    points = [
        a_point("rig", 60 * t, {name: x for name, x, gone in zip("abc", row, away, strict=True) if not gone})
        for t, (row, away) in enumerate(zip(values.tolist(), lost.tolist(), strict=True))
    ]
    return [Record(point, t, t) for t, point in enumerate(points)]


def outcomes(lost: npt.NDArray[np.bool_]) -> list[Outcome]:
    return DetectionPipeline().process_batch(records_of(lost))


def test_a_value_that_stops_coming_opens_an_incident_that_names_it() -> None:
    lost = np.zeros((3000, 3), np.bool_)
    lost[2500:, 1] = True
    found = outcomes(lost)
    opened = [t for t, outcome in enumerate(found) if outcome.incident == "opened" and t >= 2500]
    assert 2500 < opened[0] < 2515
    anomaly = Anomaly.parse(found[opened[0]].anomaly or b"")
    assert anomaly.explanation.startswith("b has stopped coming, while the source goes on; ")
    assert [(c.value, c.share) for c in anomaly.contributions] == [("b", 1.0)]
    assert not any(outcome.is_anomaly for outcome in found[2560:2900])


def test_a_value_that_comes_now_and_then_is_not_missed() -> None:
    lost = np.random.default_rng(6).random((3000, 3)) < (0.0, 0.8, 0.0)
    explanations = [
        Anomaly.parse(outcome.anomaly).explanation for outcome in outcomes(lost) if outcome.anomaly
    ]
    assert (
        sum("stopped coming" in explanation for explanation in explanations) <= 4
    )  # the budget allows three


def test_values_that_come_in_turns_are_not_missed() -> None:
    turn = np.arange(3000)[:, None] % 3
    assert not any(
        b"stopped coming" in (outcome.anomaly or b"") for outcome in outcomes(turn != np.arange(3))
    )


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=4))
def test_any_split_and_restart_say_the_same(cuts: list[int]) -> None:
    lost = np.random.default_rng(3).random((400, 3)) < 0.05
    lost[300:340, 2] = True
    records, whole = records_of(lost), outcomes(lost)
    assert any(b"stopped coming" in (outcome.anomaly or b"") for outcome in whole)
    pipeline, parts = DetectionPipeline(), []
    for start, stop in pairwise([0, *sorted(cuts), len(records)]):
        parts += pipeline.process_batch(records[start:stop])
        state, pipeline = pipeline.state(), DetectionPipeline()
        pipeline.restore(state)
    assert parts == whole
