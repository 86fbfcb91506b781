"""Words on a source among its points, through the whole pipeline."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.feedback import Fault, Kind, RejectedError, read_word
from service.outcomes import Outcome
from service.pipeline import DetectionPipeline, Record
from service.wire.anomaly import Anomaly
from service.wire.data_point import Control, DataPoint, Forget
from tests.streams import a_point, series
from tests.wire.published import read

PLACE = "data-points-0"
CLEAN, BROKEN = 600, 60


class Log:
    """One partition's log as it grows, and the pipeline that reads it; a point a minute."""

    def __init__(self) -> None:
        self.pipeline = DetectionPipeline()
        self.offset = self.points = 0

    def add(self, *contents: DataPoint | Control | Forget) -> list[Outcome]:
        records = [
            Record(content, self.offset + i, 1_000 + self.offset + i) for i, content in enumerate(contents)
        ]
        self.offset += len(records)
        return self.pipeline.process_batch(records)

    def feed(self, *values: float, source: str = "pump-7") -> list[Outcome]:
        first = self.points
        self.points += len(values)
        return self.add(*(a_point(source, 60 * (first + i + 1), x) for i, x in enumerate(values)))

    def say(self, source: str = "pump-7", **word: Any) -> tuple[dict[str, Any], Anomaly | None]:
        (outcome,) = self.add(Control(source, 5_000, word))
        return read(outcome.result), Anomaly.parse(outcome.anomaly) if outcome.anomaly else None

    @property
    def now_ms(self) -> int:
        return 60_000 * self.points


def clean(n: int, seed: int = 1) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(size=n)]


def broken(n: int, seed: int = 2) -> list[float]:
    return [20.0 + x for x in clean(n, seed)]


@pytest.fixture
def alarmed() -> tuple[Log, str]:
    """A source in an open incident, and the incident's id."""
    log = Log()
    log.feed(*clean(CLEAN))
    outcomes = log.feed(*broken(3))
    assert [outcome.incident for outcome in outcomes] == ["opened", "updated", "updated"]
    return log, json.loads(outcomes[0].anomaly or b"")["id"]


# What is said is done


def test_a_false_alarm_halves_the_budget_and_ends_the_incident(alarmed: tuple[Log, str]) -> None:
    log, incident = alarmed
    result, anomaly = log.say(feedback="false_alarm", anomalyId=incident, by="jo", note="being cleaned")
    assert result == {
        "sourceId": "pump-7",
        "timestamp": "1970-01-01T00:00:05Z",
        "status": "applied",
        "incident": "resolved",
        "incidentId": incident,
        "feedback": "false_alarm",
        "anomalyId": incident,
        "by": "jo",
        "note": "being cleaned",
        "changed": {"budgetFactor": {"before": 1.0, "after": 0.5}, "learnedPoints": 3},
    }
    assert anomaly is not None
    assert (anomaly.id, anomaly.incident_id) == (f"{PLACE}-{CLEAN + 3}", incident)
    assert (anomaly.incident, anomaly.score, anomaly.values) == ("resolved", None, {})
    assert anomaly.severity in ("high", "critical")
    assert anomaly.explanation == "A false alarm, says jo: being cleaned"
    assert anomaly.detected_at == "1970-01-01T00:00:01.603Z"


def test_a_score_is_measured_by_the_budget_that_feedback_left() -> None:
    plain, told = Log(), Log()
    for log in (plain, told):
        log.feed(*clean(CLEAN))
    told.say(feedback="false_alarm")
    (without,), (after,) = plain.feed(50.0), told.feed(50.0)
    rarer = (1 - read(after.result)["score"]) / (1 - read(without.result)["score"])
    assert rarer == pytest.approx(2 ** np.log10(2), rel=0.02)


def test_false_alarms_add_up_to_a_bound_and_confirmations_take_them_back_to_a_little_beyond() -> None:
    log = Log()
    log.feed(*clean(CLEAN))
    after = [log.say(feedback="false_alarm")[0]["changed"]["budgetFactor"]["after"] for _ in range(7)]
    assert after == [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.03125, 0.03125]
    after = [log.say(feedback="confirmed")[0]["changed"]["budgetFactor"]["after"] for _ in range(7)]
    assert after == [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 2.0]


def test_half_of_a_shift_is_forgotten_after_ten_budgets_of_points() -> None:
    log = Log()
    log.feed(*clean(100))
    for _ in range(4):
        log.say(feedback="false_alarm")
    log.feed(*clean(10_000))
    change = log.say(feedback="confirmed")[0]["changed"]["budgetFactor"]
    assert change["before"] == pytest.approx(0.25, rel=0.01)
    log.feed(*clean(1))


def test_what_is_expected_is_scored_and_is_no_anomaly_until_its_end(alarmed: tuple[Log, str]) -> None:
    log, incident = alarmed
    until = log.now_ms + 10 * 60_000
    result, anomaly = log.say(feedback="expected", until=until, by="jo")
    assert result["changed"]["expectedUntil"]["before"] is None
    assert (result["incident"], result["incidentId"]) == ("resolved", incident)
    assert anomaly is not None
    assert anomaly.explanation.startswith("Expected until 1970-01-01T")
    during = [read(outcome.result) for outcome in log.feed(*broken(10))]
    held = [point.get("heldBy") == "expected" for point in during]
    assert held == [point["score"] > 0.8 for point in during]
    assert any(held)
    assert not any(point["isAnomaly"] or "incident" in point for point in during)
    after = read(log.feed(60.0)[0].result)
    assert (after["isAnomaly"], "heldBy" in after) == (True, False)


def test_a_confirmation_ends_what_was_expected(alarmed: tuple[Log, str]) -> None:
    log, _ = alarmed
    log.say(feedback="expected", until=log.now_ms + 3_600_000)
    result, anomaly = log.say(feedback="confirmed")
    assert anomaly is None
    assert result["changed"]["expectedUntil"]["after"] is None
    assert read(log.feed(*broken(1))[0].result)["isAnomaly"]


def test_a_confirmed_incident_stays_open(alarmed: tuple[Log, str]) -> None:
    log, _ = alarmed
    result, anomaly = log.say(feedback="confirmed")
    assert result["changed"] == {"budgetFactor": {"before": 1.0, "after": 2.0}, "outage": "kept_out"}
    assert anomaly is None
    assert log.feed(*broken(1))[0].incident == "updated"


def test_the_new_normal_is_learned_from_scratch_and_soon_quiet(alarmed: tuple[Log, str]) -> None:
    log, incident = alarmed
    result, anomaly = log.say(feedback="new_normal")
    assert result["changed"]["forgottenPoints"] == CLEAN + 3 - 30
    assert anomaly is not None
    assert (anomaly.incident_id, anomaly.explanation) == (incident, "The new normal")
    after = [read(outcome.result) for outcome in log.feed(*broken(300, seed=5))]
    assert [point["status"] for point in after] == ["skipped"] * 30 + ["scored"] * 270
    assert sum(point.get("isAnomaly", False) for point in after) <= 1
    assert read(log.feed(0.0)[0].result)["isAnomaly"]


def test_the_new_normal_keeps_what_was_said_of_the_source(alarmed: tuple[Log, str]) -> None:
    log, _ = alarmed
    log.say(feedback="false_alarm")
    log.say(feedback="new_normal")
    assert log.say(feedback="confirmed")[0]["changed"]["budgetFactor"] == {"before": 0.5, "after": 1.0}


def test_a_false_alarm_of_an_earlier_incident_leaves_the_present_one_open(alarmed: tuple[Log, str]) -> None:
    log, first = alarmed
    log.say(feedback="false_alarm")
    log.feed(*clean(300, seed=7))
    opened = [o for o in log.feed(*broken(3)) if o.incident == "opened"]
    assert opened
    result, anomaly = log.say(feedback="false_alarm", anomalyId=first)
    assert anomaly is None
    assert result["changed"]["budgetFactor"]["after"] < 0.3
    assert log.feed(60.0)[0].incident == "updated"


def test_a_tombstone_forgets_what_was_said() -> None:
    log = Log()
    log.feed(*clean(50))
    log.say(feedback="false_alarm")
    log.add(Forget("pump-7", 0))
    log.feed(*clean(50))
    assert log.say(feedback="false_alarm")[0]["changed"]["budgetFactor"]["before"] == 1.0


def test_words_on_one_source_change_nothing_of_another() -> None:
    alone, beside = Log(), Log()
    for log in (alone, beside):
        log.feed(*clean(100), source="other")
        log.feed(*clean(100))
    for kind in ("false_alarm", "confirmed", "new_normal"):
        beside.say(feedback=kind)
    values = [*clean(50), 9.0]
    assert [o.result for o in alone.feed(*values, source="other")] == [
        o.result for o in beside.feed(*values, source="other")
    ]


# The new normal that nobody declared


def jump_of_four_values() -> list[DataPoint]:
    x = np.random.default_rng(3).normal(size=(1200, 4))
    x[1000:] *= 30.0
    return [
        a_point("pump-7", 60 * (i + 1), dict(zip("abcd", row.tolist(), strict=True)))
        for i, row in enumerate(x)
    ]


def test_an_outage_that_becomes_the_new_normal_says_so_and_how_to_undo_it() -> None:
    outcomes = Log().add(*jump_of_four_values())
    told = [(i, read(o.result)) for i, o in enumerate(outcomes) if b"newNormalAfter" in o.result]
    (i, result), (_, end) = told
    assert end["explanation"].startswith("Quiet at a new level: ")
    assert 50 < result["newNormalAfter"] <= i - 1000 + 1
    assert result["incident"] == "updated"
    assert result["explanation"].endswith(
        f"after {result['newNormalAfter']} such points accepted as the new normal"
        " (undo: anomalyd feedback pump-7 confirmed)"
    )


def test_a_confirmed_outage_is_not_accepted_and_one_that_was_is_forgotten() -> None:
    points = jump_of_four_values()
    log = Log()
    log.add(*points[:1010])
    assert log.say(feedback="confirmed")[0]["changed"]["outage"] == "kept_out"
    while_it_lasts = log.add(*points[1010:1120])
    assert not any(b"newNormalAfter" in outcome.result for outcome in while_it_lasts)
    log = Log()
    log.add(*points[:1100])
    assert log.say(feedback="confirmed")[0]["changed"]["outage"] == "forgotten"
    assert not any(b"newNormalAfter" in outcome.result for outcome in log.add(*points[1100:]))


# What is wrong is rejected


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ({}, Fault.UNSUPPORTED_CONTROL),
        ({"reload": True}, Fault.UNSUPPORTED_CONTROL),
        ({"feedback": "falsealarm"}, Fault.UNKNOWN_FEEDBACK),
        ({"feedback": None}, Fault.UNKNOWN_FEEDBACK),
        ({"feedback": {"a": 1}}, Fault.UNKNOWN_FEEDBACK),
        ({"feedback": "confirmed", "untill": 5}, Fault.UNKNOWN_MEMBER),
        ({"feedback": "confirmed", "by": 5}, Fault.BAD_BY),
        ({"feedback": "confirmed", "by": ""}, Fault.BAD_BY),
        ({"feedback": "confirmed", "by": "a" * 257}, Fault.BAD_BY),
        ({"feedback": "confirmed", "note": "two\nlines"}, Fault.BAD_NOTE),
        ({"feedback": "confirmed", "until": 5}, Fault.BAD_UNTIL),
        ({"feedback": "expected"}, Fault.BAD_UNTIL),
        ({"feedback": "expected", "until": "tomorrow"}, Fault.BAD_UNTIL),
        ({"feedback": "expected", "until": True}, Fault.BAD_UNTIL),
        ({"feedback": "expected", "until": -1}, Fault.BAD_UNTIL),
        ({"feedback": "expected", "until": 1.5}, Fault.BAD_UNTIL),
        ({"feedback": "confirmed", "anomalyId": 7}, Fault.BAD_ANOMALY_ID),
        ({"feedback": "confirmed", "anomalyId": "seven"}, Fault.BAD_ANOMALY_ID),
        ({"feedback": "confirmed", "anomalyId": f"{PLACE}-"}, Fault.BAD_ANOMALY_ID),
        ({"feedback": "confirmed", "anomalyId": f"{PLACE}-{'9' * 30}"}, Fault.BAD_ANOMALY_ID),
        ({"feedback": "confirmed", "anomalyId": "data-points-1-7"}, Fault.ANOMALY_OF_ANOTHER_PARTITION),
        ({"feedback": "confirmed", "anomalyId": "other-0-7"}, Fault.ANOMALY_OF_ANOTHER_PARTITION),
    ],
)
def test_a_word_that_makes_no_sense_is_rejected_with_its_reason(word: dict[str, Any], fault: Fault) -> None:
    log = Log()
    log.feed(*clean(40))
    before = log.pipeline.state()
    result, anomaly = log.say(**word)
    assert (result["status"], result["reason"], anomaly) == ("rejected", fault, None)
    assert result["detail"]
    for name, array in log.pipeline.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_word_on_a_source_that_is_unknown_is_rejected() -> None:
    result, _ = Log().say(feedback="false_alarm")
    assert (result["status"], result["reason"]) == ("rejected", "unknown_source")


@pytest.mark.parametrize("ahead_ms", [0, -60_000, 367 * 86_400_000])
def test_what_is_expected_ends_after_now_and_within_a_year(ahead_ms: int) -> None:
    log = Log()
    log.feed(*clean(40))
    result, _ = log.say(feedback="expected", until=log.now_ms + ahead_ms)
    assert (result["status"], result["reason"]) == ("rejected", "bad_until")


def test_an_anomaly_must_be_one_and_of_the_source(alarmed: tuple[Log, str]) -> None:
    log, incident = alarmed
    log.feed(*clean(40), source="pump-8")
    result, _ = log.say("pump-8", feedback="false_alarm", anomalyId=incident)
    assert result["reason"] == "anomaly_of_another_source"
    result, _ = log.say(feedback="false_alarm", anomalyId=f"{PLACE}-5")
    assert result["reason"] == "unknown_anomaly"


@given(
    st.dictionaries(
        st.sampled_from(["feedback", "until", "anomalyId", "by", "note", "x"]),
        st.one_of(
            st.sampled_from([kind.value for kind in Kind]), st.text(), st.integers(), st.none(), st.booleans()
        ),
    )
)
def test_any_control_record_is_a_word_or_has_a_fault(control: dict[str, Any]) -> None:
    word = None
    with suppress(RejectedError):
        word = read_word(control, PLACE)
    if word is None:
        return
    assert word.kind == control["feedback"]
    assert (word.until_ms is not None) == (word.kind is Kind.EXPECTED)


def test_feedback_anywhere_among_points_gives_the_same_in_any_batches() -> None:
    contents: list[DataPoint | Control | Forget] = [*series(clean(200)), *series(broken(20))]
    for at, kind in ((50, "confirmed"), (150, "false_alarm"), (205, "new_normal"), (210, "false_alarm")):
        contents.insert(at, Control("pump-7", 0, {"feedback": kind}))
    together, apart = Log(), Log()
    whole = together.add(*contents)
    assert [apart.add(content)[0] for content in contents] == whole
    state = apart.pipeline.state()
    for name, array in together.pipeline.state().items():
        # A sum over a batch, for the metrics alone.
        tolerance = 1e-12 if name == "counts/promised" else 0.0
        np.testing.assert_allclose(array, state[name], rtol=tolerance)
