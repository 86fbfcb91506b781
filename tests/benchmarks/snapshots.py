"""What saving the state costs: the same points with snapshots and without, in turn.

    python -m tests.benchmarks.snapshots [--cases SxV,...] [--points N] [--rounds N] [--json]

Starts a local Kafka, fills the input topic once a case, and has the service read all of it in turn with the
default settings and with snapshots that are never due. Windows are full from the first point on. A round
must be long enough for several snapshots: how many fell into it is in the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from service.bench.backlog import produce_backlog
from service.bench.cases import Case
from service.bench.child import Child, Given
from service.bench.steady_state import STEP_MS
from service.stream import topics
from service.stream.local_broker import LocalBroker

PARTITIONS = 4
NEVER = "snapshots.writing_share=1e-9"  # after the first of all
_PATIENCE_S = 1_800.0


@dataclass(frozen=True)
class Round:
    """One reading of all points, with snapshots or without."""

    saving: bool
    snapshots: int
    cpu_s_per_million: float
    points_per_second: float


@dataclass(frozen=True)
class Outcome:
    """The rounds of one case."""

    case: Case
    rounds: list[Round]

    def median(self, figure: str, *, saving: bool) -> float:
        return float(median(getattr(r, figure) for r in self.rounds if r.saving == saving))

    @property
    def lost_throughput(self) -> float:
        """The share of points a second that snapshots cost."""
        figure = "points_per_second"
        return 1.0 - self.median(figure, saving=True) / self.median(figure, saving=False)

    @property
    def more_cpu(self) -> float:
        """The share of CPU time that snapshots add."""
        figure = "cpu_s_per_million"
        return self.median(figure, saving=True) / self.median(figure, saving=False) - 1.0


def measured(given: Given, case: Case, points: int, backlog: int, before_ms: int, *, saving: bool) -> Round:
    """One round, in a group and with topics of its own."""
    own = f"{uuid.uuid4().hex[:8]}"
    names = {role: f"{own}-{role}" for role in ("detection_results", "anomalies", "snapshots")}
    given = given.but(
        f"kafka.group_id={own}",
        *(f"topics.{role}={name}" for role, name in names.items()),
        *(() if saving else (NEVER,)),
    )
    settings = given.settings()
    topics.create(settings.kafka, settings.topics)
    task = {
        "sources": case.sources,
        "values": case.values,
        "points": points,
        "backlog": backlog,
        "before_ms": before_ms,
    }
    with Child("service_child", {**given.told(), **task}) as child:
        child.wait_for("ready", _PATIENCE_S)
        found = child.wait_for("measured", _PATIENCE_S)
        child.finish()
    return Round(saving, int(found["snapshots"]), found["cpu_s_per_million"], found["points_per_second"])


def compared(case: Case, points: int, rounds: int) -> Outcome:
    """Rounds with and without snapshots, the order changing from round to round, on a Kafka of their own."""
    with LocalBroker() as broker:
        given = Given(
            None,
            (
                f"kafka.bootstrap_servers={broker.bootstrap_servers}",
                f"topics.partitions={PARTITIONS}",
                "stream.start_from=earliest",
                "http={host: 127.0.0.1, port: 0}",
                "worker.id=bench",
                "alerting={channels: {}}",
            ),
        )
        settings = given.settings()
        topics.create(settings.kafka, settings.topics)
        backlog = points + 100_000  # as in `anomalyd bench`: fetching never comes to the end
        before_ms = int(time.time() * 1000) - (backlog // case.sources + 1) * STEP_MS
        source = settings.topics.name("data_points")
        produce_backlog(settings.kafka, source, case, backlog, before_ms, lambda _: None)
        found = [
            measured(given, case, points, backlog, before_ms, saving=saving)
            for number in range(rounds)
            for saving in ((True, False) if number % 2 == 0 else (False, True))
        ]
    return Outcome(case, found)


def shown(outcomes: list[Outcome]) -> Table:
    table = Table(
        "sources x values", "snapshots", "CPU-s per million", "points/s", "throughput lost", "CPU more"
    )
    for outcome in outcomes:
        for r in outcome.rounds:
            cells = (f"{r.snapshots}", f"{r.cpu_s_per_million:.2f}", f"{r.points_per_second:,.0f}")
            table.add_row(str(outcome.case), *cells, "", "")
        lost, more = f"{outcome.lost_throughput:.1%}", f"{outcome.more_cpu:.1%}"
        table.add_row(str(outcome.case), "medians", "", "", lost, more, end_section=True)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.snapshots", description=__doc__)
    parser.add_argument("--cases", default="1000x1,100000x4")
    parser.add_argument("--points", type=int, default=6_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    asked = parser.parse_args()
    cases = [Case.parse(text) for text in asked.cases.split(",")]
    found = [compared(case, asked.points, asked.rounds) for case in cases]
    if asked.json:
        told = [
            {"case": str(one.case), "rounds": [asdict(r) for r in one.rounds], "more_cpu": one.more_cpu}
            | {"lost_throughput": one.lost_throughput}
            for one in found
        ]
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        Console().print(shown(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
