"""Records that are written one by one: anomalies, and results of instructions; decides nothing.

`results` writes those of points. Numbers that the producer sent are published as they were written; what was
computed has six significant digits. The same values give the same bytes, and no clock is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from service.wire.numerals import computed_texts
from service.wire.timestamps import format_rfc3339

_NOTHING: Mapping[str, Any] = MappingProxyType({})
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


def anomaly_record(
    anomaly_id: str,
    incident_id: str | None,
    incident: str | None,
    source_id: str,
    time_ms: int,
    detected_at_ms: int,
    score: float,
    severity: str,
    values: Iterable[tuple[str, str]],
    expected: Sequence[tuple[str, float, float, float]],
    once_per: tuple[float, float | None, int] | None,
    contributions: Sequence[tuple[str, str, float]],
    explanation: str,
    labels: Mapping[str, str] | None,
    model_version: str,
    kind: str | None = None,
    confidence: float | None = None,
    new_normal: tuple[int, Sequence[tuple[str, float, float]]] | None = None,
) -> bytes:
    """A record of the anomalies topic; `kind` says of what, where it is not of a point.

    A point of no incident has neither `incident_id` nor `incident`. `values` are (name, number as sent,
    nothing if missing); `expected` (value, lower, typical, upper); `once_per` (points, seconds if known, how
    many points were seen), nothing for the end of an incident; `contributions` (value, detector, share), the
    shares adding up to 1; `confidence` of a judgement on few points; `new_normal` after how many points, and
    (value, level before, level now).
    """
    after, moves = new_normal or (0, ())
    numbers = [score]
    numbers += [] if confidence is None else [confidence]
    numbers += [level for _, *levels in moves for level in levels]
    numbers += [limit for _, *limits in expected for limit in limits]
    if once_per is not None:
        points, seconds, seen = once_per
        numbers += [points, math.nan if seconds is None else seconds]
    numbers += [share for _, _, share in contributions]
    number = iter(computed_texts(numbers)).__next__  # taken in the order in which they stand

    incident_text = "null" if incident_id is None else _text(incident_id)
    change = f'"incident":"{incident}"' if incident else '"incident":null'
    what = f',"kind":"{kind}"' if kind else ""
    score_text = number()
    sure = "" if confidence is None else f',"confidence":{number()}'
    accepted = ""
    if new_normal is not None:
        levels = [f'{_text(name)}:{{"before":{number()},"now":{number()}}}' for name, _, _ in moves]
        accepted = f',"newNormal":{{"afterPoints":{after},"levels":{{{",".join(levels)}}}}}'
    shown = ",".join([f"{_text(name)}:{sent or 'null'}" for name, sent in values])
    limits = [
        f'{_text(name)}:{{"lower":{number()},"typical":{number()},"upper":{number()}}}'
        for name, _, _, _ in expected
    ]
    rarity = "null" if once_per is None else f'{{"points":{number()},"seconds":{number()},"seen":{seen}}}'
    parts = [
        f'{{"value":{_text(value)},"detector":"{detector}","share":{number()}}}'
        for value, detector, _ in contributions
    ]
    return (
        f'{{"id":{_text(anomaly_id)},"incidentId":{incident_text},{change}{what},"sourceId":{_text(source_id)}'
        f',"timestamp":"{format_rfc3339(time_ms)}","detectedAt":"{format_rfc3339(detected_at_ms)}"'
        f',"score":{score_text},"severity":"{severity}"{sure}{accepted}'
        f',"values":{{{shown}}},"expected":{{{",".join(limits)}}}'
        f',"oncePer":{rarity},"contributions":[{",".join(parts)}]'
        f',"explanation":{_JSON.encode(explanation)}'
        f',"labels":{{{_texts(labels or {})}}},"modelVersion":"{model_version}"}}'
    ).encode()
