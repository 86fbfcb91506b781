"""What is measured: cases of sources and values, and how many points, rounds and seconds each gets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.errors import ConfigurationError

WARM_SHARE = 0.2
"""Of a round's points, those that come before the clock starts."""

_WARMING = 1.5  # times as long as a load

_CASE = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """So many sources, each with so many values a point."""

    sources: int
    values: int

    @classmethod
    def parse(cls, text: str) -> Case:
        """The case that `1000x4` names.

        Raises:
            ValueError: it is none.
        """
        found = _CASE.fullmatch(text.strip())
        if found is None or not int(found[1]) or not int(found[2]):
            raise ValueError(f"{text.strip()!r} is no case: write sources x values, such as 1000x4")
        return cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        return f"{self.sources}x{self.values}"

    def __str__(self) -> str:
        return f"{self.sources:,} x {self.values}"


@dataclass(frozen=True, slots=True)
class Load:
    """A steady rate under which latency is measured; what is sent in the first `warm_s` does not count.

    In its first seconds under a new load a broker still compiles some of what it will run.
    """

    rate: int
    seconds: float
    warm_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one run of the benchmark does."""

    cases: tuple[Case, ...]
    rounds: int
    points: int
    """Of a round, warming up included."""
    loads: tuple[Load, ...]

    @property
    def warming(self) -> Load:
        """What goes before the first load of the first case, and is not measured.

        A broker that was just started compiles what it runs for some twenty seconds, on half a core, and
        a commit takes three times as long meanwhile; one in production has done so long since.
        """
        first = self.loads[0]
        return Load(first.rate, _WARMING * first.seconds, 0.0)

    def backlog(self, ahead: int) -> int:
        """Points to produce for a round, where clients fetch `ahead` of what they hand out.

        As much waits at the end of a round as at its beginning: the cost of fetching what is read in a
        round then falls into it, as it does for ever in a running service.
        """
        return self.points + min(ahead, self.points)


_STEADY = (Load(5_000, 16.0, 8.0), Load(50_000, 16.0, 8.0))
_SMALL, _BROAD = Case(1_000, 1), Case(100_000, 4)
_QUICK = Plan((_SMALL, _BROAD), 3, 300_000, _STEADY)
_FULL = Plan(
    (_SMALL, Case(1_000, 4), Case(100_000, 1), _BROAD),
    5,
    600_000,
    _STEADY,
)
MILLION = Case(1_000_000, 1)


def plan(
    *,
    quick: bool = False,
    million: bool = False,
    cases: str | None = None,
    rounds: int | None = None,
    points: int | None = None,
    rates: str | None = None,
    seconds: float | None = None,
) -> Plan:
    """The plan that the command line asks for; what it does not say is as in the usual or the quick one.

    Raises:
        ConfigurationError: every mistake at once.
    """
    usual = _QUICK if quick else _FULL
    problems: list[str] = []
    chosen = _cases(cases, problems) if cases is not None else usual.cases
    if million and MILLION not in chosen:
        chosen = (*chosen, MILLION)
    loads = _loads(rates, usual.loads, problems) if rates is not None else usual.loads
    if seconds is not None:
        loads = tuple(Load(load.rate, seconds, seconds * load.warm_s / load.seconds) for load in loads)
    if problems:
        raise ConfigurationError(problems)
    return Plan(chosen, rounds or usual.rounds, points or usual.points, loads)


def _cases(texts: str, problems: list[str]) -> tuple[Case, ...]:
    found = []
    for text in texts.split(","):
        try:
            found.append(Case.parse(text))
        except ValueError as error:
            problems.append(f"--cases: {error}")
    return tuple(dict.fromkeys(found))


def _loads(rates: str, usual: tuple[Load, ...], problems: list[str]) -> tuple[Load, ...]:
    if not rates.strip():
        return ()
    like = usual[0]
    found = []
    for text in rates.split(","):
        if text.strip().isdecimal() and int(text):
            found.append(Load(int(text), like.seconds, like.warm_s))
        else:
            problems.append(f"--rates: {text.strip()!r} is no number of points per second")
    return tuple(found)
