"""One place of work: `anomalyd run` under a worker.id, started anew whenever it ends unasked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

_RESTART_S = 0.1
_LONGEST_RESTART_S = 5.0
_STOP_S = 30.0
# Whoever installs the service has its modules compiled; from a checkout the first life leaves them so.
_INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class End(NamedTuple):
    """How a life ended; a signal as a negative number."""

    at: float  # monotonic
    code: int
    asked: bool


class Post:
    """The service as its operator runs it; this object is its supervisor.

    The log of each life is a file of its own in `directory`.
    """

    def __init__(
        self, name: str, flags: Sequence[str], arguments: Sequence[str], directory: Path, *, keep: bool
    ) -> None:
        self.name = name
        self.ends: list[End] = []
        self._flags, self._arguments, self._directory = list(flags), list(arguments), directory
        self.keep = keep
        self._process: subprocess.Popen[bytes] | None = None
        self._lives = 0
        self._asked = threading.Event()
        self._changed = threading.Condition()
        self._keeper: threading.Thread | None = None

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment` is for this life alone."""
        assert not self.alive, f"{self.name} runs already"
        self._asked.clear()
        self._launch(environment or {})
        self._keeper = threading.Thread(target=self._watch_over, name=f"keeper {self.name}", daemon=True)
        self._keeper.start()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def status(self) -> str:
        try:
            return str(psutil.Process(self.pid).status())
        except psutil.NoSuchProcess:
            return "gone"

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)  # to nobody, if it is dead

    def kill(self) -> None:
        """kill -9, and wait until it is dead; with --workers the supervisor alone."""
        lives = len(self.ends)
        self.send(signal.SIGKILL)
        self.wait_for_end(lives, 10.0)

    def kill_for_good(self) -> None:
        """kill -9, and nobody starts it anew until `start` is called."""
        self._asked.set()
        self.kill()
        if self._keeper is not None:
            self._keeper.join(10.0)

    def wait_for_end(self, after: int, timeout_s: float) -> End | None:
        """The next end after so many; None if it does not come in time."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.ends) > after, timeout_s)
            return self.ends[after] if len(self.ends) > after else None

    def stop(self) -> End | None:
        """SIGTERM, as an orchestrator sends it; None, and SIGKILL, if it takes over half a minute."""
        keeper = self._keeper
        self._asked.set()
        ends = len(self.ends)
        end = None
        if self.alive:
            self.send(signal.SIGTERM)
            end = self.wait_for_end(ends, _STOP_S)
            if end is None:
                self.send(signal.SIGKILL)
        if keeper is not None:
            keeper.join(10.0)
        return end

    def said_before_the_end(self, life: int) -> str:
        """The last line of that life's log, counted from 0."""
        return " ".join(str(entry.get("event")) for entry in self.log(life + 1)[-1:])

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of the present life's log of this event."""
        return [entry for entry in self.log() if entry.get("event") == event]

    def log(self, life: int | None = None) -> list[dict[str, Any]]:
        """What the present life has said, or one counted from 1."""
        path = self.log_path if life is None else self._log_path(life)
        entries = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                entries.append({"event": line})
        return entries

    @property
    def log_path(self) -> Path:
        return self._log_path(self._lives)

    def _log_path(self, life: int) -> Path:
        return self._directory / f"{self.name}-{life}.log"

    def partitions(self) -> set[int]:
        """Those that the present life holds, as its log tells."""
        held: set[int] = set()
        for entry in self.log():
            if entry.get("event") == "partitions assigned":
                held |= set(entry["partitions"])
            elif entry.get("event") in ("partitions revoked", "partitions lost"):
                held -= set(entry["partitions"])
        return held

    def _launch(self, environment: Mapping[str, str]) -> None:
        self._lives += 1
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service", "run", *self._flags, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_INSTALLED, **environment},
                start_new_session=True,
            )

    def _watch_over(self) -> None:
        wait_s = _RESTART_S
        while True:
            assert self._process is not None
            began = time.monotonic()
            code = self._process.wait()
            with self._changed:
                self.ends.append(End(time.monotonic(), code, self._asked.is_set()))
                self._changed.notify_all()
            if self._asked.is_set() or not self.keep:
                return
            wait_s = _RESTART_S if time.monotonic() - began > 10.0 or code < 0 else 2 * wait_s
            if self._asked.wait(min(wait_s, _LONGEST_RESTART_S)):
                return
            self._launch({})
