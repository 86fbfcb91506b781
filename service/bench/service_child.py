"""The measured process: the service as `anomalyd run --only detection` has it, with a past, and watched.

Started by the benchmark; see `child`. The watcher looks from a thread of its own: rarely, and often only near
the two marks, for asking the service how far it is takes a quarter of a millisecond of the same interpreter.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from service import allocator, logs
from service import app as composition
from service.bench.cases import WARM_SHARE
from service.bench.child import Given, answer, forget_peak, own_peak_bytes, task, when_asked_to_stop
from service.bench.signal import sources_of, value_names
from service.bench.statistics import Metric, Sample, ServiceCounts, Throughput
from service.bench.steady_state import prefill
from service.pipeline import DetectionPipeline
from service.stopping import stopped_by_signals

_LOOK_S = 0.05
_NEAR_S, _FAR_S = 0.004, 1.0


class _Watch:
    """Tells the parent when the service is ready, and what it did between the two marks."""

    def __init__(self, service: composition.Service, asked: Mapping[str, Any], batch: int) -> None:
        self._service = service
        self._points: int = asked["points"]
        self._backlog: int = asked["backlog"]
        self._batch = batch
        self.failed = False
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            self._until_ready()
            if self._points:
                self._measure()
        except _Ended:
            return
        except Exception:  # noqa: BLE001  the thread's outermost line
            traceback.print_exc()
            self.failed = True
            self._service.stop()

    def _until_ready(self) -> None:
        while self._service.unready() is not None:
            self._pause(_LOOK_S)
        answer("ready", url=self._service.url)

    def _measure(self) -> None:
        warm = int(WARM_SHARE * self._points)
        self._reach(warm)
        before = self._counts()
        start = self._next_commit()
        # As many points as asked for, however late this thread came to see that the warm ones were done.
        end = self._reach(start.points + self._points - warm)
        after = self._counts()
        peak = own_peak_bytes()
        state = self._state()
        answer(
            "measured",
            **Throughput.between(start, end).figures(),
            stages=after.stages_since(before),
            scored_share=after.scored_share_since(before),
            snapshots=after.snapshots - before.snapshots,
            peak_rss_bytes=max(peak, own_peak_bytes()),
            **state,
        )

    def _reach(self, mark: int) -> Sample:
        """The sample of the first commit at or after `mark` points, or of the last one."""
        mark = min(mark, self._backlog)
        began, first = time.monotonic(), self._service.points_done
        while (done := self._service.points_done) < mark:
            speed = (done - first) / (time.monotonic() - began)
            left_s = (mark - self._batch - done) / speed if speed else _LOOK_S
            self._pause(min(max(left_s / 2, _NEAR_S), _FAR_S))
        return _now(done)

    def _next_commit(self) -> Sample:
        return self._reach(self._service.points_done + 1)

    def _pause(self, seconds: float) -> None:
        if self.ended.wait(seconds):
            raise _Ended

    def _counts(self) -> ServiceCounts:
        return ServiceCounts.of(self._metrics())

    def _state(self) -> dict[str, float]:
        """Sources and bytes of state, as the service counts them every few seconds."""
        while True:
            found = {name: value for name, labels, value in self._metrics() if not labels}
            if sources := found["anomalyd_sources"]:
                state = found["anomalyd_state_bytes"]
                return {"sources": sources, "state_bytes": state, "state_bytes_per_source": state / sources}
            self._pause(_LOOK_S)

    def _metrics(self) -> list[Metric]:
        return [
            (sample.name, sample.labels, sample.value)
            for family in self._service.registry.collect()
            for sample in family.samples
        ]


class _Ended(Exception):  # noqa: N818 - not a failure
    """The service is stopping; there is nothing more to watch."""


def _now(points: int) -> Sample:
    return Sample(points, time.monotonic(), time.process_time())


def main() -> None:
    """Serve until the parent has seen enough."""
    asked = task()
    settings = Given.of(asked).settings()
    logs.configure("warning", json=False)
    names = value_names(asked["values"])

    def prepare(pipeline: DetectionPipeline, partition: int) -> None:
        sources = sources_of(partition, asked["sources"], settings.topics.partitions)
        prefill(pipeline, sources, names, asked["before_ms"])
        allocator.give_back()
        forget_peak()

    service = composition.Service(settings, only="detection", prepare=prepare)
    watch = _Watch(service, asked, settings.stream.max_batch_records)
    watcher = threading.Thread(target=watch.run, name="watch")
    when_asked_to_stop(service.stop)
    watcher.start()
    try:
        with stopped_by_signals(service):
            service.run()
    finally:
        watch.ended.set()
        watcher.join()
    if watch.failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
