"""Every metric of the service with its name, unit and labels; knows prometheus_client and nothing else.

One `Metrics` object is made by the composition root and handed to whoever counts; there is no global
registry, so tests and several services in one process never share a counter. The sourceId is never a
label: a million sources must not become a million series.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_STAGE_BUCKETS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_BATCH_BUCKETS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)


class Metrics:
    """The service's counters, gauges and histograms, each under its public name."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        r = self.registry
        # The stream.
        self.points = Counter(
            "anomalyd_points", "Input records by what became of them.", ["status"], registry=r
        )
        self.dead_letters = Counter(
            "anomalyd_dead_letters", "Records sent to the dead letters, by reason.", ["reason"], registry=r
        )
        self.anomalies = Counter(
            "anomalyd_anomalies", "Anomaly records published, by severity.", ["severity"], registry=r
        )
        self.incidents = Counter("anomalyd_incidents", "Incident changes, by change.", ["change"], registry=r)
        self.batch_size = Histogram(
            "anomalyd_batch_size_points", "Records per transaction.", buckets=_BATCH_BUCKETS, registry=r
        )
        self.stage_seconds = Histogram(
            "anomalyd_stage_duration_seconds",
            "Time a batch spends in each stage: decode, score, encode, commit (with producing); snapshot.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=r,
        )
        self.latency_seconds = Histogram(
            "anomalyd_end_to_end_latency_seconds",
            "From the Kafka timestamp of a batch's oldest record to the commit of its result.",
            buckets=_LATENCY_BUCKETS,
            registry=r,
        )
        self.consumer_lag = Gauge(
            "anomalyd_consumer_lag_records", "Records not yet scored.", ["partition"], registry=r
        )
        self.transactions = Counter(
            "anomalyd_transactions", "Kafka transactions, by outcome.", ["outcome"], registry=r
        )
        self.broker_up = Gauge("anomalyd_broker_up", "1 while the Kafka cluster answers.", registry=r)
        # State.
        self.sources = Gauge("anomalyd_sources", "Sources with history in memory.", registry=r)
        self.sources_evicted = Counter(
            "anomalyd_sources_evicted", "Sources forgotten to keep memory bounded.", registry=r
        )
        self.silent_sources = Gauge(
            "anomalyd_silent_sources",
            "Sources that have fallen silent against their own cadence.",
            ["partition"],
            registry=r,
        )
        self.state_bytes = Gauge("anomalyd_state_bytes", "Memory held by per-source state.", registry=r)
        # Snapshots.
        self.snapshots = Counter("anomalyd_snapshots", "Snapshots, by outcome.", ["outcome"], registry=r)
        self.snapshot_bytes = Gauge(
            "anomalyd_snapshot_bytes", "Size of the newest snapshot.", ["partition"], registry=r
        )
        self.snapshot_age_seconds = Gauge(
            "anomalyd_snapshot_age_seconds", "Time since the newest snapshot.", ["partition"], registry=r
        )
        self.snapshot_seconds = Histogram(
            "anomalyd_snapshot_duration_seconds",
            "From a snapshot's taking to its standing on the topic.",
            buckets=_LATENCY_BUCKETS,
            registry=r,
        )
        self.restore_seconds = Histogram(
            "anomalyd_restore_duration_seconds",
            "Time to bring a partition to where its group stands.",
            buckets=_LATENCY_BUCKETS,
            registry=r,
        )
        self.replayed_records = Counter(
            "anomalyd_replayed_records", "Input records run through again to restore.", registry=r
        )
        # The promise.
        self.false_alarm_budget = Gauge(
            "anomalyd_false_alarm_rate_promised_ratio", "Stated false alarms per point.", registry=r
        )
        self.alarm_rate = Gauge(
            "anomalyd_false_alarm_rate_achieved_ratio",
            "Incidents opened per scored point since start: an upper bound of the false-alarm rate.",
            registry=r,
        )
        # Alerts.
        self.alerts_sent = Counter(
            "anomalyd_alerts_sent", "Alerts that a channel accepted.", ["channel"], registry=r
        )
        self.alerts_failed = Counter(
            "anomalyd_alerts_failed", "Failed attempts to send, by reason.", ["channel", "reason"], registry=r
        )
        self.alerts_retried = Counter(
            "anomalyd_alerts_retried", "Attempts after the first.", ["channel"], registry=r
        )
        self.alerts_suppressed = Counter(
            "anomalyd_alerts_suppressed",
            "Anomalies that no alert was sent for, by cause.",
            ["channel", "reason"],
            registry=r,
        )
        self.alerts_dead = Counter(
            "anomalyd_alerts_dead", "Alerts given up, by reason.", ["channel", "reason"], registry=r
        )
        self.alerts_oldest_pending_seconds = Gauge(
            "anomalyd_alerts_oldest_pending_seconds",
            "Age of the oldest alert that is not yet delivered; 0 with none pending.",
            ["channel"],
            registry=r,
        )
        self.alert_worker_restarts = Counter(
            "anomalyd_alert_worker_restarts",
            "Times that a channel's worker started anew after a fault.",
            ["channel"],
            registry=r,
        )
        self.build = Gauge("anomalyd_build_info", "Always 1; what is running.", ["version"], registry=r)


class SupervisorMetrics:
    """What the supervisor of several workers counts itself; all else is the workers' own `Metrics`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        r = self.registry
        self.workers = Gauge("anomalyd_workers", "Worker processes that there should be.", registry=r)
        self.workers_up = Gauge("anomalyd_workers_up", "Worker processes that answer.", registry=r)
        self.worker_restarts = Counter(
            "anomalyd_worker_restarts",
            "Times that a worker process was started anew after its end.",
            ["worker"],
            registry=r,
        )


def total(counter: Counter) -> float:
    """The sum of a counter over all its labels."""
    return sum(
        sample.value
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    )
