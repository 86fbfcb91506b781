"""Starts one peer, watches how far it is, takes its processor time; knows nothing of what it does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[3]
POLL_S = 0.02
PATIENCE_S = 180.0
STOP_S = 15.0


class PeerFailedError(Exception):
    """A peer ended or stood still; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: rates from its measured part, `result_bytes` the mean length of a result's value."""

    points: int
    points_per_s: float
    cpu_s_per_million: float
    memory_mb: float
    result_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How many points are committed, and the share of them in the partition that is furthest behind."""

    points: int
    least_share: float

    @classmethod
    def of(cls, committed: Sequence[int], ends: Sequence[int]) -> Progress:
        shares = [done / end for done, end in zip(committed, ends, strict=True) if end]
        return cls(sum(committed), min(shares, default=1.0))


@dataclass(frozen=True, slots=True)
class _Moment:
    points: int
    time_s: float
    cpu_s: float


class Peer:
    """A process of a peer, that of its children included."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._system = psutil.Process(process.pid)

    def measure(self, progress: Callable[[], Progress], measured_from: float) -> Measured:
        """From when every partition is past that share of its points, until all points are committed.

        Raises:
            PeerFailedError: it ended, or nothing moved for `PATIENCE_S`.
        """
        first = self._reach(progress, measured_from)
        last = self._reach(progress, 1.0)
        counted = last.points - first.points
        if not counted:
            raise PeerFailedError(f"the last of {last.points:,} points came in one commit: give it more")
        return Measured(
            counted,
            counted / (last.time_s - first.time_s),
            (last.cpu_s - first.cpu_s) / counted * 1e6,
            sum(each.memory_info().rss for each in self._family()) / 1e6,
        )

    def _reach(self, progress: Callable[[], Progress], share: float) -> _Moment:
        seen, since = -1, time.monotonic()
        while True:
            now = progress()
            if now.least_share >= share:
                return _Moment(now.points, time.perf_counter(), self._cpu_s())
            if now.points != seen:
                seen, since = now.points, time.monotonic()
            self._check(time.monotonic() - since)
            time.sleep(POLL_S)  # a peer tells nobody how far it is: only asking does

    def _check(self, idle_s: float) -> None:
        if (code := self._process.poll()) is not None:
            raise PeerFailedError(f"ended with exit code {code}:\n{self._log_tail()}")
        if idle_s > PATIENCE_S:
            raise PeerFailedError(f"nothing committed for {PATIENCE_S:.0f} s:\n{self._log_tail()}")

    def _family(self) -> list[psutil.Process]:
        return [self._system, *self._system.children(recursive=True)]

    def _cpu_s(self) -> float:
        """User and system time of all threads, with a resolution of 10 ms."""
        return sum(sum(each.cpu_times()[:2]) for each in self._family())

    def _log_tail(self, lines: int = 15) -> str:
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[Peer]:
    """The peer as a process of its own, asked to stop at the end and killed if it does not."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT
        )
        try:
            yield Peer(process, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
