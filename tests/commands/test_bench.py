from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.command_line import Command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cases", "much"], "--cases: 'much' is no case"),
        (["--rates", "fast"], "--rates: 'fast' is no number"),
        (["--rounds", "0"], "--rounds"),
        (["--set", "detection.features.window_points=1"], "detection.features.window_points"),
    ],
)
def test_a_wrong_request_ends_with_2_before_anything_is_started(
    anomalyd: Command, arguments: list[str], message: str
) -> None:
    ran = anomalyd("bench", "--bootstrap-servers", "127.0.0.1:1", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert ran.out == ""


def test_a_missing_configuration_file_is_told(anomalyd: Command, tmp_path: Path) -> None:
    ran = anomalyd("bench", "--config", tmp_path / "gone.yaml")
    assert (ran.code, "No such file" in ran.err) == (2, True)
