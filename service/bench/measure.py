"""The run: topics, a backlog, rounds of service and passthrough in turn, then latency, case by case."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

from confluent_kafka import KafkaException

from service.bench import latency, sizing
from service.bench.backlog import delete_topics, mean_result_bytes, produce_backlog
from service.bench.cases import Case, Load, Plan
from service.bench.child import BenchError, Child, Given
from service.bench.statistics import Figures, case_figures
from service.bench.steady_state import STEP_MS
from service.stream import topics
from service.stream.clients import consumer_properties

_ANSWER_S = 5.0
_READY_S = 1_800.0  # a million sources get a past first
_ROUND_S = 1_800.0
_BESIDE = "topics.detection_results=passed-through"  # where the passthrough's output goes


class Watcher(Protocol):
    """Whoever shows how far the run is."""

    def doing(self, what: str, total: int | None = None) -> None:
        """What comes next, and how many points it is."""

    def done(self, points: int) -> None:
        """How many of them are done."""

    def case_done(self, figures: Figures) -> None:
        """One case has all its figures."""


class Run:
    """One run against one cluster; it makes topics of its own and deletes them."""

    def __init__(self, plan: Plan, given: Given, watcher: Watcher) -> None:
        self._plan = plan
        self._watcher = watcher
        self._prefix = f"bench-{uuid.uuid4().hex[:8]}-"
        self._given = given.but(
            "publish=all",
            "stream.start_from=earliest",
            "http={host: 127.0.0.1, port: 0}",
            "worker.id=bench",
            "alerting={channels: {}}",
        )
        settings = self._given.settings()
        properties = consumer_properties(settings.kafka, settings.worker.id)
        self._is_warm = False
        self._ahead = int(properties["queued.min.messages"])

    def run(self) -> list[Figures]:
        """The figures of every case, in the plan's order.

        Raises:
            AnomalydError: no broker answers, or a part failed; the message has that process's last words.
        """
        settings = self._given.settings()
        topics.states(settings.kafka, settings.topics, _ANSWER_S)
        try:
            return [self._case(case) for case in self._plan.cases]
        except KafkaException as error:
            raise BenchError(f"Kafka: {error.args[0].str()}") from error

    def _case(self, case: Case) -> Figures:
        watcher, plan = self._watcher, self._plan
        partitions = sizing.partitions_for(case.sources)
        count = plan.backlog(partitions * self._ahead)
        start_ms = int(time.time() * 1000) - (count // case.sources + 1) * STEP_MS
        with self._topics(case, "") as given:
            settings = given.settings()
            watcher.doing(f"{case}: backlog", count)
            topic = settings.topics.name("data_points")
            point_bytes = produce_backlog(settings.kafka, topic, case, count, start_ms, watcher.done)
            rounds, result_bytes = self._rounds(given, case, count, start_ms)
        figures: Figures = {
            "sources": case.sources,
            "values": case.values,
            "partitions": partitions,
            **case_figures(rounds),
            "point_bytes": point_bytes,
            "result_bytes": result_bytes,
            "rounds": rounds,
            "latency": self._latency(case),
        }
        figures["model"] = sizing.predicted(self._given.settings(), case.sources, case.values)
        watcher.case_done(figures)
        return figures

    def _rounds(self, given: Given, case: Case, backlog: int, start_ms: int) -> tuple[list[Figures], float]:
        """What the rounds measured, and the mean length of a result."""
        settings = given.settings()
        rounds: list[Figures] = []
        value_bytes = 0.0
        for number in range(self._plan.rounds):
            task = {
                "sources": case.sources,
                "values": case.values,
                "points": self._plan.points,
                "backlog": backlog,
                "before_ms": start_ms,
            }
            measured: Figures = {}
            # The first passthrough waits for the length of a result; then who begins changes.
            for who in ("service", "passthrough") if number % 2 == 0 else ("passthrough", "service"):
                self._watcher.doing(f"{case}: round {number + 1} of {self._plan.rounds}, {who}")
                group = f"kafka.group_id={settings.topics.prefix}{who}-{number}"
                if who == "service":
                    measured[who] = self._round("service_child", given.but(group), task)
                    if not number:
                        results = settings.topics.name("detection_results")
                        value_bytes = mean_result_bytes(settings.kafka, results)
                else:
                    beside = given.but(group, _BESIDE)
                    size = {"value_bytes": round(value_bytes)}
                    measured[who] = self._round("passthrough", beside, {**task, **size})
            rounds.append(measured)
        return rounds, value_bytes

    @staticmethod
    def _round(module: str, given: Given, task: dict[str, Any]) -> Figures:
        with Child(module, {**given.told(), **task}) as child:
            if module == "service_child":
                child.wait_for("ready", _READY_S)
            measured = child.wait_for("measured", _ROUND_S)
            child.finish()
        del measured["event"]
        return measured

    def _latency(self, case: Case) -> list[Figures]:
        if not self._plan.loads:
            return []
        with self._topics(case, "latency-") as given:
            self._watcher.doing(f"{case}: latency, starting")
            named = given.but(f"kafka.group_id={given.settings().topics.prefix}group")
            task = {
                "sources": case.sources,
                "values": case.values,
                "points": 0,
                "backlog": 0,
                "before_ms": int(time.time() * 1000),
            }
            found = []
            with Child("service_child", {**named.told(), **task}) as service:
                service.wait_for("ready", _READY_S)
                if not self._is_warm:
                    self._load(named, case, self._plan.warming, "warming the broker")
                    self._is_warm = True
                for load in self._plan.loads:
                    found.append(self._load(named, case, load, f"latency at {load.rate:,} points/s"))
                service.finish()
            return found

    def _load(self, given: Given, case: Case, load: Load, what: str) -> Figures:
        self._watcher.doing(f"{case}: {what}", int(load.rate * load.seconds))
        return latency.measure(given, case, load, self._watcher.done)

    @contextlib.contextmanager
    def _topics(self, case: Case, name: str) -> Iterator[Given]:
        """Settings with fresh topics for a case, which are gone afterwards."""
        prefix = f"{self._prefix}{case.name}-{name}"
        given = self._given.but(
            f"topics.prefix={prefix}", f"topics.partitions={sizing.partitions_for(case.sources)}"
        )
        settings = given.settings()
        beside = given.but(_BESIDE).settings()
        try:
            topics.create(settings.kafka, settings.topics)
            topics.create(beside.kafka, beside.topics)
            yield given
        finally:
            delete_topics(settings.kafka, prefix)
