"""`python -m tests.benchmarks.peers`: anomalyd and its peers in turn, on the same points and one Kafka."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from rich.console import Console

from service.stream.kafka_jars import Java, kafka_version
from service.stream.local_broker import LocalBroker
from tests.benchmarks.peers.cluster import Cluster
from tests.benchmarks.peers.jobs import ANOMALYD, Interpreters, Job, Place, jobs
from tests.benchmarks.peers.measuring import Measured, PeerFailedError, started
from tests.benchmarks.peers.report import Report
from tests.benchmarks.peers.streams_java import compiled

HOW_TO_GET = (
    "python3 -m venv build/peers && build/peers/bin/pip install -r tests/benchmarks/requirements.txt, "
    "then --peers-python build/peers/bin/python"
)
RESULT_BYTES = 250
"""Of the passthrough, where anomalyd did not run before it and told the length of its own."""


class Benchmark:
    """Peers one after another on one cluster."""

    def __init__(self, cluster: Cluster, directory: Path, sources: int, console: Console) -> None:
        self._cluster = cluster
        self._directory = directory
        self._sources = sources
        self._console = console
        self._filled: set[str] = set()
        self._result_bytes = RESULT_BYTES

    def run(self, job: Job, number: int) -> Measured:
        """1. points 2. output topic 3. start it 4. measure 5. look at what it wrote 6. clear away.

        Raises:
            PeerFailedError: it did not get to the end, or wrote less than a result for each point.
        """
        run = f"{job.name}-{number}"
        directory = self._directory / run
        directory.mkdir()
        place = Place(
            self._cluster.bootstrap,
            self._input(job.points),
            f"out-{run}",
            f"group-{run}",
            directory,
            self._result_bytes,
        )
        self._cluster.make(place.output)
        try:
            return self._measured(job, place)
        finally:
            self._cluster.delete(place.output)
            self._cluster.delete(place.group)  # changelogs of Kafka Streams
            self._cluster.delete(f"changelog__{place.group}")  # those of Quix Streams

    def _measured(self, job: Job, place: Place) -> Measured:
        command = job.prepare(place)
        with (
            self._cluster.progress(place.group, place.input) as progress,
            started(command, place.directory / "log") as peer,
        ):
            measured = peer.measure(progress, job.measured_from)
        results = self._cluster.results(place.output)
        if results.offsets < job.points:
            raise PeerFailedError(f"{results.offsets:,} results for {job.points:,} points")
        if job.name == ANOMALYD:
            self._result_bytes = results.value_bytes
        return replace(measured, result_bytes=results.value_bytes)

    def _input(self, points: int) -> str:
        topic = f"points-{points}"
        if topic not in self._filled:
            self._console.print(f"producing {points:,} points")
            self._cluster.fill(topic, points, self._sources)
            self._filled.add(topic)
        return topic


def main(words: Sequence[str] | None = None) -> int:
    options = _options(words)
    console = Console(stderr=True, highlight=False)
    interpreters = Interpreters.of(options.peers_python)
    with tempfile.TemporaryDirectory(prefix="anomalyd-peers-") as name:
        directory = Path(name)

        @cache
        def java() -> Java:
            console.print("fetching and compiling what the peers in Java need")
            return compiled(directory / "classes")

        every = jobs(options.points, options.sources, interpreters, java)
        chosen = _chosen(every, options.only)
        about = _about(options)
        report = Report(chosen, about)
        for job in chosen:
            if job.needs and interpreters.lacks(job.needs):
                report.missing[job.name] = f"{interpreters.peers} has no package {job.needs}: {HOW_TO_GET}"
                console.print(f"{job.name}: skipped, {report.missing[job.name]}", soft_wrap=True)
        with LocalBroker(progress=console.print) as broker:
            benchmark = Benchmark(Cluster(broker.bootstrap_servers), directory, options.sources, console)
            _rounds(benchmark, report, options.rounds, console)
    _say(report, options, console)
    return 1 if set(report.missing) & set(report.runs) or not report.runs else 0


def _rounds(benchmark: Benchmark, report: Report, rounds: int, console: Console) -> None:
    """Every peer once a round, every other round backwards: what drifts meets all of them alike."""
    for number in range(rounds):
        in_turn = report.jobs if number % 2 == 0 else report.jobs[::-1]
        for job in [job for job in in_turn if job.name not in report.missing]:
            try:
                run = benchmark.run(job, number)
            except PeerFailedError as error:
                report.missing[job.name] = str(error)
                console.print(f"round {number + 1}: {job.name} failed: {error}", soft_wrap=True, markup=False)
                continue
            report.add(job.name, run)
            console.print(
                f"round {number + 1}: {job.name}: {run.points_per_s:,.0f} points/s, "
                f"{run.cpu_s_per_million:,.2f} CPU-s per million over {run.points:,} points, "
                f"{run.memory_mb:,.0f} MB",
                soft_wrap=True,
            )


def _say(report: Report, options: argparse.Namespace, console: Console) -> None:
    text = json.dumps(report.to_json(), indent=2)
    if options.bench_json:
        options.bench_json.write_text(text + "\n", encoding="utf-8")
    if options.json:
        sys.stdout.write(text + "\n")
    else:
        Console(width=None if console.is_terminal else 140).print(report.table())


def _chosen(every: Sequence[Job], only: str | None) -> list[Job]:
    """The named ones, in their own order."""
    names = only.split(",") if only else [job.name for job in every]
    if unknown := set(names) - {job.name for job in every}:
        raise SystemExit(
            f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(job.name for job in every)}"
        )
    return [job for job in every if job.name in names]


def _about(options: argparse.Namespace) -> dict[str, object]:
    return {
        "kafka": kafka_version(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "points": options.points,
        "sources": options.sources,
        "rounds": options.rounds,
    }


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000, help="slow peers get fewer")
    parser.add_argument("--sources", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", metavar="NAME,...", help="these peers instead of all")
    parser.add_argument("--peers-python", metavar="PATH", help="one with river and quixstreams")
    parser.add_argument("--json", action="store_true", help="JSON on standard output instead of the table")
    parser.add_argument("--bench-json", type=Path, metavar="FILE", help="write that JSON to a file as well")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
