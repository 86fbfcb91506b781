"""Latency under a steady rate: a paced sender here, a reader of results in a process of its own.

From the moment that a point is stamped and handed to the producer to the moment that a `read_committed`
reader has its result in hand, both by this machine's clock.
"""

from __future__ import annotations

import time

import numpy as np

from service.bench.backlog import Fleet, Sender, Told
from service.bench.cases import Case, Load
from service.bench.child import Child, Given
from service.bench.statistics import Figures, latency_figures

_TICK_S = 0.002
_LINGER_MS = 5.0  # as Kafka's producers do by default; with 1 the broker had five hundred requests a second
_LOOKED_AT_PER_SECOND = 10_000
_READY_S = 60.0
_REPORT_S = 60.0


def measure(given: Given, case: Case, load: Load, told: Told) -> Figures:
    """Quantiles under one rate; the service runs and is ready."""
    settings = given.settings()
    every = -(-load.rate // _LOOKED_AT_PER_SECOND)
    task = {**given.told(), "every": every}
    with Child("reader", task) as reader:
        reader.wait_for("ready", _READY_S)
        sender = Sender(settings.kafka, settings.topics.name("data_points"), _LINGER_MS)
        began, ended = pace(sender, case, load, told)
        reader.tell(stop=True)
        read = reader.wait_for("read", _REPORT_S)
    start_ms, end_ms = (began + load.warm_s) * 1000.0, ended * 1000.0
    return latency_figures(
        np.array(read["sent_ms"]),
        np.array(read["read_ms"]),
        rate=load.rate,
        start_ms=start_ms,
        end_ms=end_ms,
        sent_per_second=int(load.rate * load.seconds) / (ended - began),
        every=every,
    )


def pace(sender: Sender, case: Case, load: Load, told: Told) -> tuple[float, float]:
    """Send at the rate, each point stamped as it goes; when the first and the last went, in epoch seconds."""
    count = int(load.rate * load.seconds)
    fleet = Fleet(case)
    ready = [
        (number, tail)  # made beforehand: what is left to do must keep up with the rate
        for _, order, tails in fleet.steps(count)
        for number, tail in zip(order, tails, strict=True)
    ]
    newest = [0] * case.sources
    sent, began, clock = 0, time.time(), time.monotonic()
    while sent < count:
        due = min(int((time.monotonic() - clock) * load.rate) + 1, count)
        now_ms = int(time.time() * 1000)
        for number, tail in ready[sent:due]:
            # Twice in a millisecond would be a duplicate to the service.
            time_ms = newest[number] = max(now_ms, newest[number] + 1)
            sender.send(fleet.keys[number], b"%b%d%b" % (fleet.heads[number], time_ms, tail), time_ms)
        sent = due
        sender.turn()
        told(sent)
        time.sleep(_TICK_S)  # a steady rate is made of waiting
    ended = time.time()
    sender.finish()
    return began, ended
