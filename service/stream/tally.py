"""What the loop counts: batches as they are committed, and every few seconds lag and sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.stream.output import Output
from service.verdicts import STATUSES
from service.wire.anomaly import INCIDENT_CHANGES, SEVERITIES
from service.wire.data_point import Reason


class Tally:
    """Turns batches and pipelines into metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._scored = self._opened = 0
        self._evicted: dict[int, int] = {}
        self._show_from_the_start()

    def _show_from_the_start(self) -> None:
        """Give every known label its counter at 0: a rate over a first event would miss it otherwise."""
        metrics = self._metrics
        for status in STATUSES:
            metrics.points.labels(status)
        for reason in Reason:
            metrics.dead_letters.labels(str(reason))
        for severity in SEVERITIES:
            metrics.anomalies.labels(severity)
        for change in INCIDENT_CHANGES:
            metrics.incidents.labels(change)
        for outcome in ("committed", "aborted"):
            metrics.transactions.labels(outcome)
        for outcome in ("written", "failed"):
            metrics.snapshots.labels(outcome)

    def committed(self, output: Output, now: float) -> None:
        """A batch is visible since `now`, in epoch seconds."""
        metrics = self._metrics
        metrics.transactions.labels("committed").inc()
        metrics.latency_seconds.observe(max(now - output.oldest_ms / 1000.0, 0.0))
        metrics.batch_size.observe(sum(len(o) for o in output.outcomes))
        for status, n in _counts(STATUSES, (o.status for o in output.outcomes)):
            metrics.points.labels(status).inc(n)
            self._scored += n if status == "scored" else 0
        for reason, n in Counter(i.reason for i in output.invalid).items():
            metrics.dead_letters.labels(str(reason)).inc(n)
        told = [(o, list(o.anomalies)) for o in output.outcomes if o.anomalies]
        for severity, n in _counts(SEVERITIES, (o.severity[which] for o, which in told)):
            metrics.anomalies.labels(severity).inc(n)
        for change, n in _counts(("", *INCIDENT_CHANGES), (o.incident[which] for o, which in told)):
            metrics.incidents.labels(change).inc(n)
            self._opened += n if change == "opened" else 0
        for silence in (silence for o in output.outcomes for _, silence in o.silences):
            metrics.anomalies.labels(silence.severity.name.lower()).inc()
            metrics.incidents.labels(silence.incident.name.lower()).inc()
        if self._scored:
            metrics.alarm_rate.set(self._opened / self._scored)

    def lag(self, by_partition: Mapping[int, int]) -> None:
        for number, records in by_partition.items():
            self._metrics.consumer_lag.labels(str(number)).set(records)

    def sizes(self, pipelines: Mapping[int, DetectionPipeline]) -> None:
        metrics = self._metrics
        metrics.sources.set(sum(len(p.sources) for p in pipelines.values()))
        metrics.state_bytes.set(sum(p.state_bytes for p in pipelines.values()))
        if judged := sum(p.judged for p in pipelines.values()):
            metrics.false_alarm_budget.set(sum(p.promised for p in pipelines.values()) / judged)
        for number, pipeline in pipelines.items():
            metrics.silent_sources.labels(str(number)).set(pipeline.silent_sources)
            metrics.sources_evicted.inc(pipeline.sources.evicted - self._evicted.get(number, 0))
            self._evicted[number] = pipeline.sources.evicted

    def dropped(self, numbers: Collection[int]) -> None:
        """These partitions are no longer ours."""
        for number in numbers:
            self._evicted.pop(number, None)
            self._metrics.consumer_lag.labels(str(number)).set(0)
            self._metrics.silent_sources.labels(str(number)).set(0)


def _counts(names: Sequence[str], columns: Iterable[npt.NDArray[np.uint8]]) -> Iterator[tuple[str, int]]:
    """How often each name's index stands in the columns, where it does; larger numbers are no name's."""
    whole = np.zeros(256, np.int64)
    for column in columns:
        whole += np.bincount(column, minlength=256)
    return ((name, int(n)) for name, n in zip(names, whole, strict=False) if n)
