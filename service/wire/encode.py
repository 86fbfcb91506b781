"""Records that are written one by one: anomalies, and results of instructions; decides nothing.

`results` writes those of points. Numbers that the producer sent are published as they were written; what was
computed has six significant digits. The same values give the same bytes, and no clock is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from service.wire.numerals import computed_texts
from service.wire.timestamps import format_rfc3339

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_NO_TEXTS: Mapping[str, str] = MappingProxyType({})
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=65_536)
def _text(text: str) -> str:
    """A JSON string literal; names and ids come again and again."""
    return _JSON.encode(text)


def _texts(members: Mapping[str, str]) -> str:
    return ",".join(f"{_text(name)}:{_text(value)}" for name, value in members.items())


def instruction_result(
    source_id: str,
    time_ms: int,
    status: str,
    reason: str | None = None,
    detail: str | None = None,
    members: Mapping[str, Any] = _NOTHING,
) -> bytes:
    """The result of a tombstone or a control record: `forgotten`, `applied`, `rejected`."""
    because = {name: text for name, text in (("reason", reason), ("detail", detail)) if text}
    head = {"sourceId": source_id, "timestamp": format_rfc3339(time_ms), "status": status}
    return _JSON.encode({**head, **because, **members}).encode()


class AnomalyRecord(NamedTuple):
    """What a record of the anomalies topic says; `kind` of what, where it is not of a point.

    A point of no incident has neither `incident_id` nor `incident`. `values` are (name, number as sent,
    nothing if missing); `expected` (value, lower, typical, upper); `once_per` (points, seconds if known, how
    many points were seen), nothing for the end of an incident; `contributions` (value, detector, share), the
    shares adding up to 1; `confidence` of a judgement on few points; `new_normal` after how many points, and
    (value, level before, level now).
    """

    id: str
    incident_id: str | None
    incident: str | None
    source_id: str
    time_ms: int
    detected_at_ms: int
    score: float
    severity: str
    explanation: str
    model_version: str
    values: Sequence[tuple[str, str]] = ()
    expected: Sequence[tuple[str, float, float, float]] = ()
    once_per: tuple[float, float | None, int] | None = None
    contributions: Sequence[tuple[str, str, float]] = ()
    labels: Mapping[str, str] = _NO_TEXTS
    kind: str | None = None
    confidence: float | None = None
    new_normal: tuple[int, Sequence[tuple[str, float, float]]] | None = None


def anomaly_records(records: Sequence[AnomalyRecord]) -> list[bytes]:
    """The records as they are published; the numbers of all are written at once."""
    numbers: list[float] = []
    for record in records:
        numbers += _numbers(record)
    number = iter(computed_texts(numbers)).__next__
    return [_written(record, number) for record in records]


def _numbers(record: AnomalyRecord) -> Iterator[float]:
    """What was computed of a record, in the order in which it stands."""
    yield record.score
    if record.confidence is not None:
        yield record.confidence
    if record.new_normal is not None:
        for _, before, now in record.new_normal[1]:
            yield before
            yield now
    for _, lower, typical, upper in record.expected:
        yield lower
        yield typical
        yield upper
    if record.once_per is not None:
        points, seconds, _ = record.once_per
        yield points
        yield math.nan if seconds is None else seconds
    for _, _, share in record.contributions:
        yield share


def _written(record: AnomalyRecord, number: Callable[[], str]) -> bytes:
    """A record's bytes; `number` gives the next of its numbers."""
    incident_text = "null" if record.incident_id is None else _text(record.incident_id)
    change = f'"incident":"{record.incident}"' if record.incident else '"incident":null'
    what = f',"kind":"{record.kind}"' if record.kind else ""
    score_text = number()
    sure = "" if record.confidence is None else f',"confidence":{number()}'
    accepted = ""
    if record.new_normal is not None:
        after, moves = record.new_normal
        levels = [f'{_text(name)}:{{"before":{number()},"now":{number()}}}' for name, _, _ in moves]
        accepted = f',"newNormal":{{"afterPoints":{after},"levels":{{{",".join(levels)}}}}}'
    shown = ",".join([f"{_text(name)}:{sent or 'null'}" for name, sent in record.values])
    limits = [
        f'{_text(name)}:{{"lower":{number()},"typical":{number()},"upper":{number()}}}'
        for name, _, _, _ in record.expected
    ]
    rarity = "null"
    if record.once_per is not None:
        rarity = f'{{"points":{number()},"seconds":{number()},"seen":{record.once_per[2]}}}'
    parts = [
        f'{{"value":{_text(value)},"detector":"{detector}","share":{number()}}}'
        for value, detector, _ in record.contributions
    ]
    return (
        f'{{"id":{_text(record.id)},"incidentId":{incident_text},{change}{what}'
        f',"sourceId":{_text(record.source_id)},"timestamp":"{format_rfc3339(record.time_ms)}"'
        f',"detectedAt":"{format_rfc3339(record.detected_at_ms)}"'
        f',"score":{score_text},"severity":"{record.severity}"{sure}{accepted}'
        f',"values":{{{shown}}},"expected":{{{",".join(limits)}}}'
        f',"oncePer":{rarity},"contributions":[{",".join(parts)}]'
        f',"explanation":{_JSON.encode(record.explanation)}'
        f',"labels":{{{_texts(record.labels)}}},"modelVersion":"{record.model_version}"}}'
    ).encode()
