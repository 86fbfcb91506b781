"""The direction of the arrows: who may import whom, and which library is known where."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pytest

import service

SERVICE = Path(service.__file__).parent

GROUND = frozenset(
    {
        "metrics",
        "logs",
        "clock",
        "errors",
        "cache",
        "kernels",
        "durations",
        "imports",
        "allocator",
        "stopping",
    }
)
ENTRY = frozenset({"__main__", "cli", "commands", "demo", "bench", "app", "workers", "settings"})

# Lower rooms first; a room may import itself, what is listed for it and the ground floor.
ALLOWED: dict[str, frozenset[str]] = {
    "wire": frozenset(),
    "history": frozenset({"wire"}),
    "features": frozenset({"history", "wire"}),
    "detectors": frozenset({"features", "history", "wire"}),
    "decision": frozenset({"detectors", "features", "history", "wire"}),
    "rarity": frozenset(),
    "absence": frozenset({"decision", "detectors", "features", "history", "wire"}),
    "oddities": frozenset({"features", "history"}),
    "explanation": frozenset({"oddities", "detectors", "features", "history", "wire"}),
    "settling": frozenset({"decision", "detectors", "features", "history", "wire"}),
    "feedback": frozenset({"absence", "settling", "decision", "detectors", "features", "history", "wire"}),
}
ALLOWED["scored"] = frozenset(ALLOWED)
ALLOWED["anomalies"] = frozenset(ALLOWED)
ALLOWED["verdicts"] = frozenset({"history", "wire"})
ALLOWED["outcomes"] = frozenset(ALLOWED)
ALLOWED["publication"] = frozenset(ALLOWED)
ALLOWED["insight"] = frozenset(ALLOWED)
ALLOWED["pipeline"] = frozenset(ALLOWED)
ALLOWED["examination"] = frozenset(ALLOWED)
BELOW_PIPELINE = frozenset(ALLOWED) - {"pipeline", "examination"}
ALLOWED["alerting"] = ALLOWED["http"] = frozenset(ALLOWED)
ALLOWED["stream"] = ALLOWED["alerting"] | {"alerting"}  # alerting says what it needs of Kafka in ports

DETERMINISTIC = BELOW_PIPELINE | {"pipeline"}
OUTSIDE_WORLD = frozenset(
    {
        "time",
        "socket",
        "threading",
        "asyncio",
        "subprocess",
        "logging",
        "structlog",
        "random",
        "requests",
        "httpx",
    }
)
NOW = frozenset({"now", "utcnow", "today", "time", "monotonic", "perf_counter"})


class Import(NamedTuple):
    """One imported module: `service/<path>` at `line` imports `module`."""

    path: str
    line: int
    module: str

    def __str__(self) -> str:
        return f"service/{self.path}:{self.line} imports {self.module}"


def room_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


@lru_cache(maxsize=1)
def trees() -> dict[str, ast.Module]:
    """The syntax tree of every module, by its path inside `service/`."""
    return {
        path.relative_to(SERVICE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SERVICE.rglob("*.py"))
    }


def is_module(dotted: str) -> bool:
    path = SERVICE.parent.joinpath(*dotted.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def imports_in(path: str, tree: ast.Module) -> Iterator[Import]:
    """Every import, inside functions too, each name of `from package import module` as the module it is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"service/{path}:{node.lineno}: relative import"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                own = module.split(".")[0] == "service" and is_module(inner)
                yield Import(path, node.lineno, inner if own else module)


@lru_cache(maxsize=1)
def all_imports() -> tuple[Import, ...]:
    return tuple(one for path, tree in trees().items() for one in imports_in(path, tree))


def imported_room(one: Import) -> str | None:
    """The room of ours that is imported; None for a library."""
    parts = one.module.split(".")
    return (parts[1] if len(parts) > 1 else "__init__") if parts[0] == "service" else None


def told(wrong: list[Import]) -> str:
    return "\n".join(map(str, wrong))


def knows(library: str) -> set[str]:
    return {one.path for one in all_imports() if one.module.split(".")[0] == library}


def test_upper_rooms_import_lower_ones_and_never_the_other_way_round() -> None:
    wrong = []
    for one in all_imports():
        room, target = room_of(one.path), imported_room(one)
        if target is None or target in GROUND | {room, "__init__"} or room in ENTRY | {"__init__"}:
            continue
        if room in GROUND or target not in ALLOWED.get(room, frozenset()):
            wrong.append(one)
    assert not wrong, told(wrong)


def test_every_room_has_a_place_in_the_house() -> None:
    rooms = {room_of(path) for path in trees()} - {"__init__"}
    unknown = rooms - GROUND - ENTRY - frozenset(ALLOWED)
    assert not unknown, f"say in this test what {sorted(unknown)} may import"


def test_nothing_imports_the_entry() -> None:
    wrong = [one for one in all_imports() if imported_room(one) in ENTRY and room_of(one.path) not in ENTRY]
    assert not wrong, told(wrong)


def test_siblings_are_imported_by_module_and_not_through_a_package() -> None:
    wrong = [
        one
        for one in all_imports()
        if imported_room(one) not in (None, "__init__")
        and SERVICE.parent.joinpath(*one.module.split(".")).is_dir()
    ]
    assert not wrong, told(wrong)


def test_modules_of_one_package_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {path: set() for path in trees()}
    for one in all_imports():
        if imported_room(one) is not None:
            target = "/".join(one.module.split(".")[1:]) + ".py"
            graph[one.path].update({target} & graph.keys())
    done: set[str] = set()

    def visit(path: str, above: tuple[str, ...]) -> None:
        assert path not in above, " -> ".join([*above[above.index(path) :], path])
        if path not in done:
            for target in sorted(graph[path]):
                visit(target, (*above, path))
            done.add(path)

    for path in graph:
        visit(path, ())


def test_only_the_stream_and_the_benchmark_know_kafka() -> None:
    assert {room_of(path) for path in knows("confluent_kafka")} <= {"stream", "bench"}


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("slack_sdk", {"alerting/channels/slack.py"}),
        ("smtplib", {"alerting/channels/email.py"}),
        ("sklearn", {"detectors/autoencoder.py"}),
        ("numba", {"kernels.py", "detectors/register_walk.py"}),
        ("matplotlib", {"bench/plot.py"}),
    ],
)
def test_a_library_is_known_where_it_belongs_and_nowhere_else(library: str, places: set[str]) -> None:
    assert knows(library) <= places


def test_scikit_learn_is_imported_only_where_a_model_is_fitted() -> None:
    at_import = [
        node.lineno
        for tree in trees().values()
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom) and "sklearn" in ast.unparse(node)
    ]
    assert not at_import


def test_nothing_from_the_pipeline_down_knows_the_outside_world() -> None:
    wrong = [
        one
        for one in all_imports()
        if room_of(one.path) in DETERMINISTIC and one.module.split(".")[0] in OUTSIDE_WORLD
    ]
    assert not wrong, told(wrong)


def test_below_the_pipeline_there_are_no_clocks_logs_or_metrics() -> None:
    wrong = [
        one
        for one in all_imports()
        if room_of(one.path) in BELOW_PIPELINE and imported_room(one) in ("clock", "logs", "metrics")
    ]
    assert not wrong, told(wrong)


def test_nothing_from_the_pipeline_down_asks_what_time_it_is() -> None:
    asked = [
        f"service/{path}:{node.lineno} calls {ast.unparse(node.func)}"
        for path, tree in trees().items()
        if room_of(path) in DETERMINISTIC
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in NOW
    ]
    assert [call for call in asked if not call.endswith("calls self._clock.now")] == []


def test_randomness_from_the_pipeline_down_is_seeded() -> None:
    unseeded = [
        f"service/{path}:{node.lineno} calls {ast.unparse(node)}"
        for path, tree in trees().items()
        if room_of(path) in DETERMINISTIC
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and "random." in ast.unparse(node.func) and not node.args
    ]
    assert unseeded == []
