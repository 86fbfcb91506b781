"""The `anomalyd` command for tests: in this process where that will do, as a process of its own elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from service import cli


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said; `err` with its line breaks as blanks."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


def command_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `anomalyd ARGUMENTS` in this process."""

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["anomalyd", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        said = capsys.readouterr()
        return Ran(code, said.out, " ".join(said.err.split()))

    return run


def score(lines: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """`anomalyd score` as a process: it reads its standard input past Python's own buffers."""
    return subprocess.run(
        [sys.executable, "-m", "service", "score", *arguments], input=lines, capture_output=True, timeout=240
    )
