"""What every case stands on: topics of its own, a load, a watch on results, the service at its posts."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from service.commands.audit import recomputing
from service.errors import AnomalydError
from service.settings import Settings
from service.stream import topics
from service.stream.auditing import audit as auditing
from service.stream.auditing.findings import Report
from service.stream.local_broker import LocalBroker
from service.stream.reading import committed_offsets, spans_of
from tests.faults.load import Load
from tests.faults.post import End, Post
from tests.faults.proxy import Proxy
from tests.faults.watch import Watch
from tests.kafka.running import Setup

PATIENCE_S = 90.0
_FIRST_S = 300.0  # on a machine where no kernel was compiled yet
UPGRADE = "anomalyd upgrade"
"""What a refusal tells people to do."""

_SESSION_OVER_S = 30.0  # a static member that is gone counts as one until its session is over
_STOP_FIRST = "Stop all workers first"
_SETTLE_S = 0.1  # a commit that was under way when the process died is visible by then


@dataclass(frozen=True, slots=True)
class Options:
    seed: int = 1
    kills: int = 20
    minutes: float = 2.0
    rate: float = 1_000.0
    sources: int = 10_000
    partitions: int = 4
    corruptions: int = 200


@dataclass(slots=True)
class Ground:
    """A running Kafka; `service_bootstrap` is where the service finds it, perhaps behind a proxy."""

    bootstrap: str
    service_bootstrap: str
    broker: LocalBroker | None = None
    proxy: Proxy | None = None

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})


@dataclass(slots=True)
class Bed:
    """One case's own; `recoveries` and `problems` are what it finds out."""

    name: str
    options: Options
    ground: Ground
    directory: Path
    overrides: tuple[str, ...] = ()
    random: random.Random = field(init=False)
    settings: Settings = field(init=False)
    load: Load = field(init=False)
    watch: Watch = field(init=False)
    posts: list[Post] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    audited: bool = True
    """Whether the audit at the end is what judges."""
    until: auditing.Until = "now"
    """Up to where everything must be answered at the end."""
    recompute: auditing.Recompute | None = None
    """What the audit compares with, if not with what the settings give from nothing."""
    counted: bool = True
    """Whether the input still has all that was sent."""
    _prefix: str = field(init=False)
    _setup: Setup = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.options.seed} {self.name}")
        self._prefix = f"{self.name}-{self.options.seed}-{time.monotonic_ns() % 1_000_000}-"
        self.change()
        topics.create(self.settings.kafka, self.settings.topics)
        self.load = Load(self.settings, self.options.seed, self.options.sources, self.options.rate)
        self.watch = Watch(self.settings)

    @property
    def broker(self) -> LocalBroker:
        assert self.ground.broker is not None, "the case needs a broker of its own"
        return self.ground.broker

    @property
    def proxy(self) -> Proxy:
        assert self.ground.proxy is not None, "the case asked for no proxy"
        return self.ground.proxy

    # What cases do.

    def post(
        self,
        worker: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        keep: bool = True,
        name: str | None = None,
        start: bool = True,
    ) -> Post:
        """A started service under this worker.id; with `keep` started anew when it ends unasked."""
        flags = [*self._setup.flags, "--set", f"worker.id={worker}", "--only", "detection"]
        post = Post(name or worker, flags, arguments, self.directory, keep=keep)
        self.posts.append(post)
        if start:
            post.start(environment)
        return post

    def change(self, *overrides: str) -> None:
        """Other settings for the posts, commands and audits that come."""
        self.overrides += overrides
        partitions = self.options.partitions
        own, service = (
            Setup.of(bootstrap, self._prefix, *self.overrides, partitions=partitions)
            for bootstrap in (self.ground.bootstrap, self.ground.service_bootstrap)
        )
        self.settings, self._setup = own.settings, service

    def command(
        self, *words: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`anomalyd` with these words and the bed's settings, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "service", *words, *self._setup.flags],
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def succeeds(self, *words: str) -> bool:
        """Whether the command does, tried anew while the group still counts a worker that is gone."""
        deadline = time.monotonic() + _SESSION_OVER_S
        while (done := self.command(*words)).returncode:
            if time.monotonic() > deadline or _STOP_FIRST not in done.stderr:
                self.problems.append(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-500:]}")
                return False
            self.pause(0.5)
        return True

    def refuses(self, post: Post, *words: str) -> bool:
        """Whether the service, once started, ends by itself and the last that it says has these words."""
        post.keep = False
        ends = len(post.ends)
        post.start()
        end = post.wait_for_end(ends, PATIENCE_S)
        if end is None:
            self.problems.append(f"{post.name} goes on, it should refuse: {', '.join(words)}")
            return False
        said = post.said_before_the_end(ends)
        self.expect(end.code == 1, f"{post.name} refused with exit code {end.code}")
        missing = [word for word in words if word not in said]
        self.expect(not missing, f"{post.name} ended with {end.code}, not saying {missing}: {said}")
        self.notes.append(said)
        post.keep = True
        return not missing

    def set_offsets(self, offsets: Mapping[int, int]) -> bool:
        """Set the group's offsets by hand, as soon as the cluster lets somebody who is no member do it."""
        topic = self.settings.topics.name("data_points")
        wanted = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        group = self.settings.kafka.group_id
        admin = self.ground.admin

        def set_() -> bool:
            request = ConsumerGroupTopicPartitions(group, wanted)
            try:
                answer = admin.alter_consumer_group_offsets([request])[group].result(10.0)
            except KafkaException:
                return False
            return all(tp.error is None for tp in answer.topic_partitions or [])

        return self.look(set_, "the group's offsets can be set")

    def delete_records(self, below: Mapping[int, int], role: str = "data_points") -> None:
        """Have the topic begin at these offsets, as retention does."""
        topic = self.settings.topics.name(role)
        wanted = [TopicPartition(topic, number, offset) for number, offset in below.items()]
        admin = self.ground.admin  # held until all is done: a client that is collected fails its requests
        for future in admin.delete_records(wanted).values():
            future.result(30.0)
        self.counted = False

    def committed(self) -> dict[int, int]:
        return committed_offsets(self.settings.kafka, self.settings.topics.name("data_points"))

    def under_load(self, worker: str = "a", *arguments: str) -> Post:
        """A service at work: the load runs and every partition has results."""
        post = self.post(worker, *arguments)
        self.load.start()
        self.wait_for_results(_FIRST_S)
        return post

    def wait_for_results(self, patience_s: float = PATIENCE_S) -> None:
        """Until every partition has a result that was not there."""
        self.recovered(time.monotonic(), patience_s, counts=False)

    def recovered(
        self,
        since: float,
        patience_s: float = PATIENCE_S,
        partitions: set[int] | None = None,
        *,
        counts: bool = True,
    ) -> float | None:
        """Wait for the first new result of each partition; seconds from `since`, noted if it `counts`."""
        self.pause(_SETTLE_S)
        ends = {n: end for n, end in self._ends().items() if partitions is None or n in partitions}
        seen = self.watch.wait_for(ends, patience_s)
        if seen is None:
            stalled = self.watch.stalled(ends)
            self.problems.append(f"no results of partitions {stalled} for {patience_s:.0f} s after a fault")
            return None
        if counts:
            self.recoveries.append(seen - since)
        return seen - since

    def fault(
        self, act: Callable[[], object], partitions: set[int] | None = None, patience_s: float = PATIENCE_S
    ) -> float | None:
        """Do it, and wait until work goes on; seconds from its beginning."""
        began = time.monotonic()
        act()
        return self.recovered(began, patience_s, partitions)

    def refill(self) -> None:
        """A new load into the input topic as it is now, beside the one that was stopped."""
        self.load.stop()
        self.load = Load(self.settings, self.options.seed + 1, self.options.sources, self.options.rate)
        self.load.start()

    def pause(self, seconds: float) -> None:
        Event().wait(seconds)

    def look(self, done: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> bool:
        """Look until it is so; not in time is a problem."""
        deadline = time.monotonic() + patience_s
        while not done():
            if time.monotonic() > deadline:
                self.problems.append(f"after {patience_s:.0f} s still not: {what}")
                return False
            self.pause(0.05)
        return True

    def expect(self, fine: bool, otherwise: str) -> None:
        if not fine:
            self.problems.append(otherwise)

    def stop(self, post: Post) -> End | None:
        """SIGTERM; anything but a clean exit in time is a problem."""
        began = time.monotonic()
        end = post.stop()
        if end is None:
            self.problems.append(f"{post.name} did not stop within 30 s of SIGTERM")
        elif end.code != 0:
            self.problems.append(f"{post.name} ended with {end.code} after SIGTERM")
        else:
            self.expect(end.at - began < 30.0, f"{post.name} took {end.at - began:.0f} s to stop")
        return end

    # What the program does around them.

    def finish(self) -> Report | None:
        """1. end the load 2. wait until everything is answered 3. stop the service 4. audit."""
        sent = self.load.stop()
        self.problems += [f"load: {lost}" for lost in self.load.lost]
        try:
            if self.audited and self.until == "now":
                if self.posts and not any(post.alive for post in self.posts):
                    self.posts[0].start()
                self.look(lambda: self.lag() == 0, "the lag is 0")
            for post in self.posts:
                if post.alive:
                    self.stop(post)
            if not self.audited:
                return None
            report = self.audit()
        except AnomalydError as error:
            self.problems.append(str(error))
            return None
        if self.until == "now" and self.counted:
            self._compare(report.total("records"), sent)
        return report

    def _compare(self, arrived: int, sent: int) -> None:
        """Hold what the input has against what was sent; each of them has been audited.

        With a new producer id after a broker's death the sender's client writes again what it is not sure of.
        """
        self.expect(arrived >= sent, f"{arrived} of {sent} records arrived")
        if arrived > sent:
            self.notes.append(f"the sender's client wrote {arrived - sent} records twice")

    def audit(self, settings: Settings | None = None) -> Report:
        """What an outside reader finds wrong; every result of these settings' model is computed again."""
        settings = settings or self.settings
        return auditing.audit(
            settings.kafka,
            settings.topics,
            settings.publish,
            auditing.Scope(until=self.until),
            self.recompute or recomputing(settings),
        )

    def close(self) -> None:
        """Leave nothing running, however the case ended."""
        for post in self.posts:
            post.stop()
        self.load.stop()
        self.watch.close()

    def lag(self) -> int:
        """Records that the group has not committed yet."""
        topic = self.settings.topics.name("data_points")
        committed = committed_offsets(self.settings.kafka, topic)
        return sum(
            span.stop - max(committed[number], span.start)
            for number, span in spans_of(self.settings.kafka, topic).items()
        )

    def _ends(self) -> dict[int, int]:
        """Where results end; asked again while the cluster is not all there."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.watch.ends()
            except AnomalydError:
                if time.monotonic() > deadline:
                    raise
                self.pause(0.2)
