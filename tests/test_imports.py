"""What is left out is missing for the one module that is imported, and there for everybody else."""

from __future__ import annotations

import subprocess
import sys


def said(program: str) -> str:
    """What a fresh interpreter says."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_a_module_that_is_left_out_can_be_imported_afterwards() -> None:
    program = (
        "import sys\nfrom service.imports import leave_out\nleave_out('bz2', while_importing='tarfile')\n"
        "import tarfile\nprint('bz2' in sys.modules)\nimport bz2\nprint('bz2' in sys.modules)"
    )
    assert said(program).split() == ["False", "True"]


def test_one_that_is_there_already_stays() -> None:
    program = (
        "import json\nfrom service.imports import leave_out\n"
        "leave_out('json', while_importing='tarfile')\nimport json"
    )
    assert said(program) == ""


def test_a_service_starts_without_what_draws_on_terminals() -> None:
    program = "import sys\nimport service.cli, service.commands.run\nprint('rich' in sys.modules)"
    assert said(program).split() == ["False"]
