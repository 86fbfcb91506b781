"""Child process that owns a local broker's Java processes and outlives its parent by a moment.

A parent killed with SIGKILL cannot clean up. This process sees its pipe to the parent end, kills the Java
processes and deletes their temporary data. It has its own session, so that Ctrl-C in a terminal reaches the
service and not the broker under it. The child runs this file as a script, with nothing but the standard
library, and is up in 30 ms.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

SHUTDOWN_S = 20.0


class Request(TypedDict, total=False):
    """One line of JSON on the child's stdin; the answer is one line on its stdout."""

    do: str  # start | signal | wait | end
    name: str
    command: list[str]
    log: str
    rename: tuple[str, str]  # what this command makes gets its final name once it has succeeded
    signal: int
    timeout_s: float


class SupervisorGoneError(Exception):
    """Somebody ended the supervisor; it took its children along."""


class Supervised:
    """The parent's end: starts the supervisor and asks it for things, one at a time, from any thread."""

    def __init__(self, directory: Path, *, temporary: bool) -> None:
        kind = "temporary" if temporary else "kept"
        # Options for some other Java on this machine are not meant for ours.
        environment = {
            name: value for name, value in os.environ.items() if "JAVA" not in name and name != "CLASSPATH"
        }
        self._mutex = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603 - our own script, arguments as a list
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), kind, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )

    def start(self, name: str, command: list[str], log: Path) -> int:
        """The process id."""
        return int(self._ask({"do": "start", "name": name, "command": command, "log": str(log)})["pid"])

    def make(self, name: str, command: list[str], log: Path, made: Path, final: Path) -> None:
        """Runs a command behind everything else; a file that is not whole never gets its final name."""
        rename = (str(made), str(final))
        self._ask({"do": "start", "name": name, "command": command, "log": str(log), "rename": rename})

    def signal(self, name: str, number: int, timeout_s: float) -> int | None:
        """Sends a signal and waits for the end; the exit code as in `subprocess`, None if it still runs."""
        return self._exit({"do": "signal", "name": name, "signal": number, "timeout_s": timeout_s})

    def wait(self, name: str, timeout_s: float = 0.0) -> int | None:
        return self._exit({"do": "wait", "name": name, "timeout_s": timeout_s})

    def close(self) -> None:
        """Ends the supervisor, which ends its children and deletes what is temporary; may be called again."""
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            return
        # A broken pipe: it has ended already. Leaving the process closes the pipes and waits.
        with self._mutex, suppress(BrokenPipeError), self._process:
            # Said in words: a forked sibling may hold the pipe open beyond our closing it.
            self._process.stdin.write(b'{"do": "end"}\n')
            self._process.stdin.flush()

    def _exit(self, request: Request) -> int | None:
        exit_code: int | None = self._ask(request)["exit"]
        return exit_code

    def _ask(self, request: Request) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._mutex:
            try:
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except BrokenPipeError:
                line = b""
        if not line:
            raise SupervisorGoneError
        answer: dict[str, Any] = json.loads(line)
        return answer


class Supervisor:
    """The child's end."""

    def __init__(self, parent_pid: int, directory: Path, *, temporary: bool) -> None:
        self._parent_pid = parent_pid
        self._directory = directory
        self._temporary = temporary
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._renames: dict[str, tuple[Path, Path]] = {}

    def serve(self) -> None:
        """Answers requests until the parent closes the pipe, or is gone."""
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            # The pipe alone is not enough: a forked sibling of the parent may still hold its other end.
            while self._parent_lives():
                self._rename_finished()
                if not selector.select(timeout=1.0):
                    continue
                received = os.read(0, 1 << 16)
                if not received:
                    return
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    request: Request = json.loads(line)
                    if request["do"] == "end":
                        return
                    os.write(1, json.dumps(self.handle(request)).encode() + b"\n")

    def handle(self, request: Request) -> dict[str, Any]:
        name = request["name"]
        if request["do"] == "start":
            if "rename" in request:
                made, final = map(Path, request["rename"])
                self._renames[name] = (made, final)
            self._children[name] = _start(request["command"], Path(request["log"]))
            return {"pid": self._children[name].pid}
        child = self._children[name]
        if request["do"] == "signal" and child.poll() is None:
            child.send_signal(request["signal"])
        return {"exit": self._wait(child, request["timeout_s"])}

    def clean_up(self) -> None:
        """Stops every child (at once where the data goes anyway) and deletes temporary data."""
        living = [child for child in self._children.values() if child.poll() is None]
        deadline = time.monotonic() + (0.0 if self._temporary else SHUTDOWN_S)
        for child in living:
            child.send_signal(signal.SIGKILL if self._temporary else signal.SIGTERM)
        for child in living:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._rename_finished()
        if self._temporary:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _rename_finished(self) -> None:
        for name, (made, final) in list(self._renames.items()):
            exit_code = self._children[name].poll()
            if exit_code is None:
                continue
            if exit_code == 0:
                made.replace(final)
            made.unlink(missing_ok=True)
            del self._renames[name]

    def _wait(self, child: subprocess.Popen[bytes], timeout_s: float) -> int | None:
        deadline = time.monotonic() + timeout_s
        while child.poll() is None and time.monotonic() < deadline and self._parent_lives():
            time.sleep(0.01)  # watches two at once, child and parent: neither `wait` would see the other
        return child.returncode

    def _parent_lives(self) -> bool:
        return os.getppid() == self._parent_pid


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own Java, arguments as a list
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
        )


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parent_pid, kind, directory = sys.argv[1:]
    supervisor = Supervisor(int(parent_pid), Path(directory), temporary=kind == "temporary")
    try:
        with suppress(BrokenPipeError):  # the parent went away while it was being answered
            supervisor.serve()
    finally:
        supervisor.clean_up()


if __name__ == "__main__":
    main()
