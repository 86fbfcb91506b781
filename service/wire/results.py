"""The results of a batch of points, written straight from columns to bytes, compiled; decides nothing.

Texts and numbers that the producer sent are published just as they stood in the record. The score and levels
have six significant digits, all else that was computed four: more would tell nobody more, and digits are what
takes room in a compressed topic. The same columns give the same bytes, and no clock is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.kernels import SHORT, borrowed, inlined, kernel, put
from service.wire.batch import PointBatch, Rows, Text
from service.wire.instants import MOST_INSTANT_BYTES, write_instant
from service.wire.numerals import MOST_COMPUTED_BYTES, put_text, text_of

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


HALF_SURE_POINTS = 100.0
"""Points at which the confidence of a judgement is a half."""
SURE_POINTS = 900.0
"""Points from which on, at a confidence of 0.9, results do not mention it: most points are of old sources."""
_FINE, _PLAIN = 6, 4  # significant digits


class Verdict(IntEnum):
    """What a result says of its point, beside the numbers."""

    SCORED = 0
    LATE = 1
    DUPLICATE = 2
    TOO_MANY_NAMES = 3
    NO_VALUES = 4
    NO_HISTORY = 5
    NOT_TRAINED = 6


class Scores(NamedTuple):
    """What results are written from, for the points `start` to `stop` of a batch.

    `row` says which of the `j` scored rows is a point's, undefined where it was not placed. Values of row j
    have the feature rows from `first_feature[j]` on; `told` spans of `told_text` are explanations, ready as
    the inside of a JSON literal; an empty one is none.
    """

    verdict: Bytes  # (stop - start,)
    row: Ints  # (stop - start,)
    score: Floats  # (j,)
    anomalous: npt.NDArray[np.bool_]  # (j,)
    severity: Bytes  # (j,) index of the severity's name
    incident: Bytes  # (j,) index of the change's name, 0 for none
    held: npt.NDArray[np.bool_]  # (j,) no anomaly, because it was announced
    accepted: Ints  # (j,) points after which an outage is the new normal, 0 for none
    known: Floats  # (j,) points that the judgement rests on
    detectors: Floats  # (j, detectors) NaN is none
    first_feature: Ints  # (j + 1,)
    features: Floats  # (m, features), those that are shown among others
    told: Ints  # (j, 2)
    told_text: Text


class _Words(NamedTuple):
    """Pieces of text, one after the other: piece i is `text[stop[i - 1] : stop[i]]`; room behind the last."""

    text: Text
    stop: Ints


class _Shown(NamedTuple):
    """Of a row of numbers those that are shown, and their significant digits."""

    column: Ints
    figures: Ints


class _Room(NamedTuple):
    """Texts of numbers: see `text_of`."""

    low: npt.NDArray[np.uint64]
    high: npt.NDArray[np.uint64]
    length: Ints


def _words(pieces: Sequence[str]) -> _Words:
    encoded = [piece.encode() for piece in pieces]
    return _Words(
        np.frombuffer(bytearray().join([*encoded, bytes(SHORT)]), np.uint8),
        np.cumsum([len(e) for e in encoded], dtype=np.int64),
    )


def _word(piece: str) -> Text:
    return np.frombuffer(piece.encode(), np.uint8)


_VERDICTS = _words(
    [
        '"scored","score":',
        '"late"',
        '"duplicate"',
        '"skipped","reason":"too_many_value_names"',
        '"skipped","reason":"no_values"',
        '"skipped","reason":"insufficient_history"',
        '"skipped","reason":"detectors_not_trained"',
    ]
)
_HEAD, _TIMESTAMP, _STATUS = _word('{"sourceId":"'), _word('","timestamp":"'), _word('","status":')
_NORMAL, _ANOMALOUS = _word(',"isAnomaly":false,"severity":'), _word(',"isAnomaly":true,"severity":')
_CONFIDENCE = _word(',"confidence":')
_HELD, _ACCEPTED = _word(',"heldBy":"expected"'), _word(',"newNormalAfter":')
_FEATURES, _VALUE, _DETECTORS = _word(',"features":{'), _word('":{"value":'), _word('},"detectors":{')
_EXPLANATION, _LABELS, _ID, _NULL = (
    _word(',"explanation":"'),
    _word(',"labels":{'),
    _word(',"id":"'),
    _word("null"),
)
_AROUND_POINT = 392 + MOST_COMPUTED_BYTES + MOST_INSTANT_BYTES  # all constant pieces of one result
_AROUND_VALUE = 40


@inlined
def _put(out: Text, at: int, piece: Text) -> int:
    return put(out, at, piece, 0, len(piece))


@inlined
def _put_word(out: Text, at: int, text: Text, stops: Ints, which: int) -> int:
    return put(out, at, text, stops[which - 1] if which > 0 else 0, stops[which])


@inlined
def _put_number(out: Text, at: int, x: float, figures: int) -> int:
    low, high, count = text_of(x, figures)
    return put_text(out, at, low, high, count)


@inlined
def _put_numbers(
    out: Text, at: int, text: Text, stops: Ints, numbers: Floats, shown: _Shown, room: _Room
) -> int:
    """Write each number shown behind its word; all are formatted before one is written, see `text_of`."""
    for i in range(len(shown.column)):
        room.low[i], room.high[i], room.length[i] = text_of(numbers[shown.column[i]], shown.figures[i])
    for i in range(len(shown.column)):
        at = _put_word(out, at, text, stops, i)
        at = put_text(out, at, room.low[i], room.high[i], room.length[i])
    return at


@kernel
def _put_confidence(out: Text, at: int, known: float) -> int:
    """How sure a judgement on few points is, to three decimals; one on many says nothing."""
    if known >= SURE_POINTS:
        return at
    at = _put(out, at, _CONFIDENCE)
    return _put_number(out, at, math.floor(1000.0 * known / (known + HALF_SURE_POINTS)) / 1000.0, _PLAIN)


@kernel
def _put_labels(out: Text, at: int, text: Text, labels: Rows, first: int, stop: int) -> int:
    at = _put(out, at, _LABELS)
    for i in range(first, stop):
        if i > first:
            out[at] = 44
            at += 1
        label = labels[i]
        out[at] = 34
        at = put(out, at + 1, text, label.name_start, label.name_stop)
        out[at], out[at + 1], out[at + 2] = 34, 58, 34
        at = put(out, at + 3, text, label.text_start, label.text_stop)
        out[at] = 34
        at += 1
    out[at] = 125
    return at + 1


@kernel
def _write(
    batch: PointBatch,
    start: int,
    scores: Scores,
    verdicts: _Words,
    severities: _Words,
    incidents: _Words,
    feature_names: _Words,
    shown_features: _Shown,
    detector_names: _Words,
    shown_detectors: _Shown,
    room: _Room,
    out: Text,
    stops: Ints,
) -> None:
    text, points = borrowed(batch.text), borrowed(batch.points)
    values, labels = borrowed(batch.values), borrowed(batch.labels)
    out, stops = borrowed(out), borrowed(stops)
    verdict, row_of = borrowed(scores.verdict), borrowed(scores.row)
    score, anomalous = borrowed(scores.score), borrowed(scores.anomalous)
    severity, incident = borrowed(scores.severity), borrowed(scores.incident)
    known = borrowed(scores.known)
    held, accepted = borrowed(scores.held), borrowed(scores.accepted)
    features, detectors = borrowed(scores.features), borrowed(scores.detectors)
    first_feature = borrowed(scores.first_feature)
    told, told_text = borrowed(scores.told), borrowed(scores.told_text)
    verdict_text, verdict_stops = borrowed(verdicts.text), borrowed(verdicts.stop)
    severity_text, severity_stops = borrowed(severities.text), borrowed(severities.stop)
    incident_text, incident_stops = borrowed(incidents.text), borrowed(incidents.stop)
    feature_text, feature_stops = borrowed(feature_names.text), borrowed(feature_names.stop)
    detector_text, detector_stops = borrowed(detector_names.text), borrowed(detector_names.stop)
    shown_features, shown_detectors, room = (
        borrowed(shown_features),
        borrowed(shown_detectors),
        borrowed(room),
    )
    at = 0
    for i in range(len(verdict)):
        point = points[start + i]
        at = _put(out, at, _HEAD)
        at = put(out, at, text, point.source_start, point.source_stop)
        at = _put(out, at, _TIMESTAMP)
        at = write_instant(out, at, point.time_ms)
        at = _put(out, at, _STATUS)
        at = _put_word(out, at, verdict_text, verdict_stops, int(verdict[i]))
        if verdict[i] == 0:
            j = row_of[i]
            at = _put_number(out, at, score[j], _FINE)
            at = _put(out, at, _ANOMALOUS) if anomalous[j] else _put(out, at, _NORMAL)
            at = _put_word(out, at, severity_text, severity_stops, int(severity[j]))
            if incident[j]:
                at = _put_word(out, at, incident_text, incident_stops, int(incident[j]))
            if held[j]:
                at = _put(out, at, _HELD)
            if accepted[j] > 0:
                at = _put_number(out, _put(out, at, _ACCEPTED), float(accepted[j]), _FINE)
            at = _put_confidence(out, at, known[j])
            at = _put(out, at, _FEATURES)
            row = first_feature[j]
            for v in range(point.first_value, point.stop_value):
                value = values[v]
                if v > point.first_value:
                    out[at] = 44
                    at += 1
                out[at] = 34
                at = put(out, at + 1, text, value.name_start, value.name_stop)
                at = _put(out, at, _VALUE)
                if value.sent_stop > value.sent_start:
                    at = put(out, at, text, value.sent_start, value.sent_stop)
                else:
                    at = _put(out, at, _NULL)
                at = _put_numbers(out, at, feature_text, feature_stops, features[row], shown_features, room)
                out[at] = 125
                at += 1
                row += 1
            at = _put(out, at, _DETECTORS)
            at = _put_numbers(out, at, detector_text, detector_stops, detectors[j], shown_detectors, room)
            out[at] = 125
            at += 1
            if told[j, 1] > told[j, 0]:
                at = _put(out, at, _EXPLANATION)
                at = put(out, at, told_text, told[j, 0], told[j, 1])
                out[at] = 34
                at += 1
        if point.stop_label > point.first_label:
            at = _put_labels(out, at, text, labels, point.first_label, point.stop_label)
        if point.id_stop > point.id_start:
            at = _put(out, at, _ID)
            at = put(out, at, text, point.id_start, point.id_stop)
            out[at] = 34
            at += 1
        out[at] = 125
        at += 1
        stops[i] = at


class ResultWriter:
    """Writes results that show these features and detectors, in this order."""

    def __init__(
        self,
        severities: Sequence[str],
        incidents: Sequence[str],
        features: Mapping[str, tuple[int, bool]],
        detectors: Sequence[str],
    ) -> None:
        """`features` says of each which column it is in and whether it is a level."""
        self._severities = _words([f'"{name}"' for name in severities])
        self._incidents = _words([f',"incident":"{name}"' for name in incidents])
        self._features = _words([f',"{name}":' for name in features])
        self._detectors = _words([f'{"," if i else ""}"{name}":' for i, name in enumerate(detectors)])
        columns, figures = [], []
        for column, is_level in features.values():
            columns.append(column)
            figures.append(_FINE if is_level else _PLAIN)
        self._shown = _Shown(np.array(columns, np.int64), np.array(figures, np.int64))
        self._members = _Shown(np.arange(len(detectors)), np.full(len(detectors), _PLAIN, np.int64))
        most = max(len(features), len(detectors))
        self._room = _Room(np.empty(most, np.uint64), np.empty(most, np.uint64), np.empty(most, np.int64))
        # Everything but what stands in the records themselves.
        self._around_point = _AROUND_POINT + len(self._detectors.text) + len(detectors) * MOST_COMPUTED_BYTES
        self._around_value = _AROUND_VALUE + len(self._features.text) + len(features) * MOST_COMPUTED_BYTES

    def write(self, batch: PointBatch, start: int, scores: Scores) -> tuple[Text, npt.NDArray[np.int64]]:
        """The results of the points from `start` on, one after the other, and where each stops."""
        n = len(scores.verdict)
        if n == 0:
            return np.empty(0, np.uint8), np.empty(0, np.int64)
        points = batch.points[start : start + n]
        values = int(points[-1]["stop_value"] - points[0]["first_value"])
        labels = int(points[-1]["stop_label"] - points[0]["first_label"])
        room = n * self._around_point + values * self._around_value + labels * _AROUND_VALUE
        out = np.empty(room + len(batch.text) + len(scores.told_text), np.uint8)
        stops = np.empty(n, np.int64)
        _write(
            batch,
            start,
            scores,
            _VERDICTS,
            self._severities,
            self._incidents,
            self._features,
            self._shown,
            self._detectors,
            self._members,
            self._room,
            out,
            stops,
        )
        return out[: stops[-1]], stops
