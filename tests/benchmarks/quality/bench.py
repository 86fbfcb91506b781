"""What the parts of the benchmark share: where the data lies, what is judged, what was run already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from tests.benchmarks.quality.data import FileSeries, Labels, labels_of, series_of
from tests.benchmarks.quality.running import Configuration, Result, Scored, Task, run_all

OURS = "anomalyd"
"""The name under which the judged configuration stands among its peers."""


@dataclass(slots=True)
class Bench:
    """Runs the service's pipeline over sets, each configuration once.

    Attributes:
        configuration: what is judged.
    """

    folder: Path
    jobs: int = 2
    configuration: Configuration = field(default_factory=Configuration)
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    _known: dict[tuple[str, Configuration], list[Scored]] = field(default_factory=dict)
    _labels: dict[str, list[Labels]] = field(default_factory=dict)

    def series(self, name: str) -> list[FileSeries]:
        return series_of(self.folder, name)

    def labels(self, name: str) -> list[Labels]:
        """Of each series of the set, in their order."""
        if name not in self._labels:
            self._labels[name] = [labels_of(self.folder, name, one) for one in self.series(name)]
        return self._labels[name]

    def scored(self, name: str, budgets: Sequence[float] = ()) -> list[list[Scored]]:
        """For each budget, or once as configured, what is published of each series of a set."""
        wanted = self.with_budgets(budgets) or (self.configuration,)
        missing = tuple(one for one in wanted if (name, one) not in self._known)
        if missing:
            found = self.run([Task(one, missing) for one in self.series(name)], name)
            for i, configuration in enumerate(missing):
                self._known[name, configuration] = [each[i] for each in found]
        return [self._known[name, one] for one in wanted]

    def run(self, tasks: Sequence[Callable[[], Result]], what: str) -> list[Result]:
        """What tasks give that need no cache, in their order."""
        return run_all(tasks, self.jobs, what, self.console)

    def with_budgets(self, budgets: Sequence[float]) -> tuple[Configuration, ...]:
        """The configuration once with each budget."""
        return tuple(self.configuration.with_budget(budget) for budget in budgets)
