"""The streams that the quality benchmark makes: discords, planted faults, and streams without any."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.benchmarks.quality import budget, discords, faults, first_points, null_streams
from tests.benchmarks.quality.arrays import Bools, Floats
from tests.benchmarks.quality.made import MadeStream, autoregressive, fleet_records, generator, records_of
from tests.benchmarks.quality.running import Scored


def test_a_stream_is_the_same_every_time_and_another_with_another_seed() -> None:
    one, again, other = (null_streams.streams(2, 500)[i] for i in (0, 0, 1))
    np.testing.assert_array_equal(one.values(), again.values())
    assert not np.array_equal(one.values(), other.values())
    assert one.records() == again.records()


def test_a_missing_value_is_a_null_and_times_go_on_at_their_step() -> None:
    records = [json.loads(one) for one in records_of("s", np.array([[1.5, np.nan], [2.0, 3.0]]), 1000)]
    assert [one["values"] for one in records] == [
        {"value_1": 1.5, "value_2": None},
        {"value_1": 2.0, "value_2": 3.0},
    ]
    assert records[1]["timestamp"] - records[0]["timestamp"] == 1000


def test_autoregressive_noise_remembers() -> None:
    noise = np.random.default_rng(1).normal(size=20_000)
    found = autoregressive(noise, 0.9)
    assert np.corrcoef(found[1:], found[:-1])[0, 1] == pytest.approx(0.9, abs=0.02)


def test_every_kind_of_null_stream_has_the_points_that_are_judged_and_probation() -> None:
    made = null_streams.streams(1, 2_000)
    assert len(made) == len(null_streams.KINDS) == 13
    for stream in made:
        values = stream.values()
        assert values.shape == (2_750, 1)
        assert np.isfinite(values).all()


# Discords


@pytest.mark.parametrize("number", range(18))
def test_a_discord_lies_in_the_later_half_and_nothing_before_it_depends_on_it(number: int) -> None:
    made = discords.discord(number)
    assert made.values.shape == (discords.POINTS, 1)
    assert discords.POINTS // 2 < made.first < made.last < discords.POINTS
    assert 4 < made.last - made.first < 500


def test_discord_streams_are_the_discords() -> None:
    for number, stream in enumerate(discords.streams(3)):
        np.testing.assert_array_equal(stream.values(), discords.discord(number).values)


def test_the_highest_score_is_right_within_100_points_of_the_changed_cycle() -> None:
    made = discords.discord(0)

    def right(place: int) -> float:
        score = np.zeros(discords.POINTS)
        score[1_000] = 2.0  # in the first half nothing counts
        score[place] = 1.0
        return float(discords.found([made], [score])["accuracy"])

    assert [right(made.first - 101), right(made.first - 100), right(made.last + 100)] == [0.0, 1.0, 1.0]
    score = np.full(discords.POINTS, np.nan)
    score[made.first] = 0.1
    assert discords.found([made], [score])["accuracy_from_probation"] == 1.0


# Budget


def test_the_ratio_is_alarms_on_normal_points_over_what_is_allowed() -> None:
    normal = np.ones(20_000, np.bool_)
    normal[:5_000] = False
    alarms = np.zeros(20_000, np.bool_)
    alarms[:100] = True  # they do not count
    alarms[6_000:6_030] = True
    found = budget.summary(["a", "short"], [normal, normal[:6_000]], [alarms, alarms[:6_000]], 1e-3)
    assert found["sources"] == {"a": pytest.approx(2.0)}
    assert found["within"] == 1.0
    assert found["pooled"] == pytest.approx(30 / 16)


def test_sources_with_too_few_alarms_allowed_are_not_judged() -> None:
    found = budget.summary(["short"], [np.ones(9_999, np.bool_)], [np.zeros(9_999, np.bool_)], 1e-3)
    assert found == {"sources": {}, "pooled": 0.0}


# Faults


def _cases() -> list[faults.Case]:
    return [one for one in faults.cases(1) if one.seed == 0]


def test_nine_shapes_and_each_is_planted_into_every_kind_that_can_show_it() -> None:
    assert len(faults.NINE) == 9
    assert {case.shape for case in _cases()} == {*faults.NINE, "value missing"}
    assert len([case for case in _cases() if case.shape == "spike"]) == 7


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case.name)
def test_a_fault_changes_nothing_before_its_onset_and_something_once_it_is_visible(case: faults.Case) -> None:
    planted = case.planted()
    np.testing.assert_array_equal(case.stream().values(), planted.values)
    assert 8_000 <= planted.onset <= planted.visible < planted.onset + 60
    before, after = planted.values[: planted.onset], planted.values[planted.onset : planted.visible + 11]
    assert np.isfinite(before).all()
    assert len(after) > 10
    others = [one for one in _cases() if one.kind == case.kind]
    assert case.name in {one.name for one in others}


def test_shapes_do_what_they_say() -> None:
    def of(shape: str, kind: str = "white") -> tuple[Floats, int, int]:
        planted = faults.Case(shape, kind, 0).planted()
        return planted.values[:, 0], planted.onset, planted.visible

    x, onset, _ = of("spike")
    assert x[onset] > x[:onset].max()
    x, onset, _ = of("dip", "counts")
    assert 0 <= x[onset] < 15
    x, onset, _ = of("level shift")
    assert abs(x[onset:].mean() - x[:onset].mean()) == pytest.approx(12.0, abs=1.0)
    x, onset, visible = of("drift")
    assert visible == onset + 39
    x, onset, _ = of("variance change")
    assert x[onset:].std() > 4 * x[:onset].std()
    x, onset, visible = of("flat line")
    assert set(x[onset:]) == {x[onset - 1]}
    assert visible == onset + 4
    x, onset, _ = of("drop-out")
    assert set(x[onset : onset + 40]) == {0.0}
    x, onset, _ = of("value missing", "four values")
    assert np.isnan(x[onset : onset + 40]).all()


def test_a_broken_correlation_leaves_each_value_in_its_range() -> None:
    planted = faults.Case("correlation break", "four values", 1).planted()
    before, after = planted.values[: planted.onset], planted.values[planted.onset :]
    assert (np.abs(after - before.mean(axis=0)) < 5 * before.std(axis=0)).all()
    correlations = np.corrcoef(before.T)
    assert correlations.min() > 0.9
    assert np.corrcoef(after.T).min() < 0.7


def test_a_fault_is_found_from_its_onset_to_ten_points_after_it_is_visible() -> None:
    planted = faults.Planted(np.zeros((100, 1)), 50, 55)

    def at(place: int) -> bool:
        alarms = np.zeros(100, np.bool_)
        alarms[place] = True
        return faults.found(planted, alarms)

    assert [at(49), at(50), at(65), at(66)] == [False, True, True, False]


def test_chance_is_how_often_as_long_a_stretch_before_the_fault_holds_an_alarm() -> None:
    cases = [faults.Case("spike", "white", seed) for seed in (0, 1)]
    planted = [case.planted() for case in cases]

    def run(places: list[int]) -> Scored:
        alarms: Bools = np.zeros(max(len(one.values) for one in planted), np.bool_)
        alarms[places] = True
        return Scored(alarms.astype(np.float64), alarms, np.zeros_like(alarms))

    runs = [run([planted[0].onset]), run([planted[1].onset - 495])]
    found = faults.summary(cases, planted, runs)
    assert found["shapes"]["spike"]["found"] == 0.5
    assert found["chance"] == 0.5


def test_made_streams_can_be_sent_to_another_process() -> None:
    import pickle

    for stream in (null_streams.streams(1)[0], discords.streams(1)[0], faults.cases(1)[0].stream()):
        assert isinstance(pickle.loads(pickle.dumps(stream)), MadeStream)


# First points


@pytest.mark.parametrize("fleet", first_points.FLEETS[:-2], ids=lambda fleet: fleet.name)
def test_sources_of_a_uniform_fleet_are_of_unit_noise_but_for_their_scale(fleet: first_points.Fleet) -> None:
    plain = first_points.Fleet(fleet.name, fleet.noises, 0.0, 0.0)
    values = plain.source(generator(fleet.name, 1), 50_000)
    assert values.mean() == pytest.approx(100.0, abs=0.1)
    assert values.std() == pytest.approx(1.0, abs=0.1)


def test_a_fault_of_a_new_source_begins_at_its_onset() -> None:
    fleet = first_points.Fleet("white", first_points.FLEETS[0].noises, 0.0, 0.0)
    healthy, faulty = (fleet.source(generator("white", 4), 60, onset) for onset in (None, 20))
    np.testing.assert_array_equal(faulty[:20], healthy[:20])
    assert abs(faulty[20] - healthy[20]) >= 6.0


def test_a_fleet_speaks_in_turn_at_each_step() -> None:
    records = [json.loads(one) for one in fleet_records("a", np.array([[1.0, 2.0], [3.0, 4.0]]), 500)]
    assert [(one["sourceId"], one["values"]["value"]) for one in records] == [
        ("a-0", 1.0),
        ("a-1", 3.0),
        ("a-0", 2.0),
        ("a-1", 4.0),
    ]
