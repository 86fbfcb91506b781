"""The service as an operator runs it: `anomalyd run` as a process of its own, watched over HTTP and Kafka."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx
import numpy as np
from confluent_kafka import Message
from prometheus_client.parser import text_string_to_metric_families

from service.settings import Settings, load
from service.stream import topics
from service.stream.feeding import PointProducer
from service.stream.reading import read_all

PATIENCE_S = 120.0


def wait_for(done: Callable[[], bool], what: str = "it", patience_s: float = PATIENCE_S) -> None:
    """Look again and again until `done`; fails with `what` when patience ends."""
    deadline = time.monotonic() + patience_s
    never = threading.Event()
    while not done():
        assert time.monotonic() < deadline, f"after {patience_s:.0f} s still not: {what}"
        never.wait(0.05)


@dataclass(frozen=True)
class Setup:
    """Settings as `--set` texts, for the process that runs and for the test that looks on."""

    overrides: tuple[str, ...]
    settings: Settings

    @classmethod
    def of(cls, bootstrap: str, prefix: str, *overrides: str, partitions: int = 1) -> Setup:
        texts = (
            f"kafka.bootstrap_servers={bootstrap}",
            f"kafka.group_id={prefix}group",
            f"topics.prefix={prefix}",
            f"topics.partitions={partitions}",
            "http.port=0",
            "log.format=json",
            "worker.id=test",
            *overrides,
        )
        return cls(texts, load(environment={}, overrides=texts))

    @property
    def flags(self) -> list[str]:
        return [word for text in self.overrides for word in ("--set", text)]


class RunningService:
    """A started `anomalyd run`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"event": line.rstrip()})

    def events(self, text: str) -> list[dict[str, Any]]:
        return [entry for entry in list(self.log) if text in str(entry.get("event"))]

    @property
    def url(self) -> str:
        wait_for(lambda: bool(self.events("serving metrics")) or self.exited, "the service serves HTTP")
        assert not self.exited, self.log
        return str(self.events("serving metrics")[0]["url"])

    @property
    def exited(self) -> bool:
        return self.process.poll() is not None

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            assert not self.exited, self.log  # why it went, instead of that nobody answers
            return False

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        text = httpx.get(f"{self.url}/metrics").text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def records_done(self) -> int:
        return int(self.metric("anomalyd_points_total") + self.metric("anomalyd_dead_letters_total"))

    def wait_until_done(self, records: int) -> None:
        def done() -> bool:
            assert not self.exited, self.log
            return self.records_done() >= records

        wait_for(done, f"{records} records are done")

    def terminate(self) -> int:
        """SIGTERM, as an orchestrator sends it; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30.0)
        self._reader.join(5.0)
        return code


@contextmanager
def running(setup: Setup, *arguments: str) -> Iterator[RunningService]:
    """`anomalyd run` with these settings; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "run", *setup.flags, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    service = RunningService(process)
    try:
        yield service
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stderr is not None
        service._reader.join(5.0)
        process.stderr.close()


def make_topics(settings: Settings) -> None:
    topics.create(settings.kafka, settings.topics)


def produce(settings: Settings, records: list[tuple[str, bytes]]) -> None:
    """(key, value) records into the input topic, in order."""
    producer = PointProducer(settings.kafka, settings.topics.name("data_points"))
    for key, value in records:
        producer.send(key, value)
    assert producer.finish() == []


def published(settings: Settings, role: str) -> list[Message]:
    """What a `read_committed` reader sees of a topic now."""
    return list(read_all(settings.kafka, settings.topics.name(role)))


def headers(message: Message) -> dict[str, str]:
    found = cast(list[tuple[str, bytes | None]], message.headers() or [])
    return {name: (value or b"").decode(errors="replace") for name, value in found}


def input_offsets(messages: list[Message]) -> list[tuple[int, int]]:
    """(partition, offset) of the input record that each message came from."""
    found = [headers(message) for message in messages]
    return [(int(header["x-in-partition"]), int(header["x-in-offset"])) for header in found]


def noisy_points(points: int = 600, sources: int = 3, seed: int = 5) -> list[tuple[str, bytes]]:
    """(key, body) of seeded noise of several sources, one large spike in each near the end."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(points):
        for source in range(sources):
            x = 10.0 + float(rng.normal())
            if i == points - 50 + 10 * source:
                x += 25.0
            body = {
                "sourceId": f"pump-{source}",
                "timestamp": 1_767_225_600_000 + i * 1000,
                "values": {"pressure": round(x, 4)},
                "labels": {"site": "north"},
            }
            records.append((f"pump-{source}", json.dumps(body).encode()))
    return records
