"""Alerts on the terminal, for trying things: colours, and each value drawn against its usual range."""

from __future__ import annotations

import os
import sys
from math import isfinite
from typing import Literal, TextIO

from service.alerting.alert import Alert, ValueLine
from service.alerting.channels.base import AlertChannel, ChannelSettings, RetryableError
from service.clock import Clock

_COLOURS = {"LOW": "34", "MEDIUM": "33", "HIGH": "38;5;208", "CRITICAL": "1;31", "RESOLVED": "32"}
_DIM = "2"
_WIDTH = 33


class TerminalConfig(ChannelSettings):
    """`color: auto` colours only where the stream is a terminal and NO_COLOR is not set."""

    type: Literal["terminal"]
    stream: Literal["stderr", "stdout"] = "stderr"
    color: Literal["auto", "always", "never"] = "auto"

    def make(self, name: str, clock: Clock) -> TerminalChannel:  # noqa: ARG002
        return TerminalChannel(name, self)


class TerminalChannel(AlertChannel):
    """Prints one block per alert."""

    def __init__(self, name: str, config: TerminalConfig, stream: TextIO | None = None) -> None:
        super().__init__(name)
        self._config = config
        self._stream = stream

    def send(self, alert: Alert) -> None:
        # Looked up for each alert: whoever redirects sys.stderr means the alerts, too.
        stream = self._stream or (sys.stdout if self._config.stream == "stdout" else sys.stderr)
        block = _Painter(self._in_colour(stream)).block(alert)
        encoding = stream.encoding or "utf-8"
        try:
            stream.write(block.encode(encoding, "replace").decode(encoding))
            stream.flush()
        except OSError as error:
            raise RetryableError("write", error.strerror or "") from None

    def _in_colour(self, stream: TextIO) -> bool:
        if self._config.color == "auto":
            return stream.isatty() and not os.environ.get("NO_COLOR")
        return self._config.color == "always"


class _Painter:
    """Text of an alert, with or without colours."""

    def __init__(self, in_colour: bool) -> None:
        self._in_colour = in_colour

    def block(self, alert: Alert) -> str:
        colour = _COLOURS[alert.state]
        edge = self._paint("┃", colour)
        rows = [f"{edge} {row}".rstrip() for row in self._rows(alert)]
        return "\n".join(["", f"{edge} {self._paint(alert.title, colour)}", *rows, ""])

    def _rows(self, alert: Alert) -> list[str]:
        names = [line.name for line in alert.values] + [name for name, _ in alert.facts]
        width = max(len(name) for name in names)
        rows = [self._value_row(line, width) for line in alert.values]
        if alert.values_left_out:
            rows.append(f"{'':<{width}}  and {alert.values_left_out} more values")
        rows.extend(self._paint(f"{name:<{width}}  {text}", _DIM) for name, text in alert.facts)
        return rows

    def _value_row(self, line: ValueLine, width: int) -> str:
        return f"{line.name:<{width}}  {gauge(line):<{_WIDTH}}  {line.text}".rstrip()

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._in_colour else text


def gauge(line: ValueLine, width: int = _WIDTH) -> str:
    """A ruler with the usual range in its middle third and the value where it lies; empty if unknown.

    `···········├────┼────┤··········●`; a value beyond the ruler is an arrow at its end.
    """
    expected = line.expected
    if line.value is None or expected is None or expected.lower is None or expected.upper is None:
        return ""
    span = expected.upper - expected.lower
    if not span > 0:
        span = max(abs(expected.upper), 1e-9) * 1e-3
    if not isfinite(3 * span) or not isfinite(line.value):
        return ""
    start = (expected.lower + expected.upper) / 2 - 1.5 * span

    def cell(value: float) -> int:
        return min(width, max(-1, round((value - start) / (3 * span) * (width - 1))))

    lower, upper, at = cell(expected.lower), cell(expected.upper), cell(line.value)
    cells = ["─" if lower < i < upper else "·" for i in range(width)]
    cells[lower], cells[upper] = "├", "┤"
    if expected.typical is not None and lower < (typical := cell(expected.typical)) < upper:
        cells[typical] = "┼"
    if 0 <= at < width:
        cells[at] = "●"
    else:
        cells[0 if at < 0 else -1] = "◀" if at < 0 else "▶"
    return "".join(cells)
