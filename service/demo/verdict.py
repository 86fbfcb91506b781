"""What was planted in the demo's fleet against what was told: read off the published records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from service.demo.fleet import STEP_MS, Fault, Fleet
from service.wire.anomaly import Anomaly
from service.wire.timestamps import parse_rfc3339


@dataclass(frozen=True, slots=True)
class Found:
    """A planted fault and the first incident owed to it; `None` if it was missed."""

    fault: Fault
    anomaly: Anomaly | None
    after_points: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """All planted faults, and the incidents on simulated sources that no fault explains."""

    faults: tuple[Found, ...]
    false_alarms: tuple[Anomaly, ...]

    @property
    def found(self) -> int:
        return sum(fault.anomaly is not None for fault in self.faults)


def judge(fleet: Fleet, first_ms: int, anomalies: Iterable[Anomaly]) -> Verdict:
    """Match incidents to faults: one is owed to a fault if it opened during it or ten points after."""
    opened = [
        (anomaly, (parse_rfc3339(anomaly.timestamp) - first_ms) // STEP_MS)
        for anomaly in anomalies
        if anomaly.incident == "opened" and anomaly.source_id in fleet.source_ids
    ]
    found, owed = [], set()
    for fault in fleet.faults:
        hits = [(a, at) for a, at in opened if a.source_id == fault.source_id and fault.holds(at)]
        owed |= {anomaly.id for anomaly, _ in hits}
        first = min(hits, key=lambda hit: hit[1], default=None)
        found.append(
            Found(fault, first[0], int(first[1] - fault.start)) if first else Found(fault, None, None)
        )
    return Verdict(tuple(found), tuple(a for a, _ in opened if a.id not in owed))
