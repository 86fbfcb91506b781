"""Break things on a real Kafka and audit what came of it: `python -m tests.faults --help`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.text import Text

from service.stream.local_broker import LocalBroker
from tests.faults import cases
from tests.faults.bed import Bed, Ground, Options
from tests.faults.matrix import CASES, Case, Kafka, Verdict, table_of
from tests.faults.proxy import Proxy

# A transaction whose time is over is undone a second later instead of ten.
_PROPERTIES = {
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "broker.session.timeout.ms": "4000",
    "log.cleaner.backoff.ms": "1000",
}
_LINK = "LINK"
_WIDE = 160  # for the table, where nobody says how wide it may be


class Grounds:
    """The Kafkas that cases ask for, each started once."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._started: dict[Kafka, Ground] = {}

    def of(self, kafka: Kafka) -> Ground:
        if kafka not in self._started:
            self._started[kafka] = self._start(kafka)
        return self._started[kafka]

    def _start(self, kafka: Kafka) -> Ground:
        if kafka != "behind a proxy":
            nodes = 3 if kafka == "three nodes" else 1
            broker = self._stack.enter_context(LocalBroker(nodes=nodes, properties=_PROPERTIES))
            return Ground(broker.bootstrap_servers, broker.bootstrap_servers, broker)
        proxy = Proxy()
        self._stack.callback(proxy.close)
        broker = self._stack.enter_context(
            LocalBroker(
                properties=_PROPERTIES,
                listeners={_LINK: "PLAINTEXT"},
                advertised={_LINK: [proxy.port]},
            )
        )
        proxy.upstream = int(broker.bootstrap(_LINK).rpartition(":")[2])
        return Ground(broker.bootstrap_servers, f"127.0.0.1:{proxy.port}", broker, proxy)


def run(case: Case, ground: Ground, options: Options, directory: Path) -> Verdict:
    """One case from its own topics to the audit."""
    directory.mkdir(parents=True)
    began = time.monotonic()
    options = replace(options, partitions=case.partitions or options.partitions)
    bed = Bed(case.name, options, ground, directory, case.overrides)
    verdict = Verdict(case, 0.0, None, bed.recoveries, bed.problems, bed.notes)
    try:
        try:
            case.run(bed)
        except Exception as error:  # noqa: BLE001  one case's end is not the others'
            bed.problems.append(f"the case itself failed: {type(error).__name__}: {error}")
        verdict.report = bed.finish()
    finally:
        bed.close()
    verdict.seconds = time.monotonic() - began
    return verdict


def _is_one_of(name: str, asked: list[str]) -> bool:
    """Whether a case is asked for, by its name or by the beginning of several."""
    return any(name == text or (text not in CASES and name.startswith(text)) for text in asked)


def main(arguments: list[str]) -> int:
    for module in pkgutil.iter_modules(cases.__path__):
        importlib.import_module(f"{cases.__name__}.{module.name}")
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="a case, or the beginning of several")
    parser.add_argument("--list", action="store_true", help="say what cases there are")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20, help="of the cases kill and kill-workers")
    parser.add_argument("--minutes", type=float, default=2.0, help="of the cases soak and rebalance")
    parser.add_argument("--corruptions", type=int, default=200, help="of the case snapshots-corrupted")
    parser.add_argument("--rate", type=float, default=1_000.0, help="records a second")
    parser.add_argument("--sources", type=int, default=10_000)
    parser.add_argument("--logs", type=Path, help="keep the logs there; default: only of what went wrong")
    given = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDE
    if given.list:
        for case in CASES.values():
            console.print(f"{case.name:<22}{case.about} ({case.kafka})")
        return 0
    chosen = [case for case in CASES.values() if not given.only or _is_one_of(case.name, given.only)]
    if not chosen:
        parser.error(f"no case begins with {' or '.join(given.only)}; --list says what there is")
    options = Options(
        seed=given.seed,
        kills=given.kills,
        minutes=given.minutes,
        corruptions=given.corruptions,
        rate=given.rate,
        sources=given.sources,
    )
    logs: Path = given.logs or Path(tempfile.mkdtemp(prefix="anomalyd-faults-"))
    verdicts: list[Verdict] = []
    with ExitStack() as stack:
        grounds = Grounds(stack)
        for case in chosen:
            with console.status(f"{case.name}: {case.about}"):
                verdict = run(case, grounds.of(case.kafka), options, logs / case.name)
            verdicts.append(verdict)
            wrong = verdict.wrong
            console.print(Text(f"{case.name}: {'bad' if wrong else 'good'}, {verdict.seconds:.0f} s"))
            for line in wrong:
                console.print(Text(f"    {line}", style="red"))
            for line in [*verdict.notes, *(verdict.report.notes if verdict.report is not None else [])]:
                console.print(Text(f"    {line}", style="dim"))
    console.print()
    console.print(table_of(verdicts))
    bad = any(verdict.wrong for verdict in verdicts)
    if bad:
        console.print(f"logs: {logs}")
    elif given.logs is None:
        shutil.rmtree(logs)
    return 1 if bad else 0


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    for _number in (signal.SIGINT, signal.SIGTERM):  # so that nothing is left running
        signal.signal(_number, _leave)
    sys.exit(main(sys.argv[1:]))
