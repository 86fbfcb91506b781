"""The command's own manners: names, help, exit codes, messages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service import __version__
from tests.commands.command_line import Command

COMMANDS = [
    "run", "demo", "broker", "feed", "score", "train", "check-config", "topics", "audit", "send-test",
    "bench", "sizing",
]  # fmt: skip


def test_the_version_is_said(anomalyd: Command) -> None:
    ran = anomalyd("--version")
    assert (ran.code, ran.out) == (0, f"anomalyd {__version__}\n")


def test_help_names_every_command(anomalyd: Command) -> None:
    ran = anomalyd("--help")
    assert ran.code == 0
    assert all(name in ran.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(anomalyd: Command, name: str) -> None:
    ran = anomalyd(name, "--help")
    assert ran.code == 0
    assert f"anomalyd {name}" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nope"],
        ["run", "--nope"],
        ["run", "--only", "nothing"],
        ["run", "--workers", "0"],
        ["feed"],
        ["demo", "--seconds", "1"],
    ],
)
def test_wrong_usage_ends_with_2(anomalyd: Command, arguments: list[str]) -> None:
    assert anomalyd(*arguments).code == 2


@pytest.mark.parametrize("name", ["run", "score", "check-config"])
def test_a_wrong_configuration_ends_with_2_before_anything_is_done(anomalyd: Command, name: str) -> None:
    ran = anomalyd(name, "--set", "http.port=x", "--set", "log.level=loud")
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("error: ") == 2


def test_a_failure_ends_with_1_and_a_message(anomalyd: Command, tmp_path: Path) -> None:
    ran = anomalyd("train", tmp_path / "gone.csv", "--output", tmp_path / "model")
    assert (ran.code, ran.err) == (1, f"error: {tmp_path}/gone.csv: No such file or directory")


@pytest.mark.parametrize("name", [":key:", "[bold]", "a\\[b]", "[/]"])
def test_a_message_is_not_read_as_markup(
    anomalyd: Command, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = anomalyd("check-config", name)
    assert (ran.code, ran.err) == (2, f"error: {name}: No such file or directory")


@pytest.mark.parametrize("module", ["scipy.linalg", "httpx", "sklearn"])
def test_a_start_waits_for_no_library_that_it_does_not_need(module: str) -> None:
    asked = f"import sys; import service.commands.run; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
