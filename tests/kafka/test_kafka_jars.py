"""Jars are those of the lock or are not used; a local Maven repository over HTTP stands for the real one."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.stream.kafka_jars import LOCK, LocalBrokerError, kafka_jars, read_lock

CONTENTS = {"first": b"1" * 100_000, "second": b"2" * 100_000}


class CountingHandler(SimpleHTTPRequestHandler):
    """Serves files and notes what was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it overrides
        pass


@contextmanager
def served(directory: Path) -> Iterator[tuple[str, list[str]]]:
    """The URL, and the list of paths asked for that grows meanwhile."""
    asked: list[str] = []
    handler = type("Handler", (CountingHandler,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    lines = [
        f"org.example:{name}:1.0 {hashlib.sha256(content).hexdigest()}" for name, content in CONTENTS.items()
    ]
    path = tmp_path / "jars.lock"
    path.write_text("\n".join(["# made for a test", "[broker]", *lines]), encoding="utf-8")
    return path


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """A Maven repository with both jars: its directory, and what was asked of it."""
    directory = tmp_path / "repository"
    for name, content in CONTENTS.items():
        jar = directory / f"org/example/{name}/1.0/{name}-1.0.jar"
        jar.parent.mkdir(parents=True)
        jar.write_bytes(content)
    with served(directory) as (url, asked):
        monkeypatch.setenv("ANOMALYD_MAVEN_REPOSITORY", url)
        yield directory, asked


def test_every_jar_of_the_lock_is_pinned() -> None:
    parts = read_lock(LOCK)

    assert set(parts) == {"broker", "tools", "streams"}
    for jar in (jar for jars in parts.values() for jar in jars):
        assert len(bytes.fromhex(jar.sha256)) == 32
    names = [jar.file_name for jars in parts.values() for jar in jars]
    assert len(set(names)) == len(names)


def test_jars_are_downloaded_once_and_in_the_order_of_the_lock(
    lock: Path, repository: tuple[Path, list[str]], tmp_path: Path
) -> None:
    told: list[str] = []

    first = kafka_jars(lock=lock, cache=tmp_path / "cache", progress=told.append)
    asked = len(repository[1])
    second = kafka_jars(lock=lock, cache=tmp_path / "cache")

    assert [path.name for path in first] == ["first-1.0.jar", "second-1.0.jar"]
    assert second == first
    assert len(repository[1]) == asked
    assert "2 of 2 files" in told[-1]


def test_two_processes_at_once_download_each_jar_once(
    lock: Path, repository: tuple[Path, list[str]], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    code = (
        "import sys; from pathlib import Path; from service.stream.kafka_jars import kafka_jars; "
        "sys.stdin.read(1); kafka_jars(lock=Path(sys.argv[1]), cache=Path(sys.argv[2]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(lock), str(cache)], stdin=subprocess.PIPE)
        for _ in range(2)
    ]

    for process in processes:
        assert process.stdin is not None
        process.stdin.close()

    assert [process.wait(timeout=30) for process in processes] == [0, 0]
    assert sorted(path for path in repository[1] if path.endswith(".jar")) == [
        "/org/example/first/1.0/first-1.0.jar",
        "/org/example/second/1.0/second-1.0.jar",
    ]
    assert sorted(path.name for path in (cache / "kafka").iterdir()) == [
        ".lock",
        "first-1.0.jar",
        "second-1.0.jar",
    ]


def test_a_changed_jar_in_the_cache_is_refused_by_name(
    lock: Path, repository: tuple[Path, list[str]], tmp_path: Path
) -> None:
    _, second = kafka_jars(lock=lock, cache=tmp_path / "cache")
    second.write_bytes(CONTENTS["first"])

    with pytest.raises(LocalBrokerError, match=r"second-1\.0\.jar is not org\.example:second:1\.0 as it was"):
        kafka_jars(lock=lock, cache=tmp_path / "cache")


def test_a_jar_that_the_repository_changed_never_enters_the_cache(
    lock: Path, repository: tuple[Path, list[str]], tmp_path: Path
) -> None:
    (repository[0] / "org/example/second/1.0/second-1.0.jar").write_bytes(b"something else")

    with pytest.raises(LocalBrokerError, match="SHA-256"):
        kafka_jars(lock=lock, cache=tmp_path / "cache")

    assert not (tmp_path / "cache/kafka/second-1.0.jar").exists()


def test_a_jar_that_cannot_be_had_says_what_to_do(
    lock: Path, repository: tuple[Path, list[str]], tmp_path: Path
) -> None:
    (repository[0] / "org/example/second/1.0/second-1.0.jar").unlink()

    with pytest.raises(
        LocalBrokerError, match=r"cannot download org\.example:second:1\.0.*Without a network"
    ):
        kafka_jars(lock=lock, cache=tmp_path / "cache")
