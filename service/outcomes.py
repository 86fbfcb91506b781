"""What records gave, by their place among those that were read together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.absence import Told
from service.anomalies import INCIDENTS, SEVERITIES
from service.verdicts import STATUSES, Places
from service.wire.batch import PointBatch, unescaped
from service.wire.texts import contains


class Outcome(NamedTuple):
    """What one record gives: a result, and an anomaly record where there is something to tell."""

    source_id: str
    status: str
    result: bytes
    anomaly: bytes | None = None
    severity: str = "low"
    incident: str | None = None
    is_anomaly: bool = False


NO_RESULT = len(STATUSES)
"""In place of a status: the record is a dead letter."""

_ANSWERED = (STATUSES.index("applied"), STATUSES.index("rejected"))
_BACKSLASH = 92


class Stretch(NamedTuple):
    """The results of some points, whose places ascend: one after the other in `body`, each up to its stop."""

    batch: PointBatch
    places: Places
    body: npt.NDArray[np.uint8]
    stops: npt.NDArray[np.int64]  # (n,)

    @property
    def has_escapes(self) -> bool:
        """Whether a key may have to be written otherwise than it stands in the text."""
        return contains(self.batch.text, _BACKSLASH)


class Outcomes:
    """What `n` records give, by their place among those that were read together.

    A dead letter has the status `NO_RESULT` and nothing else. `anomalies` holds the anomaly records, whose
    severity and incident change stand in the columns; `silences` those of sources that fell silent or came
    back, each with the record that made it visible. Results of points lie in `stretches`, answers to
    instructions in `answers`; `keys` and `results` take them apart for whoever wants them one by one.
    """

    def __init__(self, records: int) -> None:
        self.stretches: list[Stretch] = []
        self.answers: dict[int, tuple[bytes, bytes]] = {}  # key and result
        self.anomalies: dict[int, bytes] = {}
        self.silences: list[tuple[int, Told]] = []
        self.status = np.full(records, NO_RESULT, np.uint8)
        self.severity = np.zeros(records, np.uint8)
        self.incident = np.zeros(records, np.uint8)
        self.anomalous = np.zeros(records, np.bool_)

    def __len__(self) -> int:
        return len(self.status)

    @property
    def told(self) -> npt.NDArray[np.bool_]:
        """Which results are published where only those of anomalies are: answers to control records, too."""
        told: npt.NDArray[np.bool_] = self.anomalous | np.isin(self.status, _ANSWERED)
        return told

    def keys_of(self, records: Sequence[int]) -> list[bytes]:
        """The sources of some records that have a result."""
        keys = {record: self.answers[record][0] for record in records if record in self.answers}
        wanted = np.array([record for record in records if record not in keys], np.int64)
        for batch, places, *_ in self.stretches:
            at = np.searchsorted(places.record, wanted)
            found = at[places.record.take(at, mode="clip") == wanted]
            for record, start, stop in zip(*(column[found].tolist() for column in places), strict=True):
                keys[record] = batch.text_at(start, stop).encode()
        return [keys[record] for record in records]

    @cached_property
    def keys(self) -> list[bytes]:
        """The source of each record, as published keys have it; empty for a dead letter."""
        keys = [b""] * len(self)
        for stretch in self.stretches:
            text = stretch.batch.text.tobytes()
            records, starts, stops = (column.tolist() for column in stretch.places)
            parts = [text[a:b] for a, b in zip(starts, stops, strict=True)]
            if stretch.has_escapes:
                parts = [unescaped(part).encode() for part in parts]
            _put_in(keys, records, parts)
        for record, (key, _) in self.answers.items():
            keys[record] = key
        return keys

    @cached_property
    def results(self) -> list[bytes]:
        """The result of each record; empty for a dead letter."""
        results = [b""] * len(self)
        for stretch in self.stretches:
            body, stops = stretch.body.tobytes(), stretch.stops.tolist()
            parts = [body[a:b] for a, b in zip([0, *stops], stops, strict=False)]
            _put_in(results, stretch.places.record.tolist(), parts)
        for record, (_, answer) in self.answers.items():
            results[record] = answer
        return results

    def of(self, record: int) -> Outcome:
        """One record's, for a person to look at."""
        return Outcome(
            self.keys[record].decode(),
            STATUSES[self.status[record]],
            self.results[record],
            self.anomalies.get(record),
            SEVERITIES[self.severity[record]],
            INCIDENTS[self.incident[record]] or None,
            bool(self.anomalous[record]),
        )


def _put_in(whole: list[bytes], places: list[int], parts: list[bytes]) -> None:
    """Set what stands at the places, which ascend: at once where none is left out."""
    if places and places[-1] - places[0] + 1 == len(places):
        whole[places[0] : places[-1] + 1] = parts
    else:
        for place, part in zip(places, parts, strict=True):
            whole[place] = part
