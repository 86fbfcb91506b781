from __future__ import annotations

import pytest

from service.alerting.alert import Alert, number, one_line
from tests.alerting.anomalies import anomaly


def test_the_title_says_it_all() -> None:
    assert Alert.of(anomaly()).title == (
        "CRITICAL pump-7: pressure 2.13 is 9.4 standard deviations above its usual 1.02 ± 0.12"
    )


def test_an_end_is_recognised_at_once() -> None:
    assert Alert.of(anomaly(incident="resolved")).title.startswith("RESOLVED pump-7: ")


def test_without_an_explanation_the_score_speaks() -> None:
    assert Alert.of(anomaly(explanation="")).title == "CRITICAL pump-7: anomaly score 0.97"


def test_the_text_lists_what_contributed_most_first() -> None:
    assert Alert.of(anomaly()).text.splitlines()[2:] == [
        "pressure  2.13, usual 1.02 (0.78 to 1.26)",
        "flow      8.4, usual 8.3 (8 to 8.6)",
        "severity  critical (score 0.973)",
        "measured  2026-01-01T00:00:00Z",
        "incident  opened, data-points/0/17",
        "labels    site=north",
        "alert     data-points/0/17",
    ]


def test_many_values_are_counted_rather_than_listed() -> None:
    alert = Alert.of(anomaly(values={f"v{i}": float(i) for i in range(1_000)}))
    assert len(alert.values) == 8
    assert "and 992 more values" in alert.text


def test_an_alert_without_values_still_speaks() -> None:
    assert "severity  critical" in Alert.of(anomaly(values={}, labels={})).text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "missing"), (0.0, "0"), (2.13, "2.13"), (1.0234567, "1.023"), (123456.789, "123457"),
        (-0.00001, "-1e-05"), (1e12, "1e+12"), (100.0, "100"), (float("inf"), "inf"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\r\nb\tc", "a b c"), ("\x1b[31mred", "[31mred"), ("a\u202eb", "a b"), ("a\u2028b", "a b"),
        ("\x00", ""), ("x" * 20, "xxxxxxxxx…"), ("ünïcode", "ünïcode"),
    ],
)  # fmt: skip
def test_what_came_from_outside_becomes_one_visible_line(text: str, clean: str) -> None:
    assert one_line(text, 10) == clean


def test_a_silence_says_when_it_was_noticed_and_shows_no_values() -> None:
    silent = anomaly(kind="absence", values={}, expected={}, labels={}, explanation="Silent for 12 min: why")
    alert = Alert.of(silent)
    assert alert.title == "CRITICAL pump-7: Silent for 12 min: why"
    assert alert.values == []
    assert dict(alert.facts)["noticed"] == "2026-01-01T00:00:00Z"
