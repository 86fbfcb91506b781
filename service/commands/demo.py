"""`anomalyd demo`: a local Kafka, live data, the whole service, alerts on the terminal, a verdict."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from service import app as composition
from service import logs
from service.clock import SystemClock
from service.demo import show
from service.demo.fleet import FAULTS, Fleet
from service.demo.traffic import Traffic
from service.demo.verdict import judge
from service.errors import AnomalydError
from service.settings import Settings, load
from service.stopping import stopped_by_signals
from service.stream import topics
from service.stream.feeding import PointProducer
from service.stream.local_broker import LocalBroker
from service.stream.reading import read_all
from service.wire.anomaly import Anomaly

app = typer.Typer()

_POINTS_PER_SOURCE = 6_500
# One point in 50,000: the faults begin once every source has history enough to claim that.
_FALSE_ALARMS = 2e-5
_SETTLE_S = 60.0


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=10, help="How long the data flows.")] = 60.0,
    sources: Annotated[int, typer.Option(min=FAULTS, max=1000, help="Simulated pumps.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another fleet and other faults.")] = 1,
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep broker and service running until Ctrl-C.")
    ] = False,
) -> None:
    """Start a local Kafka, feed it this machine's metrics and a fleet with planted faults, and find them."""
    console = Console()
    logs.configure("warning")

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        with console.status("Fetching Apache Kafka (the first time only)") as status:
            broker = LocalBroker(progress=status.update)
            broker.start()
        try:
            _Demo(
                console, broker.bootstrap_servers, Fleet(sources, _POINTS_PER_SOURCE, seed), seconds, stay
            ).run()
        finally:
            broker.stop()
    except KeyboardInterrupt:
        console.print("\nStopped; broker and data are gone.")
        return
    console.print("Broker and data are gone.")


def demo_settings(bootstrap: str) -> Settings:
    """The settings of the demo's service: all defaults but these."""
    return load(
        environment={},
        overrides=[
            f"kafka.bootstrap_servers={bootstrap}",
            "kafka.group_id=anomalyd-demo",
            "worker.id=demo",
            "http.port=0",
            f"detection.false_alarms={_FALSE_ALARMS}",
            "alerting={channels: {terminal: {type: terminal, stream: stdout}}}",
        ],
    )


class _Demo:
    """The service in the main thread, which hears the signals; traffic and progress in another."""

    def __init__(self, console: Console, bootstrap: str, fleet: Fleet, seconds: float, stay: bool) -> None:
        self._console = console
        self._settings = demo_settings(bootstrap)
        self._fleet = fleet
        self._seconds = seconds
        self._stay = stay
        self._clock = SystemClock()
        self._ended = threading.Event()
        self._failure: AnomalydError | None = None

    def run(self) -> None:
        settings, fleet = self._settings, self._fleet
        topics.create(settings.kafka, settings.topics)
        producer = PointProducer(settings.kafka, settings.topics.name("data_points"))
        traffic = Traffic(fleet, producer, self._seconds, self._clock)
        service = composition.Service(settings)
        director = threading.Thread(target=self._direct, args=(service, traffic), name="director")
        began = self._clock.monotonic()
        director.start()
        try:
            with stopped_by_signals(service):
                service.run()
        finally:
            self._ended.set()
            traffic.stop()
            director.join()
        if self._failure is not None:
            raise self._failure
        if traffic.sent < traffic.total:
            raise KeyboardInterrupt
        anomalies = [
            Anomaly.parse(body)
            for message in read_all(settings.kafka, settings.topics.name("anomalies"))
            if (body := message.value()) is not None
        ]
        verdict = judge(fleet, traffic.first_ms, anomalies)
        show.verdict(
            self._console,
            verdict,
            sources=len(fleet.source_ids),
            points=traffic.sent + traffic.machine_points,
            machine_points=traffic.machine_points,
            seconds=self._clock.monotonic() - began,
        )
        show.look_further(self._console, settings.kafka.bootstrap_servers)
        self._console.print(
            "  [dim]anomalyd demo --stay keeps the broker; anomalyd broker starts one of its own[/]"
        )

    def _direct(self, service: composition.Service, traffic: Traffic) -> None:
        """1. wait until ready 2. let data flow 3. wait for the last result and alert 4. stop."""
        console, bootstrap = self._console, self._settings.kafka.bootstrap_servers
        try:
            with console.status(
                "Starting the service (the first start compiles its kernels: up to a minute)"
            ):
                self._wait(lambda: service.unready() is None, 300.0, "the service was not ready in time")
            if self._ended.is_set():
                return
            console.print(
                f"[bold]Apache Kafka[/] at {bootstrap}, metrics at {service.url}/metrics. Data flows: "
                f"this machine every second, {len(self._fleet.source_ids)} pumps faster than real time.",
                highlight=False,
            )
            if self._stay:
                show.look_further(console, bootstrap)
            traffic.start()
            scored = TextColumn("{task.completed:,.0f} points scored")
            columns = (TextColumn("{task.description}"), BarColumn(), scored, TimeElapsedColumn())
            with Progress(*columns, console=console, transient=True) as bar:
                task = bar.add_task("detecting", total=traffic.total)

                def all_told() -> bool:
                    bar.update(task, completed=service.points_done)
                    return traffic.finished.is_set() and self._all_done(service, traffic)

                self._wait(all_told, self._seconds + _SETTLE_S, "the service did not keep up")
            if self._stay and not self._ended.is_set():
                console.print("Staying; Ctrl-C ends it.")
                self._ended.wait()
        except AnomalydError as error:
            self._failure = error
        finally:
            service.stop()

    def _all_done(self, service: composition.Service, traffic: Traffic) -> bool:
        return service.points_done >= traffic.sent + traffic.machine_points and service.alerts_done

    def _wait(self, done: composition.Condition, timeout_s: float, what: str) -> None:
        deadline = self._clock.monotonic() + timeout_s
        while not done() and not self._clock.wait(self._ended, 0.1):
            if self._clock.monotonic() > deadline:
                raise AnomalydError(what)
