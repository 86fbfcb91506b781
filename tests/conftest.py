"""One hypothesis profile for all tests: the same examples at every run, no clock, no files left behind."""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.commands.command_line import Command, command_here

settings.register_profile(
    "anomalyd",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    # The first example of a kernel pays for its compilation.
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("anomalyd")


@pytest.fixture
def anomalyd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process, with no setting from the environment."""
    for name in [name for name in os.environ if name.startswith("ANOMALYD_")]:
        monkeypatch.delenv(name)
    return command_here(monkeypatch, capsys)
