"""`python -m tests.benchmarks.quality`: how well anomalyd detects, and how well it keeps to its budget."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from service import __version__
from service.errors import AnomalydError, ConfigurationError
from tests.benchmarks.quality import (
    budget,
    choosing,
    discords,
    faults,
    first_points,
    labelled,
    nab_gate,
    null_streams,
    plot,
)
from tests.benchmarks.quality.bench import OURS, Bench
from tests.benchmarks.quality.data import LABELLED, default_folder
from tests.benchmarks.quality.report import markdown, tables
from tests.benchmarks.quality.running import Configuration

PARTS = ("nab", *LABELLED, "discords", "budget", "faults", "first")


def main(words: Sequence[str] | None = None) -> int:
    options = _options(words)
    try:
        found = _run(options)
    except AnomalydError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(markdown(found), encoding="utf-8")
    if options.plot:
        plot.draw(found, options.plot)
    console = Console(width=None if sys.stdout.isatty() else 160)
    for heading, table in tables(found):
        console.print(heading, table, "", markup=False, highlight=False)
    return 0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    if options.leave_one_out:
        return _left_out(options)
    configuration = Configuration(options.config, tuple(options.set))
    bench = Bench(options.data, options.jobs, configuration)
    found: dict[str, Any] = {
        "anomalyd": __version__,
        "overrides": list(options.set),
        "model_version": configuration.settings().detection.model_version(),
    }
    for part in _chosen(options.only):
        started = time.monotonic()
        if part in LABELLED:
            found.setdefault("sets", {})[part] = _labelled(bench, part, options)
        else:
            found[part] = _part(bench, part, options)
        bench.console.print(f"{part}: {time.monotonic() - started:,.0f} s")
    return found


def _left_out(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of every candidate on every set, and of the chosen one on each set left out."""
    sets = _chosen(options.only, choosing.SETS)
    candidates = dict(map(choosing.candidate, options.candidate))
    if len(candidates) < 2 or len(sets) < 2:
        raise ConfigurationError(["--leave-one-out: needs two --candidate and two sets at least"])
    found = {}
    for name, one in candidates.items():
        if not isinstance(one, Configuration):
            found[name] = {part: choosing.figures_in(one, part) for part in sets}
            continue
        bench = Bench(options.data, options.jobs, one)
        found[name] = {part: choosing.figures(bench, part) for part in sets}
    return {"anomalyd": __version__, "candidates": found, "left_out": choosing.left_out(found)}


def _labelled(bench: Bench, name: str, options: argparse.Namespace) -> dict[str, Any]:
    found = {OURS: labelled.ours(bench, name)}
    return found | labelled.peers(bench, name, options.peers_python) if options.peers else found


def _part(bench: Bench, part: str, options: argparse.Namespace) -> dict[str, Any]:
    match part:
        case "nab":
            found: dict[str, Any] = {OURS: nab_gate.ours(bench)}
            if options.peers:
                found["peers"] = nab_gate.peers(bench, options.peers_python)
            return found
        case "discords":
            return discords.ours(bench, options.peers)
        case "budget":
            return budget.ours(bench, options.seeds or null_streams.SEEDS)
        case "faults":
            return faults.ours(bench, options.seeds or faults.SEEDS)
        case _:
            return first_points.ours(bench)


def _chosen(only: str | None, parts: Sequence[str] = PARTS) -> list[str]:
    """The named parts, in their own order."""
    names = only.split(",") if only else list(parts)
    if unknown := set(names) - set(parts):
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    return [part for part in parts if part in names]


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quality", description=__doc__)
    parser.add_argument("--data", type=Path, default=default_folder(), help="folder of the sets")
    parser.add_argument("--only", metavar="PART,...", help=f"of {','.join(PARTS)}")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override a setting")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings to judge instead of the defaults"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seeds", type=int, help="of each synthetic stream, of each planted fault")
    parser.add_argument("--peers", action="store_true", help="simple peers on the same sets")
    parser.add_argument("--peers-python", metavar="PATH", help="one with streamad, for SPOT")
    parser.add_argument("--leave-one-out", action="store_true", help="choose among the candidates")
    parser.add_argument(
        "--candidate", action="append", default=[], metavar="NAME=YAML|SETTING=VALUE,...|JSON,..."
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a picture of what ran")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables as a page has them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
