"""`anomalyd broker`: a local Apache Kafka for trying things."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from service.errors import AnomalydError
from service.stream.broker_ports import is_free
from service.stream.kafka_jars import Progress, kafka_version, silent
from service.stream.local_broker import LocalBroker

app = typer.Typer()

USUAL_PORT = 9092
LOOK_EVERY_S = 1.0


class _Stop(BaseException):
    """SIGINT or SIGTERM came; not an Exception, so that nothing on the way takes it for a failure."""


@app.command()
def broker(
    nodes: Annotated[
        int, typer.Option(min=1, max=9, help="Three replicate everything and survive the loss of one.")
    ] = 1,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65000, help="Node i listens on PORT + i. Default: 9092 if free, else any free ones."
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Keep the data there between runs. Default: deleted at the end.",
        ),
    ] = None,
) -> None:
    """Run a local Apache Kafka until Ctrl-C, and print its address; neither Java nor Docker is needed."""
    stderr = Console(stderr=True, highlight=False)
    try:
        with _raising_stop():
            _serve(nodes, _port(nodes, port), keep, stderr)
    except _Stop:
        if stderr.is_terminal:
            stderr.print("Kafka has stopped.")


def _serve(nodes: int, port: int | None, keep: Path | None, stderr: Console) -> NoReturn:
    with _progress(stderr) as progress:
        kafka = LocalBroker(nodes=nodes, port=port, data_dir=keep, progress=progress)
        kafka.start()
    try:
        sys.stdout.write(f"{kafka.bootstrap_servers}\n")
        sys.stdout.flush()
        if stderr.is_terminal:
            data = f"its data stays in {keep}" if keep else "its data goes when it stops"
            stderr.print(f"Apache Kafka {kafka_version()} is running, {data}; Ctrl-C stops it.")
        while True:
            time.sleep(LOOK_EVERY_S)  # the nodes are the supervisor's children: their end wakes nobody here
            for node in range(nodes):
                if (code := kafka.exit_code(node)) is not None:
                    raise AnomalydError(
                        f"Kafka's node {node} ended by itself ({code}):\n{kafka.log_tail(node)}"
                    )
    finally:
        kafka.stop()


def _port(nodes: int, asked: int | None) -> int | None:
    """The service looks on the usual port by default: with both at their defaults they meet."""
    if asked is None and all(is_free(USUAL_PORT + node) for node in range(nodes)):
        return USUAL_PORT
    return asked


@contextmanager
def _progress(stderr: Console) -> Iterator[Progress]:
    """On a terminal a line that changes; elsewhere nothing."""
    if not stderr.is_terminal:
        yield silent
        return
    with stderr.status("Looking for Apache Kafka") as status:
        yield status.update


@contextmanager
def _raising_stop() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        for each in before:  # what follows is short, and a second Ctrl-C must not cut it shorter
            signal.signal(each, signal.SIG_IGN)
        raise _Stop

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
