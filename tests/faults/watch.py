"""A reader of results that notes when which offset became visible: how long after a fault work goes on."""

from __future__ import annotations

import threading
import time
import uuid
from bisect import bisect_left
from itertools import pairwise
from typing import cast

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from service.settings import Settings
from service.stream.reading import spans_of


class Watch:
    """Reads the results topic from now on, `read_committed`, in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topics.name("detection_results")
        self._offsets: dict[int, list[int]] = {}
        self._times: dict[int, list[float]] = {}
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._consumer = Consumer(
            {
                **settings.kafka.connection(),
                "group.id": f"watch-{uuid.uuid4().hex}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 50,
                "log_level": 0,
            }
        )
        numbers = spans_of(settings.kafka, self._topic)
        self._consumer.assign([TopicPartition(self._topic, number, OFFSET_END) for number in numbers])
        for number in numbers:
            self._offsets[number], self._times[number] = [], []
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    @property
    def partitions(self) -> set[int]:
        return set(self._offsets)

    def ends(self) -> dict[int, int]:
        """Where each partition ends for a reader; results from there on are new."""
        return {number: span.stop for number, span in spans_of(self._settings.kafka, self._topic).items()}

    def wait_for(self, ends: dict[int, int], timeout_s: float) -> float | None:
        """When, on the monotonic clock, each of these partitions had something new; None if not in time."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while (seen := self._seen(ends)) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._news.wait(left)
        return seen

    def stalled(self, ends: dict[int, int]) -> list[int]:
        """Those of the partitions that have nothing new yet."""
        with self._news:
            return [n for n, end in ends.items() if not self._offsets[n] or self._offsets[n][-1] < end]

    def longest_gap(self, since: float) -> float:
        """The longest time for which some partition had nothing new, from then to now."""
        with self._news:
            gaps = []
            for times in self._times.values():
                seen = [since, *times[bisect_left(times, since) :], time.monotonic()]
                gaps.append(max(after - before for before, after in pairwise(seen)))
            return max(gaps)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _seen(self, ends: dict[int, int]) -> float | None:
        latest = 0.0
        for number, end in ends.items():
            i = bisect_left(self._offsets[number], end)
            if i == len(self._offsets[number]):
                return None
            latest = max(latest, self._times[number][i])
        return latest

    def _run(self) -> None:
        while not self._stop.is_set():
            newest: dict[int, int] = {}
            for message in self._consumer.consume(5_000, 0.05):
                if message.error() is None:
                    newest[cast(int, message.partition())] = cast(int, message.offset())
            if newest:
                now = time.monotonic()
                with self._news:
                    for number, offset in newest.items():
                        self._offsets[number].append(offset)
                        self._times[number].append(now)
                    self._news.notify_all()
