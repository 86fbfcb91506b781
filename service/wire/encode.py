"""Results and anomaly records to the bytes that are published; knows the public formats, decides nothing.

Bodies are deterministic: the same values give the same bytes, and no clock is read. Numbers that the
producer sent are written so that they read back exactly; what was computed has six significant digits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from service.wire.timestamps import format_rfc3339


@lru_cache(maxsize=65_536)
def _text(text: str) -> str:
    """A JSON string literal; names and ids come again and again."""
    return json.dumps(text, ensure_ascii=False)


def _computed(number: float) -> str:
    # Infinite minus infinite is not a number: one test for NaN and both infinities.
    return f"{number:.6g}" if number - number == 0.0 else "null"


def _sent(number: float) -> str:
    if not math.isfinite(number):
        return "null"
    if number.is_integer() and abs(number) < 1e15 and (number or math.copysign(1.0, number) > 0):
        return str(int(number))
    return repr(number)


def _texts(members: Mapping[str, str]) -> str:
    return ",".join(f"{_text(name)}:{_text(value)}" for name, value in members.items())


def _head(source_id: str, time_ms: int, status: str) -> str:
    return f'{{"sourceId":{_text(source_id)},"timestamp":"{format_rfc3339(time_ms)}","status":"{status}"'


def _tail(labels: Mapping[str, str] | None, point_id: str | None) -> str:
    tail = f',"labels":{{{_texts(labels)}}}' if labels else ""
    if point_id is not None:
        tail += f',"id":{_text(point_id)}'
    return tail + "}"


def unscored_result(
    source_id: str,
    time_ms: int,
    status: str,
    reason: str | None = None,
    labels: Mapping[str, str] | None = None,
    point_id: str | None = None,
) -> bytes:
    """A result without a score: `skipped`, `late`, `duplicate`, `forgotten`, `applied`, `rejected`."""
    because = f',"reason":{_text(reason)}' if reason else ""
    return (_head(source_id, time_ms, status) + because + _tail(labels, point_id)).encode()


def scored_result(
    source_id: str,
    time_ms: int,
    score: float,
    is_anomaly: bool,
    severity: str,
    incident: str | None,
    values: Iterable[tuple[str, float, Sequence[float]]],
    features: Sequence[str],
    detectors: Iterable[tuple[str, float]],
    explanation: str | None,
    labels: Mapping[str, str] | None = None,
    point_id: str | None = None,
) -> bytes:
    """A `scored` result.

    `values` are (name, the value as sent, its computed features in the order of `features`); `detectors`
    are (name, score), NaN for one that takes no part yet, written as null.
    """
    shown = ",".join(
        f'{_text(name)}:{{"value":{_sent(value)}'
        + "".join(
            f',"{feature}":{_computed(number)}' for feature, number in zip(features, computed, strict=True)
        )
        + "}"
        for name, value, computed in values
    )
    scores = ",".join(f'"{name}":{_computed(number)}' for name, number in detectors)
    change = f',"incident":"{incident}"' if incident else ""
    because = f',"explanation":{json.dumps(explanation, ensure_ascii=False)}' if explanation else ""
    return (
        _head(source_id, time_ms, "scored")
        + f',"score":{_computed(score)},"isAnomaly":{"true" if is_anomaly else "false"}'
        + f',"severity":"{severity}"{change},"features":{{{shown}}},"detectors":{{{scores}}}{because}'
        + _tail(labels, point_id)
    ).encode()


def anomaly_record(
    anomaly_id: str,
    incident_id: str,
    incident: str | None,
    source_id: str,
    time_ms: int,
    detected_at_ms: int,
    score: float,
    severity: str,
    values: Iterable[tuple[str, float]],
    expected: Iterable[tuple[str, float, float, float]],
    contributions: Iterable[tuple[str, str, float]],
    explanation: str,
    labels: Mapping[str, str] | None,
    model_version: str,
) -> bytes:
    """A record of the anomalies topic.

    `expected` are (value, lower, typical, upper); `contributions` (value, detector, share), the shares
    adding up to 1.
    """
    change = f',"incident":"{incident}"' if incident else ""
    shown = ",".join(f"{_text(name)}:{_sent(value)}" for name, value in values)
    ranges = ",".join(
        f'{_text(name)}:{{"lower":{_computed(lower)},"typical":{_computed(typical)},"upper":{_computed(upper)}}}'
        for name, lower, typical, upper in expected
    )
    shares = ",".join(
        f'{{"value":{_text(value)},"detector":"{detector}","share":{_computed(share)}}}'
        for value, detector, share in contributions
    )
    return (
        f'{{"id":{_text(anomaly_id)},"incidentId":{_text(incident_id)}{change},"sourceId":{_text(source_id)}'
        f',"timestamp":"{format_rfc3339(time_ms)}","detectedAt":"{format_rfc3339(detected_at_ms)}"'
        f',"score":{_computed(score)},"severity":"{severity}","values":{{{shown}}},"expected":{{{ranges}}}'
        f',"contributions":[{shares}],"explanation":{json.dumps(explanation, ensure_ascii=False)}'
        f',"labels":{{{_texts(labels or {})}}},"modelVersion":"{model_version}"}}'
    ).encode()
