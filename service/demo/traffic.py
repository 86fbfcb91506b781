"""Feeds the demo: the fleet faster than real time and this machine once a second, into the input topic."""

from __future__ import annotations

import json
import threading

from service.clock import Clock
from service.demo import machine
from service.demo.fleet import STEP_MS, VALUES, Fleet
from service.stream.feeding import PointProducer

_TICK_S = 0.05


class Traffic:
    """A thread that sends until the fleet has told all; `sent` counts its points."""

    def __init__(self, fleet: Fleet, producer: PointProducer, seconds: float, clock: Clock) -> None:
        self._fleet = fleet
        self._producer = producer
        self._seconds = seconds
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self.sent = 0
        self.machine_points = 0
        self.total = fleet.points * len(fleet.source_ids)
        self.finished = threading.Event()
        # The fleet's last point is now, so its first lies as far back as the fleet is long.
        self.first_ms = int(clock.now() * 1000) - fleet.points * STEP_MS

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        clock, began = self._clock, self._clock.monotonic()
        meter = machine.MachineMeter(clock.now())
        rounds = self._fleet.rounds()
        pace = self._fleet.points / self._seconds
        told = 0
        next_reading = began + 1.0
        while told < self._fleet.points and not self._stop.is_set():
            due = min(int((clock.monotonic() - began) * pace) + 1, self._fleet.points)
            while told < due:
                point, values = next(rounds)
                self._send_round(point, values.tolist())
                told = point + 1
            if clock.monotonic() >= next_reading:
                next_reading += 1.0
                self._producer.send(machine.SOURCE_ID, meter.read(clock.now()))
                self.machine_points += 1
            clock.wait(self._stop, _TICK_S)
        self._producer.finish()
        self.finished.set()

    def _send_round(self, point: int, rows: list[list[float]]) -> None:
        time_ms = self.first_ms + point * STEP_MS
        for source_id, row in zip(self._fleet.source_ids, rows, strict=True):
            values = {name: round(number, 5) for name, number in zip(VALUES, row, strict=True)}
            body = {"sourceId": source_id, "timestamp": time_ms, "values": values, "labels": {"kind": "pump"}}
            self._producer.send(source_id, json.dumps(body).encode())
            self.sent += 1
