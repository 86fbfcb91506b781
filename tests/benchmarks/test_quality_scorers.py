"""The scorers of the quality benchmark against slow and obvious ones, and against published figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from tests.benchmarks.quality import nab
from tests.benchmarks.quality.arrays import Floats, probation, stretches
from tests.benchmarks.quality.data import Labels, default_folder, labels_of, published_scores, series_of
from tests.benchmarks.quality.events import average_precision, event_f1, mean_average_precision
from tests.benchmarks.quality.nab_gate import BUDGETS, halves, on_points

SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan])
LABELLED = st.lists(st.tuples(SCORES, st.sampled_from([False, False, False, True])), min_size=1, max_size=60)


def labelled(points: list[tuple[float, bool]], judged_from: int = 0) -> tuple[Labels, Floats]:
    faulty = np.array([label for _, label in points])
    return Labels(faulty, judged_from, tuple(stretches(faulty))), np.array([score for score, _ in points])


def obvious_event_f1(series: list[tuple[Labels, Floats]]) -> float:
    """Every threshold in turn, every point in turn."""
    known = [(labels, [-1.0 if math.isnan(x) else x for x in score]) for labels, score in series]
    best = 0.0
    for threshold in {x for _, score in known for x in score if x >= 0}:
        events = hits = false_alarms = 0
        for labels, score in known:
            alarms = [i for i, x in enumerate(score) if x >= threshold and i >= labels.judged_from]
            near = set()
            for first, last in labels.windows:
                near |= set(range(first, last + 11))
                if last >= labels.judged_from:
                    events += 1
                    hits += any(first <= i <= last + 10 for i in alarms)
            counted = -math.inf
            for i in alarms:
                if i not in near and i >= counted + 10:
                    false_alarms += 1
                    counted = i
        if hits:
            best = max(best, 2 * hits / (hits + false_alarms + events))
    return best


@given(st.lists(st.tuples(LABELLED, st.integers(0, 30)), min_size=1, max_size=3))
def test_event_f1_is_that_of_trying_every_threshold(
    given: list[tuple[list[tuple[float, bool]], int]],
) -> None:
    series = [labelled(points, min(judged_from, len(points))) for points, judged_from in given]
    assert event_f1(series).f1 == pytest.approx(obvious_event_f1(series))


def test_a_long_run_of_false_alarms_counts_once_per_ten_points() -> None:
    score = np.zeros(200)
    score[20:45] = 1.0
    score[100] = 1.0
    faulty = np.zeros(200, np.bool_)
    faulty[100] = True
    found = event_f1([(Labels(faulty, 0, ((100, 100),)), score)])
    assert (found.hits, found.false_alarms, found.f1) == (1, 3, 2 / 5)


def test_an_alarm_ten_points_after_an_event_still_hits_it() -> None:
    faulty = np.zeros(100, np.bool_)
    faulty[50:53] = True
    for place, hit in ((49, 0), (50, 1), (62, 1), (63, 0)):
        score = np.zeros(100)
        score[place] = 1.0
        found = event_f1([(Labels(faulty, 0, ((50, 52),)), score)])
        assert found.hits == hit or found.false_alarms > 1  # a miss is better than everything an alarm


@given(LABELLED)
def test_average_precision_is_that_of_scikit_learn(points: list[tuple[float, bool]]) -> None:
    labels, score = labelled(points)
    if labels.faulty.any():
        expected = average_precision_score(labels.faulty, np.nan_to_num(score, nan=-1.0))
        assert average_precision(labels.faulty, score) == pytest.approx(expected)


def test_series_without_labels_where_they_are_judged_have_no_average_precision() -> None:
    half = labelled([(1.0, True), (0.0, False), (0.5, False)])
    late = labelled([(1.0, True), (0.0, False), (0.5, False)], judged_from=1)
    assert mean_average_precision([half, late]) == 1.0
    assert math.isnan(mean_average_precision([late]))


def obvious_nab(series: list[tuple[Labels, Floats]], profile: nab.Profile) -> float:
    """Every threshold in turn, every point in turn, as the published rules say it."""

    def sigmoid(x: float) -> float:
        return -1.0 if x > 3.0 else 2.0 / (1.0 + math.exp(5.0 * x)) - 1.0

    windows = sum(last >= labels.judged_from for labels, _ in series for _, last in labels.windows)
    if not windows:
        return 0.0
    thresholds = {x for _, score in series for x in score.tolist() if x > 0} | {math.inf}
    raws = []
    for threshold in thresholds:
        raw = 0.0
        for labels, score in series:
            earned = {window: -profile.miss for window in labels.windows if window[1] >= labels.judged_from}
            for i in range(labels.judged_from, len(score)):
                if not score[i] >= threshold:
                    continue
                inside = [window for window in labels.windows if window[0] <= i <= window[1]]
                before = [window for window in labels.windows if window[1] < i]
                if inside:
                    first, last = inside[0]
                    worth = sigmoid(-(last - i + 1) / (last - first + 1)) / sigmoid(-1.0)
                    earned[inside[0]] = max(earned[inside[0]], worth * profile.true_positive)
                elif before:
                    first, last = before[-1]
                    past = (i - last) / (last - first) if last > first else math.inf
                    raw += profile.false_positive * sigmoid(past)
                else:
                    raw -= profile.false_positive
            raw += sum(earned.values())
        raws.append(raw)
    null = -profile.miss * windows
    return 100.0 * (max(raws) - null) / (profile.true_positive * windows - null)


@given(
    st.lists(st.tuples(LABELLED, st.integers(0, 30)), min_size=1, max_size=3), st.sampled_from(nab.PROFILES)
)
def test_nab_is_that_of_the_rules_word_by_word(
    given: list[tuple[list[tuple[float, bool]], int]], profile: nab.Profile
) -> None:
    series = [labelled(points, min(judged_from, len(points))) for points, judged_from in given]
    judged = [nab.judge(labels) for labels, _ in series]
    found, _ = nab.best(nab.gains(judged, [score for _, score in series], profile), judged, profile)
    assert found == pytest.approx(obvious_nab(series, profile))


PUBLISHED = {
    "ARTime": (74.9, 65.2, 80.4),
    "numenta": (70.1, 63.2, 74.3),
    "contextOSE": (69.9, 67.0, 73.2),
    "windowedGaussian": (39.6, 20.9, 47.4),
}


@pytest.fixture(scope="module")
def folder() -> Path:
    folder = default_folder()
    if not (folder / "nab").is_dir():
        pytest.skip(f"no data in {folder}")
    return folder


def test_published_detectors_get_their_published_nab_scores(folder: Path) -> None:
    series = series_of(folder, "nab")
    judged = [nab.judge(labels_of(folder, "nab", one)) for one in series]
    for detector, expected in PUBLISHED.items():
        published = published_scores(folder, detector)
        scores = on_points(judged, [published[one.name] for one in series])
        assert tuple(scores.values()) == pytest.approx(expected, abs=0.1)


def test_the_sets_have_the_series_points_and_labels_that_they_should(folder: Path) -> None:
    def counted(name: str) -> tuple[int, int, int]:
        labels = [labels_of(folder, name, one) for one in series_of(folder, name)]
        return len(labels), sum(len(one.faulty) for one in labels), sum(len(one.windows) for one in labels)

    assert counted("nab")[0::2] == (58, 116)
    assert counted("mscloud") == (60, 225_445, 299)
    assert counted("skab") == (34, 37_401, 34)
    asd = series_of(folder, "asd")
    assert [labels_of(folder, "asd", one).judged_from for one in asd] == [8640] * 6
    assert asd[0].values().shape == (12_960, 19)


def test_probation_is_15_percent_and_at_most_750_points() -> None:
    assert [probation(n) for n in (0, 6, 7, 100, 5000, 100_000)] == [0, 0, 1, 15, 750, 750]


def test_halves_divide_each_category_and_are_the_same_every_time() -> None:
    names = [f"{category}/{i}.csv" for category, n in (("a", 7), ("b", 4)) for i in range(n)]
    found = halves(names, 50)
    assert all(half[:7].sum() in (3, 4) and half[7:].sum() == 2 for half in found)
    assert [half.tolist() for half in halves(names, 50)] == [half.tolist() for half in found]


def test_ten_budgets_from_1e_4_to_1e_2() -> None:
    assert len(BUDGETS) == 10
    assert (BUDGETS[0], BUDGETS[-1]) == (1e-4, 1e-2)
