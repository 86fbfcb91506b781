"""What a person is told, as text that no channel's own markup has touched yet; pure.

Everything that came from outside (sourceId, labels, explanation) is made one harmless line here: control,
bidi and other invisible characters cannot move a cursor, forge a header or turn a name around. Escaping
for a markup is each channel's own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

from service.wire.anomaly import Anomaly, Expected

SYMBOLS = {"low": "🔵", "medium": "🟡", "high": "🟠", "critical": "🔴"}

_TITLE_LIMIT = 240
_VALUES_SHOWN = 8
_LABELS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class ValueLine:
    """One value beside what would have been normal for it."""

    name: str
    value: float | None
    expected: Expected | None

    @property
    def text(self) -> str:
        """`2.13, usual 1.02 (0.79 to 1.25)`."""
        usual = self.usual
        return f"{number(self.value)}, usual {usual}" if usual else number(self.value)

    @property
    def usual(self) -> str:
        if self.expected is None or self.expected.typical is None:
            return ""
        typical, lower, upper = self.expected.typical, self.expected.lower, self.expected.upper
        if lower is None or upper is None:
            return number(typical)
        return f"{number(typical)} ({number(lower)} to {number(upper)})"


@dataclass(frozen=True, slots=True)
class Alert:
    """What goes through a channel: one anomaly or more, under an id that a repeat carries again."""

    alert_id: str
    anomalies: tuple[Anomaly, ...]

    @classmethod
    def of(cls, anomaly: Anomaly) -> Alert:
        return cls(alert_id=anomaly.id, anomalies=(anomaly,))

    @property
    def anomaly(self) -> Anomaly:
        """The anomaly that the alert is about; of several the first."""
        return self.anomalies[0]

    @property
    def source(self) -> str:
        return one_line(self.anomaly.source_id, 120)

    @property
    def explanation(self) -> str:
        score = self.anomaly.score
        unexplained = "anomaly" if score is None else f"anomaly score {score:.2f}"
        return one_line(self.anomaly.explanation, 600) or unexplained

    @property
    def state(self) -> str:
        """`RESOLVED`, or the severity in capitals."""
        return "RESOLVED" if self.anomaly.incident == "resolved" else self.anomaly.severity.upper()

    @property
    def symbol(self) -> str:
        return "🟢" if self.anomaly.incident == "resolved" else SYMBOLS[self.anomaly.severity]

    @property
    def title(self) -> str:
        """One line: `CRITICAL pump-7: pressure 2.13 is 9.4 standard deviations above its usual ...`."""
        explanation = self.explanation.removesuffix(".").removeprefix(f"{self.source}: ")
        return one_line(f"{self.state} {self.source}: {explanation}", _TITLE_LIMIT)

    @property
    def values(self) -> list[ValueLine]:
        """The values that a person needs, those that contributed most first; see `values_left_out`."""
        return self._ordered_values()[:_VALUES_SHOWN]

    @property
    def values_left_out(self) -> int:
        return max(0, len(self.anomaly.values) - _VALUES_SHOWN)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What else belongs in every message, in reading order."""
        return list(self._facts())

    @property
    def text(self) -> str:
        """The whole message as plain text."""
        rows = [(line.name, line.text) for line in self.values]
        if self.values_left_out:
            rows.append(("", f"and {self.values_left_out} more values"))
        rows.extend(self.facts)
        width = max((len(name) for name, _ in rows), default=0)
        lines = [f"{name:<{width}}  {text}".rstrip() for name, text in rows]
        return "\n".join([self.title, "", *lines])

    def _facts(self) -> Iterator[tuple[str, str]]:
        anomaly = self.anomaly
        yield "severity", self._severity
        yield "noticed" if anomaly.is_absence else "measured", one_line(anomaly.timestamp, 40)
        if anomaly.incident is not None:
            yield "incident", f"{anomaly.incident}, {one_line(anomaly.group, 120)}"
        if anomaly.labels:
            yield "labels", self._labels()
        yield "alert", one_line(self.alert_id, 120)

    @property
    def _severity(self) -> str:
        score = self.anomaly.score
        return self.anomaly.severity if score is None else f"{self.anomaly.severity} (score {score:.3f})"

    def _labels(self) -> str:
        shown = list(self.anomaly.labels.items())[:_LABELS_SHOWN]
        text = ", ".join(f"{one_line(name, 60)}={one_line(value, 80)}" for name, value in shown)
        left_out = len(self.anomaly.labels) - len(shown)
        return f"{text} and {left_out} more" if left_out else text

    def _ordered_values(self) -> list[ValueLine]:
        share: dict[str, float] = {}
        for contribution in self.anomaly.contributions:
            share[contribution.value] = share.get(contribution.value, 0.0) + contribution.share
        names = sorted(self.anomaly.values, key=lambda name: -share.get(name, 0.0))
        return [
            ValueLine(one_line(name, 60), self.anomaly.values[name], self.anomaly.expected.get(name))
            for name in names
        ]


def one_line(text: str, limit: int) -> str:
    """`text` as one visible line of at most `limit` characters."""
    clean = "".join(c if unicodedata.category(c)[0] not in "CZ" else " " for c in text[: limit * 4])
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def number(value: float | None) -> str:
    """Four significant digits, or all the digits before the point; `missing` for no value."""
    if value is None:
        return "missing"
    magnitude = abs(value)
    if not isfinite(value):
        return str(value)
    if magnitude >= 1e9 or 0 < magnitude < 1e-4:
        return f"{value:.4g}"
    return f"{value:.{max(4, len(str(int(magnitude))))}g}"
