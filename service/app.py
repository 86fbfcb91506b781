"""Composition root: settings to objects, start and stop order."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeVar

import numpy as np
from prometheus_client import CollectorRegistry

from service import __version__, allocator, logs
from service.alerting.worker import ChannelWorker
from service.clock import Clock, SystemClock
from service.detectors.model import Model
from service.detectors.model import load as load_model
from service.errors import UnansweredError
from service.features.engine import VECTOR_WIDTH
from service.http.server import HttpServer, make_app
from service.metrics import Metrics, total
from service.pipeline import DetectionConfig, DetectionPipeline
from service.settings import Settings
from service.stream import bulk, bulk_intake, topics
from service.stream.alert_topics import build_workers
from service.stream.clients import make_consumer, make_producer, make_snapshot_producer, producer_properties
from service.stream.cluster import ClusterState
from service.stream.hanging import HangWatch
from service.stream.lingering import FullRequest
from service.stream.output import Route
from service.stream.reading import reader_of
from service.stream.restoring import Restorer
from service.stream.runtime import Stopped, StreamRuntime
from service.stream.snapshots.cache import SnapshotCache
from service.stream.snapshots.taking import SnapshotTaker
from service.stream.snapshots.writer import SnapshotWriter
from service.stream.transaction import Transactions
from service.wire.limits import InputLimits
from service.wire.reader import RecordBatch, read
from service.wire.timestamps import MAX_TIME_MS

Only = Literal["detection", "alerting"]
Condition = Callable[[], bool]
Prepare = Callable[[DetectionPipeline, int], None]
T = TypeVar("T")

_LEAST_DRAIN_S = 1.0  # for the alerts in flight, where the batch has used up the time

_ASK_S = 5.0  # for the cluster to answer a question of the start
_IMPORT_AFTER_S = 3.0
_LEAVING_S = 3.0  # to leave the consumer groups and close clients

_log = logs.logger("app")


def warm(config: DetectionConfig) -> None:
    """Compile (or load from the cache) every kernel, so that the first record does not wait for it."""
    rng = np.random.default_rng(0)
    pipeline = DetectionPipeline(config)
    pipeline.ensemble.warm(rng.uniform(-0.5, 0.5, (256, VECTOR_WIDTH)))
    n = config.features.min_history_points + 4
    bodies = [b'{"sourceId":"warm","timestamp":%d,"values":%d}' % (i, i % 5) for i in range(n)]
    bodies.append(b'{"sourceId":"warm","timestamp":"2026-01-01T00:00:00Z","values":{"\\u0061":1}}')
    times = np.arange(len(bodies)) + MAX_TIME_MS // 2
    read_in = read(RecordBatch(bodies, [None] * len(bodies), {}, times, times), InputLimits())
    pipeline.process_read(read_in)
    bulk.warm()
    bulk_intake.warm()


def _settle() -> None:
    """Tune the interpreter for what comes after a start."""
    # What lives now lives to the end; leaving it out of collections saves pauses of 100 ms. A batch makes
    # tens of thousands of tuples that no cycle goes through: collecting every 700 took a third of the
    # time that making them takes.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    # Each kernel gives the interpreter away and waits for it again; while a model is fitted beside the
    # loop, that is a wait of up to this long, some thirty times a batch.
    sys.setswitchinterval(0.0005)


def longest_stop_s(settings: Settings) -> float:
    """How long a service goes on after `stop` if Kafka answers: batch, alerts, snapshots, leaving groups."""
    return settings.shutdown.drain + settings.shutdown.snapshots + _LEAVING_S


class Service:
    """The running service: detection loop in the calling thread, alert workers and HTTP beside it.

    `on_serving` is told the URL of metrics and health as soon as they are served.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        only: Only | None = None,
        clock: Clock | None = None,
        on_serving: Callable[[str], None] | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        """`prepare` gets each pipeline whose history begins, and its partition: benchmarks give it a past."""
        self._settings = settings
        self._only = only
        self._prepare = prepare
        self._clock = clock or SystemClock()
        self._on_serving = on_serving
        self._metrics = Metrics()
        self._metrics.build.labels(__version__).set(1)
        self._metrics.false_alarm_budget.set(settings.detection.false_alarms.per_point or float("nan"))
        self._runtime: StreamRuntime | None = None
        self._workers: list[ChannelWorker] = []
        # Models are fitted beside the loop, one at a time; kernels and the fit leave the lock to each other.
        self._fits = ThreadPoolExecutor(1, thread_name_prefix="fit")
        self._stop = threading.Event()
        self._stopped_at = 0.0
        self._started = False
        self._url = ""

    # What the probes ask.

    def unhealthy(self) -> str | None:
        if self._runtime is not None and not self._runtime.healthy:
            return "the detection loop makes no progress"
        if stuck := [worker.name for worker in self._workers if not worker.healthy]:
            return f"alert channels make no progress: {', '.join(stuck)}"
        return None

    def unready(self) -> str | None:
        if not self._started:
            return "starting"
        if self._runtime is not None and not self._runtime.ready:
            return "no partitions assigned, some not restored yet, or Kafka does not answer"
        return None

    # What whoever runs the service in its own process may watch.

    @property
    def url(self) -> str:
        """Where metrics and health are served; empty before `run`."""
        return self._url

    @property
    def registry(self) -> CollectorRegistry:
        """The metrics themselves, for whoever cannot wait for an answer over HTTP."""
        return self._metrics.registry

    @property
    def points_done(self) -> int:
        """Input records with a committed result or dead letter."""
        return round(total(self._metrics.points) + total(self._metrics.dead_letters))

    @property
    def alerts_done(self) -> bool:
        """Every published anomaly was sent, suppressed or given up by every channel."""
        metrics = self._metrics
        told = total(metrics.alerts_sent) + total(metrics.alerts_suppressed) + total(metrics.alerts_dead)
        return told >= total(metrics.anomalies) * len(self._workers)

    @property
    def longest_stop_s(self) -> float:
        return longest_stop_s(self._settings)

    # Life.

    def stop(self) -> None:
        """Ask the service to finish what it is doing and end; returns at once, from any thread."""
        if not self._stop.is_set():
            self._stopped_at = self._clock.monotonic()
            self._stop.set()

    def run(self) -> None:
        """Serve until `stop` is called.

        Raises:
            TopicsMissingError, ConfigurationError: cannot start like this.
            AnomalydError: ended by a fault; to be started anew.
        """
        settings = self._settings
        allocator.tune()
        http = HttpServer(make_app(self._metrics.registry, self), settings.http.host, settings.http.port)
        http.start()
        self._url = http.url
        _log.info("serving metrics and health", url=self._url)
        if self._on_serving is not None:
            self._on_serving(self._url)
        try:
            # Kernels are loaded while the cluster is asked: both take a quarter of a second at each start.
            warmed = None if self._only == "alerting" else self._warming()
            partitions = self._answer(
                lambda: topics.verify(settings.kafka, settings.topics, timeout_s=_ASK_S)
            )
            if partitions is not None:
                self._serve(partitions, warmed)
        finally:
            self._fits.shutdown(wait=False, cancel_futures=True)
            http.stop()

    def _warming(self) -> Future[None]:
        """`warm` in a thread that nobody waits for at the end."""
        _log.info("compiling kernels; the first start on a machine takes up to a minute")
        done: Future[None] = Future()

        def run() -> None:
            try:
                warm(self._settings.detection)
            except BaseException as error:  # noqa: BLE001  whoever waits raises it
                done.set_exception(error)
            else:
                done.set_result(None)

        threading.Thread(target=run, name="warm", daemon=True).start()
        return done

    def _serve(self, partitions: dict[str, int], warmed: Future[None] | None) -> None:
        settings = self._settings
        if self._only != "detection":
            self._workers = build_workers(
                settings.alerting,
                anomalies=settings.topics.name("anomalies"),
                deliveries=settings.topics.name("deliveries"),
                group_id=settings.kafka.group_id,
                kafka=settings.kafka.connection(),
                metrics=self._metrics,
                clock=self._clock,
            )
        for worker in self._workers:
            worker.start()
        try:
            if warmed is None:
                self._started = True
                self._stop.wait()
            else:
                self._detect(partitions, warmed)
        finally:
            for worker in self._workers:
                worker.stop(max(settings.shutdown.drain - self._stopping_s(), _LEAST_DRAIN_S))
            for worker in self._workers:
                if not worker.join():
                    _log.warning(
                        "channel did not finish in time; its alert is sent again at the next start",
                        channel=worker.name,
                    )
            _log.info("stopped")

    def _detect(self, partitions: dict[str, int], warmed: Future[None]) -> None:
        settings = self._settings
        model = None
        if settings.model.path:
            detection = settings.detection
            model = load_model(settings.model.path, detection.ensemble, detection.features)
        cluster = ClusterState(self._metrics, logs.logger("stream"))
        worker = settings.worker.id
        input_topic, dead_letters = settings.topics.name("data_points"), settings.topics.name("dead_letters")
        expected = self._answer(lambda: topics.identity(settings.kafka, input_topic, _ASK_S))
        largest = self._answer(lambda: topics.largest_message_bytes(settings.kafka, dead_letters, _ASK_S))
        if expected is None or largest is None:
            return
        writer, restorer = self._saving(model, expected)
        watch = HangWatch(
            self._clock,
            logs.logger("stream"),
            lambda: self._stopping_s() > settings.shutdown.drain + _LEAVING_S,
        )
        runtime = StreamRuntime(
            consumer=make_consumer(settings.kafka, worker, cluster.on_error),
            transactions=Transactions(
                lambda: make_producer(settings.kafka, worker, cluster.on_error),
                self._on_retry(cluster),
                watch,
                FullRequest.of(producer_properties(settings.kafka, worker)),
            ),
            restorer=restorer,
            snapshots=SnapshotTaker(settings.snapshots, writer, self._metrics, self._clock),
            writer=writer,
            route=Route.of(
                {role: settings.topics.name(role) for role in partitions},
                partitions,
                largest,
            ),
            config=settings.stream,
            limits=settings.input,
            publish=settings.publish,
            cluster=cluster,
            metrics=self._metrics,
            clock=self._clock,
            log=logs.logger("stream"),
        )

        def begin() -> None:
            warmed.result()
            runtime.still_turning()
            self._runtime = runtime
            self._started = True
            threading.Thread(target=self._import_late, name="import", daemon=True).start()
            _settle()

        watch.start()
        try:
            runtime.run(self._stop, begin)
        except Stopped:
            _log.warning("stopped while Kafka was away; the batch in flight will be read again")
        finally:
            watch.stop()
            if not writer.wait(settings.shutdown.snapshots):
                _log.warning("the last snapshots took too long; the next start replays more")
            writer.close()

    def _import_late(self) -> None:
        """Import what fits need once the start is over: it takes a second, and the start is in a hurry."""
        detectors = self._settings.detection.ensemble.detectors
        if not self._stop.wait(_IMPORT_AFTER_S):
            for module in filter(None, (detector.fits_with for detector in detectors)):
                importlib.import_module(module)

    def _saving(self, model: Model | None, expected: topics.TopicIdentity) -> tuple[SnapshotWriter, Restorer]:
        """What writes snapshots, and what takes them up again."""
        settings, kafka = self._settings, self._settings.kafka
        log = logs.logger("state")
        folder = settings.snapshots.cache
        cache = SnapshotCache(folder, kafka.group_id) if folder is not None else None
        topic, input_topic = settings.topics.name("snapshots"), settings.topics.name("data_points")
        writer = SnapshotWriter(
            lambda: make_snapshot_producer(kafka),
            topic,
            metrics=self._metrics,
            clock=self._clock,
            log=log,
            cache=cache,
        )
        restorer = Restorer(
            make_consumer=lambda: reader_of(kafka, group=kafka.group_id, skip_deleted=False),
            make_pipeline=lambda partition, born: self._pipeline(partition, born, model),
            at_birth=self._prepare or (lambda *_: None),
            model=self._pipeline(0, 0, model).model_version,
            identify=lambda: topics.identity(kafka, input_topic),
            expected=expected,
            group=kafka.group_id,
            input_topic=input_topic,
            snapshots_topic=topic,
            from_earliest=settings.stream.start_from == "earliest",
            writer=writer,
            limits=settings.input,
            metrics=self._metrics,
            clock=self._clock,
            log=log,
            cache=cache,
        )
        return writer, restorer

    def _stopping_s(self) -> float:
        """How long ago a stop was asked for; 0 if it was not."""
        return self._clock.monotonic() - self._stopped_at if self._stop.is_set() else 0.0

    def _pipeline(self, partition: int, born: int, model: Model | None) -> DetectionPipeline:
        return DetectionPipeline(
            self._settings.detection,
            topic=self._settings.topics.name("data_points"),
            partition=partition,
            model=model,
            executor=self._fits,
            born=born,
        )

    def _on_retry(self, cluster: ClusterState) -> Callable[[str], None]:
        """Told of each retriable failure of a transaction; gives up only when the service is to stop."""

        def waited(error: str) -> None:
            cluster.lost(error)
            if self._runtime is not None:
                self._runtime.still_turning()
            if self._stopping_s() > self._settings.shutdown.drain:
                raise Stopped

        return waited

    def _answer(self, ask: Callable[[], T]) -> T | None:
        """What the cluster answers, asked until it does; `None` if stopped before that.

        Raises:
            AnomalydError: it answered, and refused.
        """
        said = False
        while not self._stop.is_set():
            try:
                return ask()
            except UnansweredError as error:
                if not said:
                    _log.warning("Kafka does not answer; trying until it does", error=str(error))
                    said = True
                self._clock.wait(self._stop, 1.0)
        return None
