"""Sources that fall silent against their own cadence: what is kept of them, and what is told of each.

The kernels are `history.cadence` and `history.silence`; here are their state, their settings, and the records
of the anomalies topic. Each is a function of the partition's points alone, like everything that is published.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from service.decision import Decision, Incident, Severity, score_of
from service.durations import Duration
from service.history import cadence, silence
from service.history.silence import BACK, NAMED, SILENT, TOGETHER, TOGETHER_BACK
from service.history.table import Array, StateTable
from service.wire import encode
from service.wire.anomaly import ABSENCE

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_FIELDS = ("opened", "newest_ms", "now_ms", "gap_ms", "longest_ms", "seen", "many", "among")
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


class AbsenceConfig(BaseModel):
    """When a source that reports regularly is missed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    usual_gaps: float = Field(5.0, ge=2, le=1000)
    """So many of its usual gaps must have passed, and twice the longest it has lately kept us waiting."""
    at_least: Duration = Field(60.0, ge=1, le=30 * 86_400)
    """No silence shorter than this is told."""
    together: int = Field(10, ge=2, le=1_000)
    """So many that fall silent at the same time are one event."""


class Silence(NamedTuple):
    """A source, or many at once, that fell silent or came back at a point of the partition.

    `sources` are some of the `many`, of which the first gives the record its name; `opened` is the offset
    that names the incident.
    """

    point: int
    what: int
    sources: tuple[str, ...]
    opened: int
    newest_ms: int
    now_ms: int
    gap_ms: float
    longest_ms: float
    seen: float
    many: int
    among: int

    @property
    def is_over(self) -> bool:
        return self.what in (BACK, TOGETHER_BACK)


@dataclass(frozen=True, slots=True)
class Told:
    """A record for the anomalies topic that belongs to no point: about whom, and what it says."""

    id: str
    source_id: str
    severity: Severity
    incident: Incident
    body: bytes


class Absence:
    """The cadence of every source of a partition, and which of them are silent."""

    def __init__(self, config: AbsenceConfig) -> None:
        self._config = config
        self._limits = silence.Limits(
            config.usual_gaps, 1000.0 * config.at_least, config.together if config.enabled else 0
        )
        self._clock = silence.new_clock()
        self.table = StateTable(cadence.COLUMNS)

    def advance(
        self,
        source: Ints,
        time_ms: Ints,
        record_time_ms: Ints,
        offset: Ints,
        expected: Floats,
        name_of: Callable[[int], str],
    ) -> tuple[Floats, Floats, list[Silence]]:
        """Each point's (n,) usual gap in ms and how many its source has shown; who fell silent or is back.

        `expected` (slots,) says until when, in ms, nobody need worry about a source's silence.
        """
        gap_ms, seen = np.empty(len(source)), np.empty(len(source))
        room = silence.room_for(len(source), len(self.table), self._limits.together)
        events = np.empty(room, silence.EVENT)
        count = silence.advance(
            source,
            time_ms,
            record_time_ms,
            offset,
            self.table["times"],
            self.table["numbers"],
            expected,
            self._clock,
            self._limits,
            gap_ms,
            seen,
            events,
        )
        return gap_ms, seen, _silences(events[:count], name_of) if count else []

    def seen(self, slot: int) -> float:
        """How many points a source has shown."""
        return float(self.table["numbers"][slot, cadence.SEEN])

    def silence_of(self, slot: int, source_id: str) -> Silence | None:
        """The silence of a source that was told and goes on; `opened` is -1 where it is one of many."""
        newest_ms, _, offset = self.table["times"][slot].tolist()
        gap_ms, seen, longest_ms, *_, told = self.table["numbers"][slot].tolist()
        if told < cadence.ALONE:
            return None
        opened = offset if told == cadence.ALONE else -1
        return Silence(
            0, BACK, (source_id,), opened, newest_ms, newest_ms, gap_ms, longest_ms, seen, 0, 0
        )  # fmt: skip

    def accept(self, slot: int) -> None:
        """The silence of a source is none to worry about: it is not told of again, and learned in full."""
        self.table["numbers"][slot, cadence.TOLD] = cadence.ACCEPTED

    def put_off(self, slot: int, offset: int) -> None:
        """The silence of a source may be told once more, named by this place in the log."""
        self.table["numbers"][slot, cadence.TOLD] = 0.0
        self.table["times"][slot, cadence.OFFSET] = offset

    def is_watched(self, slot: int) -> bool:
        """Whether a later point may tell of this source that it is silent, or was."""
        row = self.table["numbers"][slot]
        return bool(row[cadence.PATIENCE] > 0 and self._config.enabled)

    def silent(self) -> int:
        """How many sources are silent, by what the points say."""
        return int(np.count_nonzero(self.table["numbers"][:, cadence.TOLD]))

    def state(self) -> dict[str, Array]:
        """The clock and the open silence of many, as copies; `table` is saved beside it."""
        return {name: array.copy() for name, array in self._clock._asdict().items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what `state` gave.

        Raises:
            ValueError: a part is missing or of another shape.
        """
        for name, array in self._clock._asdict().items():
            saved = state.get(name)
            if saved is None or saved.shape != array.shape:
                raise ValueError(f"saved state does not fit the clock's {name!r}")
            array[:] = saved


def _silences(events: Array, name_of: Callable[[int], str]) -> list[Silence]:
    """The events for a person, each with the sources that are named in it."""
    found: list[Silence] = []
    for event in events:
        name = name_of(int(event["slot"]))
        if event["what"] == NAMED:
            found[-1] = found[-1]._replace(sources=(*found[-1].sources, name))
            continue
        numbers = [event[field].item() for field in _FIELDS]
        found.append(Silence(int(event["point"]), int(event["what"]), (name,), *numbers))
    return found


class Teller:
    """Writes the records of one partition's silences."""

    def __init__(self, place_name: str, model_version: str, decision: Decision) -> None:
        """`place_name` begins the ids."""
        self._place_name = place_name
        self._model_version = model_version
        self._decision = decision

    def tell(self, told: Silence, offset: int, record_time_ms: int, said: str | None = None) -> Told:
        """The record of what the input record at `offset` made visible, or of what was said in it."""
        score = self._score(told)
        severity = self._decision.severity_of(score)
        incident = Incident.RESOLVED if told.is_over else Incident.OPENED
        many = told.what in (TOGETHER, TOGETHER_BACK)
        incident_id = f"{self._place_name}-{told.opened}-silent{'-together' * many}"
        back_id = f"{self._place_name}-{offset}-back{'-together' * many}"
        anomaly_id = back_id if told.is_over else incident_id
        record = encode.AnomalyRecord(
            anomaly_id,
            incident_id,
            incident.name.lower(),
            told.sources[0],
            told.now_ms,
            record_time_ms,
            0.0 if told.is_over else score,
            severity.name.lower(),
            said or sentence(told),
            self._model_version,
            kind=ABSENCE,
        )
        (body,) = encode.anomaly_records([record])
        return Told(anomaly_id, told.sources[0], severity, incident, body)

    def _score(self, told: Silence) -> float:
        """The score of a silence such as the source has not known in all it has `seen`.

        As for points it stands on the far side of the gate: with r = 1 / (seen + 1) its p is g r / (g + r).
        """
        budget = self._decision.pace(np.array([told.gap_ms]), np.array([told.seen])).budget
        gate, rarity = float(self._decision.gates(budget)[0]), 1.0 / (told.seen + 1.0)
        return float(score_of(-math.log10(gate * rarity / (gate + rarity)), float(budget[0])))


def sentence(told: Silence) -> str:
    """What a person is told."""
    silent = span(told.now_ms - told.newest_ms)
    if told.what == BACK:
        came_late = told.now_ms - told.newest_ms <= cadence.PAUSE * told.gap_ms
        return "Back: nothing is missing, it came late" if came_late else f"Back after {silent} of silence"
    if told.what == TOGETHER_BACK:
        return f"{told.many} of the {told.among} sources that fell silent together are back or forgotten"
    if told.what == SILENT:
        longest = f"; the longest wait lately was {span(told.longest_ms)}" if told.longest_ms >= 1 else ""
        return f"Silent for {silent}: it usually reports every {span(told.gap_ms)}{longest}"
    left = told.many - len(told.sources)
    named = ", ".join(told.sources) + (f" and {left} more" if left else "")
    return (
        f"{told.many} of {told.among} sources that report regularly fell silent together, "
        f"up to {silent} ago: {named}"
    )


def span(duration_ms: float) -> str:
    """`850 ms`, `31 s`, `2.5 min`, `37 min`: two digits, or all before the point."""
    seconds = duration_ms / 1000.0
    for unit_s, unit in _UNITS:
        if seconds >= unit_s:
            number = seconds / unit_s
            return f"{number:.0f} {unit}" if number >= 10 else f"{float(f'{number:.2g}'):g} {unit}"
    return f"{duration_ms:.0f} ms"
