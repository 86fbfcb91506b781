"""What ends a supervisor ends its children too; `sleep` stands for Java."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.stream.broker_supervisor import Supervised, SupervisorGoneError

SLEEP = ["sleep", "60"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def supervised(directory: Path) -> Iterator[Supervised]:
    made = Supervised(directory, temporary=True)
    yield made
    made.close()


def test_says_how_a_child_ended(supervised: Supervised, directory: Path) -> None:
    supervised.start("fails", ["sh", "-c", "echo why; exit 3"], directory / "log")

    assert supervised.wait("fails", timeout_s=10) == 3
    assert (directory / "log").read_text() == "why\n"


def test_signals_a_child_and_waits_for_its_end(supervised: Supervised, directory: Path) -> None:
    supervised.start("sleeps", SLEEP, directory / "log")

    assert supervised.wait("sleeps") is None
    assert supervised.signal("sleeps", signal.SIGTERM, timeout_s=10) == -signal.SIGTERM


def test_closing_ends_children_and_deletes_temporary_data(supervised: Supervised, directory: Path) -> None:
    child = psutil.Process(supervised.start("sleeps", SLEEP, directory / "log"))

    supervised.close()

    assert not child.is_running()
    assert not directory.exists()


def test_closing_leaves_data_that_is_kept(directory: Path) -> None:
    supervised = Supervised(directory, temporary=False)
    child = psutil.Process(supervised.start("sleeps", SLEEP, directory / "log"))

    supervised.close()

    assert not child.is_running()
    assert directory.exists()


def test_closing_does_not_wait_for_a_sibling_that_holds_the_pipe(
    supervised: Supervised, directory: Path
) -> None:
    pipe = supervised._process.stdin
    assert pipe is not None
    with subprocess.Popen(SLEEP, pass_fds=[pipe.fileno()]) as sibling:
        supervised.close()

        assert sibling.poll() is None
        assert not directory.exists()
        sibling.kill()


def test_what_a_command_makes_gets_its_name_only_when_it_is_whole(
    supervised: Supervised, directory: Path, tmp_path: Path
) -> None:
    made, final = tmp_path / "made", tmp_path / "final"
    supervised.make("cut", ["sh", "-c", f"echo half > {made}; exit 1"], directory / "log", made, final)
    supervised.wait("cut", timeout_s=10)
    supervised.make(
        "whole", ["sh", "-c", f"echo whole > {final}.part"], directory / "log", Path(f"{final}.part"), final
    )
    supervised.wait("whole", timeout_s=10)

    supervised.close()

    assert not made.exists()
    assert final.read_text() == "whole\n"


def test_a_supervisor_that_is_terminated_takes_its_children_along(
    supervised: Supervised, directory: Path
) -> None:
    child = psutil.Process(supervised.start("sleeps", SLEEP, directory / "log"))

    supervised._process.terminate()
    supervised._process.wait(timeout=10)

    assert not child.is_running()
    with pytest.raises(SupervisorGoneError):
        supervised.wait("sleeps")


PARENT = """
import subprocess, sys
from pathlib import Path
from service.stream.broker_supervisor import Supervised
supervised = Supervised(Path(sys.argv[1]), temporary=True)
pid = supervised.start("sleeps", ["sleep", "60"], Path(sys.argv[1]) / "log")
sibling = subprocess.Popen(["sleep", "60"], pass_fds=[supervised._process.stdin.fileno()])
print(pid, sibling.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_parent_is_noticed_though_a_sibling_holds_the_pipe(directory: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child, sibling = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
        supervisor = child.parent()
        assert supervisor is not None

        parent.kill()

        psutil.wait_procs([supervisor], timeout=10)
        assert sibling.is_running()
        assert not child.is_running()
        assert not directory.exists()
        sibling.kill()
