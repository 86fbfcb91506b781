"""The peers by name: how each is started, how many points it gets, from when on it is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from service.settings import load
from service.stream import topics
from service.stream.kafka_jars import Java
from tests.benchmarks.peers.cluster import PARTITIONS

ANOMALYD = "anomalyd"
PASSTHROUGH = "passthrough"
# Chosen in this peer's favour, two runs each: 6.2 and 6.7 CPU-s per million, G1 (the default) 7.1 and 8.6,
# serial 7.7 and 7.9. Later runs with it took up to 9.2, so the difference is within the noise.
JVM_OPTIONS = ("-Xmx1g", "-XX:+UseParallelGC", "-XX:-UsePerfData")


@dataclass(frozen=True, slots=True)
class Place:
    """One run of one peer: where it reads and writes, and a directory of its own."""

    bootstrap: str
    input: str
    output: str
    group: str
    directory: Path
    result_bytes: int


Prepare = Callable[[Place], Sequence[str]]
"""Makes what a peer needs beforehand; its command."""


@dataclass(frozen=True, slots=True)
class Job:
    """One peer: gets the first `points`, measured from when that share of each partition is done."""

    name: str
    what: str
    points: int
    measured_from: float
    prepare: Prepare
    needs: str | None = None
    """A package that the peers' interpreter must have."""


@dataclass(frozen=True, slots=True)
class Interpreters:
    """`service` has the service's packages, `peers` those of `tests/benchmarks/requirements.txt`."""

    service: str
    peers: str

    @classmethod
    def of(cls, peers: str | None) -> Interpreters:
        return cls(sys.executable, peers or sys.executable)

    def lacks(self, package: str) -> bool:
        found = subprocess.run([self.peers, "-c", f"import {package}"], capture_output=True, check=False)
        return found.returncode != 0


def jobs(points: int, sources: int, interpreters: Interpreters, java: Callable[[], Java]) -> list[Job]:
    """All peers, anomalyd first: the passthrough's result is made as long as those of the run before.

    `java` is asked for when the first peer in Java is started.
    The slow ones get fewer points. Those that speed up or slow down while they warm up are measured in
    their second half: a source's window is full after 128 points, Java compiles as it goes.
    """
    python, peers = partial(_python, interpreters.service), partial(_python, interpreters.peers)
    return [
        Job(ANOMALYD, "the whole ensemble, explained", points, 0.5, partial(_anomalyd, interpreters.service)),
        Job(PASSTHROUGH, "moves bytes, nothing else", points, 0.2, partial(_passthrough, python)),
        Job("running_mean", "mean and variance, plain Python", points, 0.2, partial(python, "running_mean")),
        Job("kafka_streams", "mean and variance, Java", points, 0.5, partial(_streams, java, 1)),
        Job("kafka_streams_2", "the same, 2 threads", points, 0.5, partial(_streams, java, 2)),
        Job(
            *("quix", "mean and variance, Quix Streams", min(points, 200 * sources), 0.2),
            partial(_quix, peers),
            needs="quixstreams",
        ),
        Job(
            *("river_hst", "half-space trees, river", min(points, 256 * sources), 0.5),
            partial(peers, "river_hst"),
            needs="river",
        ),
        Job("naive", "isolation forest, row by row", min(points, 2_000), 0.2, partial(python, "naive")),
    ]


def _python(interpreter: str, module: str, place: Place, *more: str) -> list[str]:
    return [
        *(interpreter, "-m", f"tests.benchmarks.peers.{module}"),
        *("--bootstrap", place.bootstrap, "--input", place.input, "--output", place.output),
        *("--group", place.group, *more),
    ]


def _passthrough(python: Callable[..., list[str]], place: Place) -> list[str]:
    return python("passthrough", place, "--result-bytes", str(place.result_bytes))


def _quix(python: Callable[..., list[str]], place: Place) -> list[str]:
    return python("quix", place, "--state", str(place.directory / "state"))


def _streams(java: Callable[[], Java], threads: int, place: Place) -> list[str]:
    return java().command(
        "MeanAndVariance",
        *(place.bootstrap, place.input, place.output, place.group, str(threads)),
        str(place.directory / "state"),
        options=[*JVM_OPTIONS, f"-Djava.io.tmpdir={place.directory}"],
    )


def _anomalyd(interpreter: str, place: Place) -> list[str]:
    """As a user runs it: its topics made, its defaults otherwise."""
    overrides = [
        f"kafka.bootstrap_servers={place.bootstrap}",
        f"kafka.group_id={place.group}",
        f"topics.partitions={PARTITIONS}",
        f"topics.data_points={place.input}",
        f"topics.detection_results={place.output}",
        *(
            f"topics.{role}={place.output}-{role}"
            for role in ("anomalies", "dead_letters", "snapshots", "deliveries")
        ),
        "http.port=0",
        "log.format=json",
    ]
    settings = load(environment={}, overrides=overrides)
    topics.create(settings.kafka, settings.topics)
    flags = [word for text in overrides for word in ("--set", text)]
    return [interpreter, "-m", "service", "run", "--only", "detection", *flags]
