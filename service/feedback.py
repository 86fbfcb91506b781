"""Feedback: what people say of a source's anomalies, and what that changes from their word on.

A word stands in the log among the points of its source, so its effect is a function of the log, too. It
moves the source's budget (by halves and doubles, fading), announces a time in which nothing is an alarm, and
tells the calibration and the features what is to be learned or forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from service.absence import Absence, Silence
from service.decision import Decision, Severity
from service.detectors.calibration import BudgetCalibration, Refusal
from service.history.sources import Sources
from service.history.table import Array, Column, StateTable
from service.kernels import borrowed, kernel, prefetch
from service.settling import Settling
from service.wire.batch import PointBatch
from service.wire.data_point import Control
from service.wire.rules import fault_of_text, quote
from service.wire.timestamps import MAX_TIME_MS, format_rfc3339, parse_rfc3339

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_STEP = math.log10(2.0)
_MOST_BELOW, _MOST_ABOVE = 5 * _STEP, 1 * _STEP
_FADING = math.log(2.0) / 10.0  # half of a shift is gone after ten budgets' worth of points
_LEAST = 0.01
_LONGEST_MS = 366 * 86_400_000
_REMEMBERED = 4096
_AHEAD = 6  # points whose rows are on their way from memory

_DECADES, _UNTIL = range(2)  # below the stated budget; what is expected ends before this event time


class Kind(StrEnum):
    """What can be said."""

    FALSE_ALARM = "false_alarm"
    CONFIRMED = "confirmed"
    EXPECTED = "expected"
    NEW_NORMAL = "new_normal"


class Fault(StrEnum):
    """Why a control record was rejected."""

    UNSUPPORTED_CONTROL = "unsupported_control"
    UNKNOWN_FEEDBACK = "unknown_feedback"
    UNKNOWN_MEMBER = "unknown_member"
    BAD_BY = "bad_by"
    BAD_NOTE = "bad_note"
    BAD_UNTIL = "bad_until"
    BAD_ANOMALY_ID = "bad_anomaly_id"
    ANOMALY_OF_ANOTHER_PARTITION = "anomaly_of_another_partition"
    UNKNOWN_SOURCE = "unknown_source"
    UNKNOWN_ANOMALY = "unknown_anomaly"
    ANOMALY_OF_ANOTHER_SOURCE = "anomaly_of_another_source"


class RejectedError(Exception):
    """The first fault of a control record, and a line about it for a person."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault, self.detail = fault, detail


@dataclass(frozen=True, slots=True)
class Word:
    """One control record of feedback that is well formed; `anomaly_offset` is of this partition.

    `of_silence`: the anomaly is one.
    """

    kind: Kind
    until_ms: int | None
    anomaly_offset: int | None
    of_silence: bool
    by: str | None
    note: str | None
    echo: dict[str, str]
    """The members that its result repeats."""

    @property
    def told(self) -> str:
        """Why an incident ended, for a person."""
        text = {Kind.FALSE_ALARM: "A false alarm", Kind.NEW_NORMAL: "The new normal"}.get(
            self.kind, "Expected"
        )
        if self.until_ms is not None:
            text += f" until {format_rfc3339(self.until_ms)}"
        text += f", says {self.by}" if self.by else ""
        return f"{text}: {self.note}" if self.note else text


@dataclass(frozen=True, slots=True)
class Closed:
    """An incident that a word ended: where it was opened, its worst severity, and why it is over."""

    incident_offset: int
    severity: Severity
    told: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What was done about a record that is no point: its result's status and further members."""

    status: str
    reason: str | None = None
    detail: str | None = None
    members: Mapping[str, Any] = field(default_factory=dict)
    closed: Closed | None = None
    ended: Silence | None = None
    told: str | None = None
    """Why the silence has ended."""


@kernel
def _adjust(
    source: Ints, time_ms: Ints, stated: Floats, feedback: Floats, budget: Floats, held: Bools
) -> None:
    feedback = borrowed(feedback)
    points = source.shape[0]
    for point in range(points):
        if point + _AHEAD < points:
            prefetch(feedback, source[point + _AHEAD])
        row = feedback[source[point]]
        budget[point] = stated[point]
        if row[_DECADES] != 0.0:
            budget[point] *= 10.0 ** -row[_DECADES]
            row[_DECADES] *= 1.0 - _FADING * stated[point]
            if abs(row[_DECADES]) < _LEAST:
                row[_DECADES] = 0.0
        held[point] = time_ms[point] < row[_UNTIL]


class Feedback:
    """What was said of each source, as far as it still counts, and the newest anomalies of the partition."""

    def __init__(
        self,
        place_name: str,
        table: StateTable,
        sources: Sources,
        calibration: BudgetCalibration,
        decision: Decision,
        settling: Settling,
        absence: Absence,
        histories: Sequence[StateTable],
    ) -> None:
        """`histories` are the tables of sources that a new normal begins anew."""
        self.table = table
        self._place_name = place_name
        self._sources = sources
        self._calibration = calibration
        self._decision = decision
        self._settling = settling
        self._absence = absence
        self._histories = histories
        self._offsets = np.empty(0, np.int64)  # ascending
        self._hashes = np.empty(0, np.uint64)  # of their sources
        self._heard = False  # whether any row may say anything: until then no point looks

    @staticmethod
    def new_table() -> StateTable:
        """What is kept of each source, for `Sources` to own."""
        return StateTable({"feedback": Column(np.float64, 2)})

    # For every point.

    @property
    def expected_until(self) -> Floats:
        """Before which event time (slots,) whatever a source does, or its silence, is expected."""
        until: Floats = self.table["feedback"][:, _UNTIL]
        return until

    def budgets(self, source: Ints, time_ms: Ints, stated: Floats) -> tuple[Floats, Bools]:
        """The budget p0 (n,) of each point from the stated one, and whether it was announced; fades."""
        held = np.zeros(len(source), np.bool_)
        if not self._heard:
            return stated, held
        budget = np.empty(len(source))
        _adjust(source, time_ms, stated, self.table["feedback"], budget, held)
        return budget, held

    def remember(self, batch: PointBatch, points: Ints) -> None:
        """These points of the batch, in their order, have anomaly records."""
        if len(points):
            self._remember(batch.points["offset"][points], batch.points["source_hash"][points])

    def _remember(self, offsets: Ints, hashes: npt.NDArray[np.uint64]) -> None:
        self._offsets = np.concatenate([self._offsets, offsets])[-_REMEMBERED:]
        self._hashes = np.concatenate([self._hashes, hashes])[-_REMEMBERED:]

    def state(self) -> dict[str, Array]:
        """What is known beside the table, as copies."""
        return {"offsets": self._offsets.copy(), "sources": self._hashes.copy()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` gave, once the table has been restored.

        Raises:
            ValueError: a part is missing.
        """
        if missing := {"offsets", "sources"} - state.keys():
            raise ValueError(f"saved anomalies have no {', '.join(sorted(missing))}")
        self._offsets, self._hashes = state["offsets"], state["sources"]
        self._heard = bool(self.table["feedback"].any())

    # For every control record.

    def obey(self, control: Control, offset: int) -> Answer:
        """Do what the record at this offset says, or say why not."""
        try:
            word = read_word(control.control, self._place_name)
            slot = self._slot_of(control.source_id)
            self._check_until(word, slot, control.time_ms)
            silence = self._silence_meant(word, slot, control.source_id)
            self._check_anomaly(word, slot)
        except RejectedError as error:
            return Answer("rejected", error.fault, error.detail)
        self._heard = True
        if silence is not None:
            return self._answer_silence(word, slot, silence._replace(now_ms=control.time_ms), offset)
        return self._answer(word, slot, offset)

    def _answer(self, word: Word, slot: int, offset: int) -> Answer:
        """What a word on a source's points changes."""
        members = {**word.echo, "changed": self._apply(word, slot)}
        closed = self._close(word, slot)
        if closed is None:
            return Answer("applied", members=members)
        self._remember(np.array([offset]), np.array([self._sources.hash_of(slot)], np.uint64))
        incident = {"incident": "resolved", "incidentId": f"{self._place_name}-{closed.incident_offset}"}
        return Answer("applied", members={**incident, **members}, closed=closed)

    def _slot_of(self, source_id: str) -> int:
        try:
            return self._sources.slot_of(source_id)
        except KeyError:
            raise RejectedError(Fault.UNKNOWN_SOURCE, "no point of this source is remembered") from None

    def _silence_meant(self, word: Word, slot: int, source_id: str) -> Silence | None:
        """The source's silence, if the word names it, or is on the source as it is now and that is silent."""
        silence = self._absence.silence_of(slot, source_id)
        if word.of_silence:
            if silence is None or silence.opened not in (-1, word.anomaly_offset):
                raise RejectedError(Fault.UNKNOWN_ANOMALY, "the source has no such silence now")
            return silence
        as_it_is = word.anomaly_offset is None and word.kind in (Kind.FALSE_ALARM, Kind.EXPECTED)
        return silence if as_it_is else None

    def _answer_silence(self, word: Word, slot: int, silence: Silence, offset: int) -> Answer:
        """What a word on a source's silence changes; what is expected of it is so of its points, too."""
        if word.kind is Kind.CONFIRMED:
            return Answer("applied", members={**word.echo, "changed": {"silence": "kept"}})
        if word.kind is Kind.EXPECTED:
            answer, how = self._answer(word, slot, offset), "expected"
            self._absence.put_off(slot, offset)
        else:
            answer, how = Answer("applied", members={**word.echo, "changed": {}}), "accepted"
            self._absence.accept(slot)
        answer.members["changed"]["silence"] = how
        return replace(answer, ended=silence, told=word.told) if silence.opened >= 0 else answer

    def _check_until(self, word: Word, slot: int, time_ms: int) -> None:
        """What is expected ends after the source's newest point, and not years later by a slip of the pen."""
        if word.until_ms is None:
            return
        newest_ms = self._sources.newest_ms(slot)
        now_ms = time_ms if newest_ms < 0 else newest_ms
        if not now_ms < word.until_ms <= now_ms + _LONGEST_MS:
            bound = "not after" if word.until_ms <= now_ms else "more than 366 days after"
            shown = f"{format_rfc3339(word.until_ms)} is {bound} {format_rfc3339(now_ms)}"
            raise RejectedError(Fault.BAD_UNTIL, f"{shown}, where the source is")

    def _check_anomaly(self, word: Word, slot: int) -> None:
        if word.anomaly_offset is None or word.of_silence:
            return
        at = int(np.searchsorted(self._offsets, word.anomaly_offset))
        if at == len(self._offsets) or self._offsets[at] != word.anomaly_offset:
            newest = f"the newest {_REMEMBERED:,} anomaly records of the partition"
            raise RejectedError(Fault.UNKNOWN_ANOMALY, f"it is not among {newest}")
        if self._hashes[at] != self._sources.hash_of(slot):
            raise RejectedError(Fault.ANOMALY_OF_ANOTHER_SOURCE, "the anomaly is of another source")

    def _apply(self, word: Word, slot: int) -> dict[str, Any]:
        """What a word changes, in numbers."""
        row = self.table["feedback"][slot]
        if word.kind is not Kind.CONFIRMED:
            self._settling.allow(slot)
        match word.kind:
            case Kind.FALSE_ALARM:
                changed = self._shift(row, min(row[_DECADES] + _STEP, _MOST_BELOW))
                return {**changed, "learnedPoints": self._calibration.release(slot)}
            case Kind.CONFIRMED:
                changed = self._shift(row, max(row[_DECADES] - _STEP, -_MOST_ABOVE))
                changed |= self._expect(row, None) if row[_UNTIL] else {}
                outage, reopened = self._calibration.refuse(slot), self._refuse_level(word, slot)
                return {**changed, "outage": Refusal.FORGOTTEN if reopened else outage, **reopened}
            case Kind.EXPECTED:
                return self._expect(row, word.until_ms)
            case Kind.NEW_NORMAL:
                return {"forgottenPoints": self._begin_anew(slot)}

    def _refuse_level(self, word: Word, slot: int) -> dict[str, Any]:
        """Let the incident go on after which the source settled at a new level, if that was lately."""
        refused = self._settling.refuse(slot, self._absence.seen(slot), word.anomaly_offset)
        if refused is None:
            return {}
        reopened = self._decision.reopen(slot, *refused)
        return {"reopened": f"{self._place_name}-{refused[0]}" if reopened else None}

    @staticmethod
    def _shift(row: Floats, decades: float) -> dict[str, Any]:
        before, row[_DECADES] = _factor(row[_DECADES]), decades if abs(decades) >= _LEAST else 0.0
        return {"budgetFactor": {"before": before, "after": _factor(row[_DECADES])}}

    @staticmethod
    def _expect(row: Floats, until_ms: int | None) -> dict[str, Any]:
        before, row[_UNTIL] = row[_UNTIL], 0.0 if until_ms is None else until_ms + 1.0
        shown = [format_rfc3339(int(end) - 1) if end else None for end in (before, row[_UNTIL])]
        return {"expectedUntil": {"before": shown[0], "after": shown[1]}}

    def _begin_anew(self, slot: int) -> int:
        """Forget the source's past, but not what was said of it; how many points it had been judged by."""
        points = self._calibration.points(slot)
        for table in self._histories:
            table.clear(slot, slot + 1)
        self._sources.clear_values(slot)
        return points

    def _close(self, word: Word, slot: int) -> Closed | None:
        """End the open incident, unless the word is of an earlier one, or that it is right."""
        opened = self._decision.open_since(slot)
        of_earlier = word.anomaly_offset is not None and word.anomaly_offset < (opened or 0)
        if word.kind is Kind.CONFIRMED or (word.kind is Kind.FALSE_ALARM and of_earlier):
            return None
        closed = self._decision.close(slot)
        return Closed(*closed, word.told) if closed else None


def _factor(decades: float) -> float:
    """What the stated budget is multiplied by, with six significant digits."""
    return float(f"{10.0**-decades:.6g}")


_TEXTS = (
    ("anomalyId", Fault.BAD_ANOMALY_ID, 300),
    ("by", Fault.BAD_BY, 256),
    ("note", Fault.BAD_NOTE, 1000),
)


def read_word(control: Mapping[str, Any], place_name: str) -> Word:
    """The feedback that a control record gives, as far as it can be judged alone.

    Raises:
        RejectedError: with its first fault.
    """
    if "feedback" not in control:
        raise RejectedError(Fault.UNSUPPORTED_CONTROL, "there is no feedback in it")
    if control["feedback"] not in list(Kind):
        raise RejectedError(Fault.UNKNOWN_FEEDBACK, f"feedback is none of {', '.join(Kind)}")
    kind = Kind(control["feedback"])
    if unknown := sorted(control.keys() - {"feedback", "until", "anomalyId", "by", "note"}):
        raise RejectedError(Fault.UNKNOWN_MEMBER, f"unknown member {quote(unknown[0])}")
    texts = {name: _text(control, name, fault, most) for name, fault, most in _TEXTS}
    until_ms = _until_ms(control.get("until"), kind)
    echo = {"feedback": kind.value, **{name: text for name, text in texts.items() if text is not None}}
    anomaly_id = texts["anomalyId"] or ""
    point_id = anomaly_id.removesuffix("-together").removesuffix("-silent")
    offset = _offset(point_id, place_name) if point_id else None
    return Word(kind, until_ms, offset, point_id != anomaly_id, texts["by"], texts["note"], echo)


def _text(control: Mapping[str, Any], name: str, fault: Fault, most: int) -> str | None:
    text = control.get(name)
    if text is None:
        return None
    if not isinstance(text, str):
        raise RejectedError(fault, f"{name} is not a string")
    if wrong := fault_of_text(text, 1, most):
        raise RejectedError(fault, f"{name} {wrong}")
    return text


def _until_ms(until: Any, kind: Kind) -> int | None:
    if (until is not None) != (kind is Kind.EXPECTED):
        wanted = "needs" if kind is Kind.EXPECTED else "takes no"
        raise RejectedError(Fault.BAD_UNTIL, f"{kind.value} {wanted} until")
    if until is None:
        return None
    try:
        time_ms = parse_rfc3339(until) if isinstance(until, str) else until
    except ValueError as error:
        raise RejectedError(Fault.BAD_UNTIL, f"until: {error}") from None
    if type(time_ms) is not int or not 0 <= time_ms <= MAX_TIME_MS:
        raise RejectedError(Fault.BAD_UNTIL, "until is neither an RFC 3339 time nor epoch milliseconds")
    return time_ms


def _offset(anomaly_id: str, place_name: str) -> int:
    """The offset in an anomaly's id, which begins with topic and partition."""
    place, _, offset = anomaly_id.rpartition("-")
    if not (offset.isascii() and offset.isdecimal() and len(offset) < 19 and "-" in place):
        raise RejectedError(Fault.BAD_ANOMALY_ID, f"{quote(anomaly_id)} is no id of an anomaly")
    if place != place_name:
        raise RejectedError(
            Fault.ANOMALY_OF_ANOTHER_PARTITION,
            f"the anomaly is of {quote(place)}, this is {quote(place_name)}",
        )
    return int(offset)
