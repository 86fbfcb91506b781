"""One worker: the ordinary service as a process of its own, and the supervisor's hold on it.

A socket pair joins the two. Over it the worker gets its settings (secrets among them, which so stand on no
command line) and tells where it serves its metrics. Nobody else has it open, so each end tells of the other's
death. The worker has a session of its own: Ctrl-C in a terminal reaches the supervisor alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from service import logs
from service.app import Only, Service
from service.errors import AnomalydError, ConfigurationError, TopicsMissingError
from service.settings import HttpConfig, Settings
from service.stopping import stopped_by_signals

_GONE_S = 10.0  # for a process to end whose end of the pipe is closed; then it is killed
_LOOPBACK = HttpConfig(host="127.0.0.1", port=0)
# The import path of whoever starts it: neither the directory it stands in nor how Python was called matter.
_MAIN = "import sys; sys.path[:] = {path!r}; from service.workers.process import main; main({pipe})"

_log = logs.logger("app")


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to be."""

    settings: Settings
    only: Only | None
    number: int


@dataclass(frozen=True, slots=True)
class Serving:
    """From the worker: its metrics and health are at `url`."""

    url: str


@dataclass(frozen=True, slots=True)
class Refused:
    """From the worker: it cannot start like this, and no other can."""

    problems: list[str]
    configuration: bool

    @classmethod
    def because(cls, error: ConfigurationError | TopicsMissingError) -> Refused:
        if isinstance(error, ConfigurationError):
            return cls(error.problems, configuration=True)
        return cls([str(error)], configuration=False)

    def error(self) -> AnomalydError:
        if self.configuration:
            return ConfigurationError(self.problems)
        return TopicsMissingError("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class Stop:
    """To the worker: finish what you are doing and end."""


def settings_of_worker(settings: Settings, number: int) -> Settings:
    """The same settings with an identity of its own, on which group instance and transactional id hang."""
    worker = settings.worker.model_copy(update={"id": f"{settings.worker.id}-{number}"})
    return settings.model_copy(update={"worker": worker, "http": _LOOPBACK})


class WorkerProcess:
    """A started worker, as the supervisor sees it. Not for several threads, but for `url`.

    Raises:
        OSError: the system gives no process.
    """

    def __init__(self, settings: Settings, only: Only | None, number: int) -> None:
        self.url = ""
        """Where it serves metrics and health; empty before."""
        self.connection, theirs = Pipe()
        """Readable when `hear` has something to hear."""
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own code
                [sys.executable, "-c", _MAIN.format(path=sys.path, pipe=theirs.fileno()), f"worker {number}"],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._say(Job(settings_of_worker(settings, number), only, number))

    @property
    def pid(self) -> int:
        return self._process.pid

    def hear(self) -> int | None:
        """Take what the worker says; the exit code, negative for a signal, if it has ended.

        Raises:
            ConfigurationError, TopicsMissingError: the worker cannot start like this.
        """
        try:
            message: Serving | Refused = self.connection.recv()
        except (EOFError, OSError):
            return self._end()
        if isinstance(message, Refused):
            raise message.error()
        self.url = message.url
        return None

    def stop(self) -> None:
        """Ask the worker to end; one that does not serve yet has nothing to finish."""
        if self.url:
            self._say(Stop())
        else:
            self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._end()

    def _say(self, message: Job | Stop) -> None:
        with contextlib.suppress(OSError):  # it is gone; `hear` tells
            self.connection.send(message)

    def _end(self) -> int:
        self.url = ""
        self.connection.close()
        try:
            return self._process.wait(_GONE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def main(pipe: int) -> None:
    """The worker's whole life; `pipe` is its end of the socket pair."""
    connection: Connection = Connection(pipe)
    try:
        job: Job = connection.recv()
    except (EOFError, OSError):
        return  # the supervisor died at once
    log = job.settings.log
    logs.configure(log.level, json=log.as_json, fields={"worker": job.number})
    sys.exit(_serve(job, connection))


def _serve(job: Job, connection: Connection) -> int:
    """The exit code."""

    def tell(message: Serving | Refused) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone; `_obey` hears of it
            connection.send(message)

    try:
        service = Service(job.settings, only=job.only, on_serving=lambda url: tell(Serving(url)))
        with stopped_by_signals(service) as ask_to_stop:
            threading.Thread(
                target=_obey, args=(connection, ask_to_stop), name="supervisor", daemon=True
            ).start()
            service.run()
    except (ConfigurationError, TopicsMissingError) as error:
        tell(Refused.because(error))
        return 2 if isinstance(error, ConfigurationError) else 1
    except AnomalydError as error:
        _log.error("worker failed", error=str(error))
        return 1
    except Exception:  # noqa: BLE001  the process's outermost line
        _log.exception("worker failed")
        return 1
    return 0


def _obey(connection: Connection, ask_to_stop: Callable[[], None]) -> None:
    """1. wait for the word to stop, or the supervisor's end 2. stop 3. at once if it has not waited."""
    asked = False
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
        asked = True
    ask_to_stop()
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    if asked:
        os._exit(128 + signal.SIGTERM)
