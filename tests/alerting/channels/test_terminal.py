from __future__ import annotations

import io
from typing import Any

import pytest

from service.alerting.alert import Alert, ValueLine
from service.alerting.channels.base import RetryableError
from service.alerting.channels.terminal import TerminalChannel, TerminalConfig, gauge
from service.wire.anomaly import Expected
from tests.alerting.anomalies import anomaly


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(stream: io.StringIO, alert_id: str = "a1", *, color: str = "auto", **members: Any) -> str:
    config = TerminalConfig.model_validate({"type": "terminal", "color": color})
    TerminalChannel("screen", config, stream).send(Alert.of(anomaly(alert_id, **members)))
    return stream.getvalue()


def test_a_block_shows_severity_explanation_and_values() -> None:
    text = printed(io.StringIO())
    assert "CRITICAL pump-7: pressure 2.13 is 9.4 standard deviations above its usual 1.02 ± 0.12" in text
    assert "2.13, usual 1.02 (0.78 to 1.26)" in text
    assert "●" in text or "▶" in text
    assert "\x1b" not in text


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31m" in printed(Tty())
    assert "\x1b" not in printed(Tty(), color="never")
    assert "\x1b" in printed(io.StringIO(), color="always")


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in printed(Tty())


def test_a_source_cannot_write_escape_sequences() -> None:
    text = printed(
        io.StringIO(), sourceId="x\x1b[2J\r\nFAKE", explanation="\x1b]0;evil\x07 \u202e", values={}
    )
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "\nFAKE" not in text


def test_a_stream_that_cannot_write_a_sign_still_gets_the_alert() -> None:
    raw = io.BytesIO()
    config = TerminalConfig(type="terminal")
    stream = io.TextIOWrapper(raw, encoding="ascii")
    TerminalChannel("screen", config, stream).send(Alert.of(anomaly()))
    assert b"CRITICAL pump-7" in raw.getvalue()


def test_a_broken_pipe_is_retryable() -> None:
    class Broken(io.StringIO):
        def write(self, _text: str, /) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(RetryableError):
        printed(Broken())


@pytest.mark.parametrize(
    ("value", "drawn"),
    [
        (0.5, "·······├──●──┤·······"),
        (2.6, "·······├──┼──┤······▶"),
        (1.2, "·······├──┼──┤·●·····"),
        (-9.0, "◀······├──┼──┤·······"),
    ],
)
def test_a_value_is_drawn_against_its_usual_range(value: float, drawn: str) -> None:
    assert gauge(ValueLine("x", value, Expected(lower=0, typical=0.5, upper=1)), width=21) == drawn


@pytest.mark.parametrize(
    "line",
    [
        ValueLine("x", None, Expected(lower=0, typical=0, upper=1)),
        ValueLine("x", 1.0, None),
        ValueLine("x", 1.0, Expected(lower=None, typical=1, upper=None)),
    ],
)
def test_what_is_unknown_is_not_drawn(line: ValueLine) -> None:
    assert gauge(line) == ""


def test_a_value_that_never_varied_is_drawn_all_the_same() -> None:
    assert gauge(ValueLine("x", 3.0, Expected(lower=2.0, typical=2.0, upper=2.0)), width=21).endswith("▶")
    assert gauge(ValueLine("x", 0.0, Expected(lower=0.0, typical=0.0, upper=0.0)), width=21)
    assert gauge(ValueLine("x", 1e308, Expected(lower=-1.7e308, typical=0.0, upper=1.7e308))) == ""
    assert gauge(ValueLine("x", float("inf"), Expected(lower=0.0, typical=0.5, upper=1.0))) == ""
