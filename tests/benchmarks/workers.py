"""Two workers against one on the same points: cost, speed, and whether the results are the same bytes.

    python -m tests.benchmarks.workers [--points N] [--rounds N] [--json]

Starts a local Kafka, fills the input topic once, and has `anomalyd run --workers 1` and `--workers 2` read
all of it in turn, each into topics of its own. CPU is that of the supervisor and all workers, between two
marks of the points done, behind the start and before the end; fits of models fall into it, as in life.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median

import psutil
from confluent_kafka import Message
from rich.console import Console
from rich.table import Table

from service.bench.backlog import produce_backlog
from service.bench.cases import Case
from service.bench.statistics import Sample, Throughput
from service.bench.steady_state import STEP_MS
from service.stream.local_broker import LocalBroker
from service.stream.reading import read_all
from tests.kafka.running import RunningService, Setup, headers, make_topics, running, wait_for

CASE = Case(1_000, 1)
PARTITIONS = 4
_FROM, _TO = 0.35, 0.97
_PATIENCE_S = 600.0


@dataclass(frozen=True)
class Round:
    """What one reading of all points cost; `results` is a digest of them all, in their partitions' order."""

    workers: int
    cpu_s_per_million: float
    points_per_second: float
    results: str


def cpu_seconds(service: RunningService) -> float:
    """Of the supervisor and its workers, user and system."""
    root = psutil.Process(service.process.pid)
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def digest_of(messages: Iterable[Message]) -> str:
    """The same for the same results from the same inputs, partition by partition."""
    whole: dict[int, hashlib._Hash] = {}
    for message in messages:
        said = headers(message)
        place = f"{said['x-in-offset']} {said['x-model']}\n".encode()
        partition = whole.setdefault(int(said["x-in-partition"]), hashlib.sha256())
        partition.update(place + (message.value() or b"") + b"\n")
    return hashlib.sha256("".join(whole[n].hexdigest() for n in sorted(whole)).encode()).hexdigest()[:16]


def measured(setup: Setup, workers: int, points: int) -> Round:
    """One round: topics for the output, the service from the first record to the last."""
    samples: list[Sample] = []

    def reached(mark: float) -> bool:
        assert not service.exited, service.log[-5:]
        if (done := service.records_done()) < mark * points:
            return False
        samples.append(Sample(done, time.monotonic(), cpu_seconds(service)))
        return True

    with running(setup, "--workers", str(workers), "--only", "detection") as service:
        for mark in (_FROM, _TO, 1.0):
            wait_for(lambda mark=mark: reached(mark), f"{mark:.0%} of the points", _PATIENCE_S)  # type: ignore[misc]
        assert service.terminate() == 0
    figures = Throughput.between(samples[0], samples[1]).figures()
    results = read_all(setup.settings.kafka, setup.settings.topics.name("detection_results"))
    return Round(
        workers,
        float(figures["cpu_s_per_million"]),
        float(figures["points_per_second"]),
        digest_of(results),
    )


def compared(points: int, rounds: int) -> list[Round]:
    """Both counts of workers in turn, the order changing from round to round."""
    with LocalBroker() as broker:
        prefix = f"workers-{uuid.uuid4().hex[:8]}-"
        given = Setup.of(broker.bootstrap_servers, prefix, partitions=PARTITIONS)
        make_topics(given.settings)
        source = given.settings.topics.name("data_points")
        start_ms = int(time.time() * 1000) - (points // CASE.sources + 1) * STEP_MS
        produce_backlog(given.settings.kafka, source, CASE, points, start_ms, lambda _: None)
        found = []
        for number in range(rounds):
            for workers in (1, 2) if number % 2 == 0 else (2, 1):
                own = f"{number}-{workers}-"
                places = {role: f"{own}{role}" for role in ("detection_results", "anomalies", "snapshots")}
                overrides = [f"topics.{role}={name}" for role, name in places.items()]
                setup = Setup.of(
                    broker.bootstrap_servers,
                    prefix,
                    f"kafka.group_id={prefix}{own}group",
                    *overrides,
                    partitions=PARTITIONS,
                )
                make_topics(setup.settings)
                found.append(measured(setup, workers, points))
        return found


def main() -> int:
    """0 if the results of all rounds were the same bytes."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.workers", description=__doc__)
    parser.add_argument("--points", type=int, default=1_200_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    asked = parser.parse_args()
    found = compared(asked.points, asked.rounds)
    cost = {n: median(r.cpu_s_per_million for r in found if r.workers == n) for n in (1, 2)}
    same = len({r.results for r in found}) == 1
    if asked.json:
        told = {"rounds": [asdict(r) for r in found], "ratio": cost[2] / cost[1], "same_results": same}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return 0 if same else 1
    table = Table("workers", "CPU-s per million", "points/s", "results")
    for r in found:
        table.add_row(f"{r.workers}", f"{r.cpu_s_per_million:.2f}", f"{r.points_per_second:,.0f}", r.results)
    console = Console()
    console.print(table)
    console.print(
        f"two workers against one: {cost[2] / cost[1]:.2f}; results {'the same' if same else 'DIFFER'}"
    )
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
