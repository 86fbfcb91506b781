"""Processes of the benchmark: a line of JSON tells a child what to do, lines of JSON tell what it found.

A child has its own session, so that Ctrl-C reaches the parent alone, which ends it; where the parent is
killed the child sees its standard input end. Knows nothing of what the children do.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service.errors import AnomalydError
from service.settings import Settings, load

_TOLD_LINES = 15
_LEAVING_S = 30.0

Answer = dict[str, Any]


class BenchError(AnomalydError):
    """The benchmark cannot go on; the message says which part of it failed and how."""


@dataclass(frozen=True, slots=True)
class Given:
    """Where settings come from, in words that a child can be told."""

    config: str | None
    overrides: tuple[str, ...]

    def settings(self) -> Settings:
        return load(Path(self.config) if self.config else None, overrides=self.overrides)

    def but(self, *overrides: str) -> Given:
        return Given(self.config, (*self.overrides, *overrides))

    def told(self) -> dict[str, Any]:
        return {"config": self.config, "overrides": list(self.overrides)}

    @classmethod
    def of(cls, task: Mapping[str, Any]) -> Given:
        return cls(task["config"], tuple(task["overrides"]))


class Child:
    """The parent's end of `python -m service.bench.<module>`; leaving the context ends the process."""

    def __init__(self, module: str, task: Mapping[str, Any]) -> None:
        self._name = module
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the child has ended
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", f"service.bench.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"{module}-answers", daemon=True)
        self._reader.start()
        self.tell(**task)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        self._errors.close()

    def tell(self, **what: Any) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: whoever waits for its answer hears why
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()

    def wait_for(self, event: str, timeout_s: float) -> Answer:
        """The child's next answer of this kind; others are passed over.

        Raises:
            BenchError: it ended first, or took too long.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                answer = self._answers.get(timeout=max(deadline - time.monotonic(), 0.0))
            except queue.Empty:
                raise BenchError(
                    f"{self._name}: not {event!r} within {timeout_s:.0f} s{self._last_words()}"
                ) from None
            if answer is None:
                code = self._process.wait()
                raise BenchError(f"{self._name} ended with code {code} before {event!r}{self._last_words()}")
            if answer["event"] == event:
                return answer

    def finish(self) -> None:
        """Ask it to end and wait until it has, so that its clients leave their groups in order."""
        self.tell(stop=True)
        try:
            code = self._process.wait(_LEAVING_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self._name} did not end when asked{self._last_words()}") from None
        if code != 0:
            raise BenchError(f"{self._name} ended with code {code}{self._last_words()}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._answers.put(json.loads(line))
            except ValueError:
                continue  # a library's own words on standard output
        self._answers.put(None)

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()[-_TOLD_LINES:]
        return "".join(f"\n  {line}" for line in lines)


# The child's end.


def task() -> Answer:
    """What the parent wants."""
    line = b""
    # Byte by byte and past Python's buffer: the thread that waits for the end must not hold its lock.
    while not line.endswith(b"\n"):
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            sys.exit(1)  # the parent is gone already
        line += byte
    asked: Answer = json.loads(line)
    return asked


def answer(event: str, **what: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **what}) + "\n")
    sys.stdout.flush()


def when_asked_to_stop(stop: Callable[[], None], *, patience_s: float = _LEAVING_S) -> None:
    """Call `stop` once the parent says so; if the parent is gone, the process also ends in any case."""

    def listen() -> None:
        gone = not os.read(sys.stdin.fileno(), 1)
        stop()
        if gone:
            time.sleep(patience_s)  # nobody is left to wait for: only time can end it
            os._exit(1)

    threading.Thread(target=listen, name="parent", daemon=True).start()


def own_peak_bytes() -> int:
    """The most memory that this process has held since it began or since `forget_peak`."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Start the peak anew, where the system can; what came before was preparation."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
