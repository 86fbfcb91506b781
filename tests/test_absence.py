from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.absence import span
from service.history.frozen import Manifest, freeze
from service.history.table import Array
from service.pipeline import DetectionConfig, DetectionPipeline
from service.wire.anomaly import Anomaly
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read
from service.wire.timestamps import format_rfc3339, parse_rfc3339

START_S = 1_700_000_000.0
GAP_S = 10.0
LEAN = {"profile": "lean", "ensemble": {"detectors": [{"type": "deviation"}]}}


class Sent(NamedTuple):
    """A point by the clock of its source, and when its record was written; with `forget` a tombstone.

    With `said` it is a control record instead.
    """

    at_s: float
    source: int
    written_s: float
    forget: bool = False
    said: str = ""


Away = Callable[[int, float], bool]


def never(_source: int, _at_s: float) -> bool:
    return False


def sent(
    sources: Iterable[int], stop_s: float, away: Away = never, *, gap_s: float = GAP_S, start_s: float = 0.0
) -> list[Sent]:
    """Points of every source about each `gap_s`, but while it is away."""
    points = []
    for source in sources:
        rng = np.random.default_rng(source)
        times = np.arange(start_s + rng.uniform(0, gap_s), stop_s, gap_s) + rng.uniform(0, 0.2 * gap_s)
        points += [Sent(at, source, at + 0.1) for at in times.tolist() if not away(source, at)]
    return sorted(points, key=lambda point: point.written_s)


def between(from_s: float, to_s: float, *sources: int) -> Away:
    return lambda source, at_s: from_s <= at_s < to_s and (not sources or source in sources)


def pipeline(**settings: object) -> DetectionPipeline:
    return DetectionPipeline(DetectionConfig.model_validate({**LEAN, **settings}))


def fed(
    pipeline: DetectionPipeline, points: Sequence[Sent], first: int = 0, stop: int | None = None
) -> list[Anomaly]:
    """What the anomalies topic is told of silences while the points from `first` on are read."""
    part = points[first:stop]
    keys = [b"pump-%d" % point.source for point in part]
    values = [_value(key, point) for key, point in zip(keys, part, strict=True)]
    written = np.array([1000 * (START_S + point.written_s) for point in part]).astype(np.int64)
    offset = first + np.arange(len(part))
    records = RecordBatch(values, keys, {}, offset, written)
    outcomes = pipeline.process_read(read(records, InputLimits()))
    told = [Anomaly.parse(told.body) for _, told in outcomes.silences]
    assert [t.id for _, t in outcomes.silences] == [a.id for a in told]
    assert all(a.id for a in told)
    return told


def _value(key: bytes, point: Sent) -> bytes | None:
    if point.forget:
        return None
    if point.said:
        return b'{"sourceId":"%s","control":%s}' % (key, point.said.encode())
    return b'{"sourceId":"%s","timestamp":%d,"values":%d}' % (
        key, 1000 * (START_S + point.at_s), point.at_s % 7
    )  # fmt: skip


def summary(told: Iterable[Anomaly]) -> list[tuple[str, str | None]]:
    return [(anomaly.source_id, anomaly.incident) for anomaly in told]


# One source


def test_a_source_that_falls_silent_is_told_of_once_and_again_when_it_is_back() -> None:
    points = sent(range(6), 7200, between(3600, 5400, 3))
    opened, resolved = fed(pipeline(), points)
    last = max(i for i, point in enumerate(points) if point.source == 3 and point.at_s < 3600)
    back = min(i for i, point in enumerate(points) if point.source == 3 and point.at_s >= 5400)
    assert opened.id == opened.incident_id == resolved.incident_id == f"data-points-0-{last}-silent"
    assert resolved.id == f"data-points-0-{back}-back"
    assert (opened.incident, resolved.incident) == ("opened", "resolved")
    assert (opened.kind, opened.source_id, opened.values) == ("absence", "pump-3", {})
    assert opened.severity == resolved.severity == "medium"
    assert (opened.score or 0.0) > 0.8 > (resolved.score or 0.0)
    assert opened.explanation == (
        "Silent for 1 min: it usually reports every 10 s; the longest wait lately was 10 s"
    )
    assert resolved.explanation == "Back after 30 min of silence"


def test_the_record_names_the_point_that_made_it_visible() -> None:
    points = sent(range(6), 4000, between(3600, 3720, 3))
    one, told = pipeline(), 0
    fed(one, points, 0, 2100)
    for i in range(2100, len(points)):
        for anomaly in fed(one, points, i, i + 1):
            written_ms = int(1000 * (START_S + points[i].written_s))
            assert anomaly.detected_at == format_rfc3339(written_ms)
            told += 1
    assert told == 2


def test_a_source_that_never_comes_back_is_told_of_once() -> None:
    one = pipeline()
    assert summary(fed(one, sent(range(6), 40_000, between(3600, 40_000, 3)))) == [("pump-3", "opened")]
    assert one.silent_sources == 1


def test_who_has_been_there_for_long_is_missed_more() -> None:
    young = fed(pipeline(), sent(range(4), 2000, between(900, 2000, 3)))
    old = fed(pipeline(), sent(range(4), 45_000, between(44_000, 45_000, 3)))
    assert [a.severity for a in young] == ["medium"]
    assert (old[0].score or 0.0) > (young[0].score or 0.0) + 0.03


def test_every_silence_is_above_the_threshold() -> None:
    points = sent(range(4), 2000, between(900, 2000, 3))
    for strict in ({"threshold": 0.9}, {"threshold": 0.97}, {"false_alarms": "1 per week"}):
        [opened] = fed(pipeline(**strict), points)
        assert (opened.score or 0.0) > DetectionConfig.model_validate(strict).threshold


def test_a_source_that_goes_before_its_cadence_is_known_is_not_missed() -> None:
    assert fed(pipeline(), sent(range(6), 7200, between(290, 7200, 3))) == []


def test_a_source_that_was_forgotten_is_not_missed() -> None:
    points = sent(range(6), 7200, between(3600, 7200, 3))
    points.append(Sent(3610, 3, 3610, forget=True))
    one = pipeline()
    assert fed(one, sorted(points, key=lambda point: point.written_s)) == []
    assert one.silent_sources == 0


def test_nobody_is_missed_where_that_is_switched_off() -> None:
    points = sent(range(6), 7200, between(3600, 5400, 3))
    assert fed(pipeline(absence={"enabled": False}), points) == []
    assert fed(pipeline(absence={"enabled": False}, false_alarms="1 per day"), points) == []


# What people say of a silence


def words_on(points: list[Sent], *words: tuple[float, dict[str, object]]) -> list[Sent]:
    """The points with words on source 3 among them."""
    said = [Sent(at_s, 3, at_s, said=json.dumps(word)) for at_s, word in words]
    return sorted([*points, *said], key=lambda point: point.written_s)


def until(at_s: float) -> dict[str, object]:
    return {"feedback": "expected", "until": format_rfc3339(int(1000 * (START_S + at_s)))}


def test_a_silence_that_is_expected_is_not_told_until_its_end() -> None:
    points = sent(range(6), 9000, between(3600, 9000, 3))
    (opened,) = fed(pipeline(), words_on(points, (3590.0, until(6000))))
    assert opened.incident == "opened"
    assert 0 < parse_rfc3339(opened.timestamp) - 1000 * (START_S + 6000) < 60_000
    back = sent(range(6), 9000, between(3600, 5800, 3))
    assert fed(pipeline(), words_on(back, (3590.0, until(6000)))) == []


def test_a_silence_that_was_told_ends_where_it_is_expected_and_is_told_anew_afterwards() -> None:
    points = sent(range(6), 9000, between(3600, 9000, 3))
    opened, ended, again = fed(pipeline(), words_on(points, (4000.0, {**until(6000), "by": "jo"})))
    assert (ended.incident, ended.incident_id) == ("resolved", opened.id)
    assert ended.explanation.startswith("Expected until ")
    assert ended.explanation.endswith("says jo")
    assert again.incident == "opened"
    assert again.id not in (opened.id, ended.id)


def test_a_false_alarm_ends_a_silence_and_as_long_a_one_is_not_told_again() -> None:
    points = sent(range(6), 14_000, lambda i, at_s: i == 3 and (3600 <= at_s < 5400 or 9000 <= at_s < 10_800))
    word: dict[str, object] = {"feedback": "false_alarm", "by": "jo", "note": "it sleeps"}
    opened, ended = fed(pipeline(), words_on(points, (4000.0, word)))
    assert (ended.incident, ended.incident_id, ended.severity) == ("resolved", opened.id, opened.severity)
    assert ended.explanation == "A false alarm, says jo: it sleeps"
    assert len(fed(pipeline(), points)) == 4


def answer(points: list[Sent], at: int) -> dict[str, Any]:
    """The result of the record at that place."""
    one = pipeline()
    fed(one, points, 0, at)
    key = b"pump-%d" % points[at].source
    written = np.array([int(1000 * (START_S + points[at].written_s))])
    batch = RecordBatch([_value(key, points[at])], [key], {}, np.array([at]), written)
    result: dict[str, Any] = json.loads(one.process_read(read(batch, InputLimits())).of(0).result)
    return result


@pytest.mark.parametrize(
    ("word", "how"),
    [
        ("false_alarm", "accepted"),
        ("new_normal", "accepted"),
        ("confirmed", "kept"),
        ("expected", "expected"),
    ],
)
def test_a_word_may_name_the_silence_and_changes_nothing_of_the_points(word: str, how: str) -> None:
    points = sent(range(6), 7200, between(3600, 7200, 3))
    (opened,) = fed(pipeline(), points)
    named = {**(until(6000) if word == "expected" else {"feedback": word}), "anomalyId": opened.id}
    spoken = words_on(points, (4000.0, named))
    result = answer(spoken, next(i for i, point in enumerate(spoken) if point.said))
    assert result["status"] == "applied"
    assert result["changed"]["silence"] == how
    assert not {"budgetFactor", "forgottenPoints"} & set(result["changed"])


def test_a_silence_that_is_over_cannot_be_named() -> None:
    points = sent(range(6), 7200, between(3600, 5400, 3))
    opened, _ = fed(pipeline(), points)
    spoken = words_on(points, (6000.0, {"feedback": "false_alarm", "anomalyId": opened.id}))
    result = answer(spoken, next(i for i, point in enumerate(spoken) if point.said))
    assert (result["status"], result["reason"]) == ("rejected", "unknown_anomaly")


# No false alarms


def test_regular_sources_are_never_missed_though_points_are_lost_and_late() -> None:
    rng = np.random.default_rng(1)
    points = [point for point in sent(range(30), 20_000) if rng.random() < 0.9]
    late = [point._replace(written_s=point.written_s + rng.exponential(5)) for point in points]
    assert fed(pipeline(), sorted(late, key=lambda point: point.written_s)) == []


@pytest.mark.parametrize("pause_s", [300, 3600, 86_400])
def test_a_halt_of_everything_is_nobodys_silence(pause_s: float) -> None:
    before = sent(range(6), 3600)
    points = before + sent(range(6), 7200 + pause_s, start_s=3600 + pause_s)
    assert fed(pipeline(), points) == []


def test_records_that_wait_in_kafka_are_nobodys_silence() -> None:
    """What was produced in time is in time, whenever it is read: no clock but the records' is asked."""
    points = sent(range(6), 7200)
    one = pipeline()
    assert fed(one, points, 0, 1000) == []
    assert fed(one, points, 1000) == []


@pytest.mark.parametrize("ahead_s", [3600.0, 400 * 86_400.0])
@pytest.mark.parametrize("of_the_record", [False, True])
def test_a_source_whose_clock_is_ahead_makes_nobody_silent(ahead_s: float, of_the_record: bool) -> None:
    points = [
        Sent(p.at_s + ahead_s, p.source, p.written_s + ahead_s * of_the_record) if p.source == 2 else p
        for p in sent(range(6), 7200)
    ]
    assert fed(pipeline(), points) == []


def test_files_that_are_read_one_after_the_other_make_nobody_silent() -> None:
    files = [sent([source], 7200) for source in range(5)]
    points = [
        point._replace(written_s=9000 + 0.001 * i)
        for i, point in enumerate(point for file in files for point in file)
    ]
    assert fed(pipeline(), points) == []


def test_a_source_that_delivers_by_the_hour_is_soon_missed_only_after_hours() -> None:
    hourly = [
        point._replace(written_s=3600 * (1 + point.at_s // 3600) + 0.001 * point.at_s)
        for point in sent([9], 36_000)
    ]
    points = sorted(sent(range(5), 60_000) + hourly, key=lambda point: point.written_s)
    told = fed(pipeline(), points)
    assert summary(told) == [("pump-9", "opened"), ("pump-9", "resolved")] * 2 + [("pump-9", "opened")]
    assert told[1].explanation == "Back: nothing is missing, it came late"
    assert told[4].explanation.startswith("Silent for 2")


def test_alone_in_its_partition_no_source_can_be_missed() -> None:
    assert fed(pipeline(), sent(range(2), 7200, between(3600, 5400, 1))) == []


# Many at once


def test_many_that_fall_silent_together_are_one_event() -> None:
    one = pipeline()
    opened, resolved = fed(one, sent(range(40), 7200, between(3600, 5400, *range(25))))
    assert opened.incident_id == opened.id == resolved.incident_id
    assert opened.id.endswith("-silent-together")
    assert resolved.id.endswith("-back-together")
    assert opened.explanation.startswith("25 of 40 sources that report regularly fell silent together")
    assert opened.explanation.endswith("and 21 more")
    assert resolved.explanation.endswith("of the 25 sources that fell silent together are back or forgotten")
    assert (opened.incident, resolved.incident) == ("opened", "resolved")
    assert opened.severity == resolved.severity
    assert one.silent_sources == 0


def test_those_that_are_slower_to_be_missed_belong_to_the_same_event() -> None:
    quick = sent(range(30), 20_000, between(9000, 30_000, *range(20)))
    slow = sent(range(40, 44), 20_000, between(9000, 30_000), gap_s=120)
    one = pipeline()
    told = fed(one, sorted(quick + slow, key=lambda point: point.written_s))
    assert len(told) == 1
    assert one.silent_sources == 24


def test_who_falls_silent_later_is_told_of_on_its_own() -> None:
    def away(source: int, at_s: float) -> bool:
        return at_s >= (3600 if source < 25 else 5400) and source in (*range(25), 30)

    assert [a.source_id for a in fed(pipeline(), sent(range(40), 7200, away))][1:] == ["pump-30"]


def test_the_end_of_many_is_told_when_the_rest_is_forgotten() -> None:
    points = sent(range(40), 7200, between(3600, 7200, *range(25)))
    points += [Sent(5000 + source, source, 5000 + source, forget=True) for source in range(24)]
    points += [Sent(7000.0, 24, 7000.0)]
    told = fed(pipeline(), sorted(points, key=lambda point: point.written_s))
    assert [a.incident for a in told] == ["opened", "resolved"]


# The same for any batches


@lru_cache(maxsize=1)
def eventful() -> list[Sent]:
    """Outages of one and of many, tombstones, and more sources than there is room for."""

    def away(source: int, at_s: float) -> bool:
        return (
            (1500 <= at_s < 2500 and source in (1, 2))
            or (3000 <= at_s < 4000 and source < 14)
            or (source >= 20 and not 300 * (source - 20) <= at_s < 300 * (source - 20) + 900)
        )

    points = sent(range(36), 6000, away, gap_s=20)
    points += [Sent(at, source, at, forget=True) for at, source in ((1800.0, 1), (3500.0, 5), (3501.0, 6))]
    said = [(1750.0, 2, until(2200)), (3400.0, 7, {"feedback": "false_alarm"}), (3401.0, 8, until(3700))]
    points += [Sent(at, source, at, said=json.dumps(word)) for at, source, word in said]
    return sorted(points, key=lambda point: point.written_s)


@lru_cache(maxsize=2)
def whole(room: int) -> tuple[list[Anomaly], dict[str, Array]]:
    one = pipeline(max_sources=room)
    return fed(one, eventful()), one.state()


def test_the_stream_of_these_tests_has_silences_of_every_kind() -> None:
    kinds = {(a.incident, a.id.rpartition("-")[2]) for a in whole(30)[0]}
    assert kinds == {
        ("opened", "silent"), ("opened", "together"), ("resolved", "back"), ("resolved", "together")
    }  # fmt: skip
    assert whole(22)[0]


@settings(max_examples=10)
@given(st.lists(st.integers(0, 10_000), max_size=20), st.sampled_from([22, 30]), st.booleans())
def test_any_split_and_any_restart_tell_the_same(cuts: list[int], room: int, restart: bool) -> None:
    expected, state = whole(room)
    edges = [0, *sorted(cut % len(eventful()) for cut in cuts), len(eventful())]
    one, told = pipeline(max_sources=room), []
    for first, stop in pairwise(edges):
        told += fed(one, eventful(), first, stop)
        if restart:
            frozen = freeze(one.state(), 1000)
            one = pipeline(max_sources=room)
            one.restore(Manifest.parse(frozen.manifest({})).thaw(enumerate(map(bytes, frozen.chunks)), 1000))
    assert told == expected
    for name, array in one.state().items():
        if name.startswith(("absence/", "cadence/")):
            np.testing.assert_array_equal(array, state[name], name)


@pytest.mark.parametrize("room", [22, 30])
def test_points_one_by_one_tell_the_same(room: int) -> None:
    first = 2500
    one = pipeline(max_sources=room)
    told = fed(one, eventful(), 0, first)
    for i in range(first, first + 1500):
        told += fed(one, eventful(), i, i + 1)
    assert told + fed(one, eventful(), first + 1500) == whole(room)[0]


def test_a_state_of_another_shape_is_refused() -> None:
    state = pipeline().state()
    del state["absence/recent"]
    with pytest.raises(ValueError, match="recent"):
        pipeline().restore(state)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"), (850, "850 ms"), (1000, "1 s"), (1234, "1.2 s"), (31_000, "31 s"), (150_000, "2.5 min"),
        (2_220_000, "37 min"), (3 * 3_600_000, "3 h"), (100 * 86_400_000, "100 d"),
    ],
)  # fmt: skip
def test_durations_are_told_with_two_digits(ms: float, text: str) -> None:
    assert span(ms) == text
