"""The alerts of one channel that are on their way, and which is to be tried now; pure, time comes in."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from service.alerting.alert import Alert
from service.wire.anomaly import Anomaly


@dataclass(slots=True, eq=False)
class Waiting:
    """One alert on its way, and the record that it came from.

    `decided_at` is the anomaly's own time; `published_at` is Kafka's, from which its age counts, so that
    a restart does not make it young again. Both are epoch seconds; `due` is on the monotonic clock.
    """

    anomaly: Anomaly
    partition: int
    offset: int
    decided_at: float
    published_at: float
    due: float = 0.0
    attempts: int = 0
    alert: Alert = field(init=False)

    def __post_init__(self) -> None:
        self.alert = Alert.of(self.anomaly)


class Outbox:
    """Alerts in the order in which they came.

    One that must wait does not hold up the others, except those of its own incident: nobody is told that
    something is over before they are told that it began.
    """

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._held_until = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: Waiting) -> None:
        self._waiting.append(waiting)

    def remove(self, waiting: Waiting) -> None:
        self._waiting.remove(waiting)

    def drop(self, partitions: Collection[int]) -> list[Waiting]:
        """Let go of the alerts from `partitions`; the dropped ones."""
        dropped = [waiting for waiting in self._waiting if waiting.partition in partitions]
        self._waiting = [waiting for waiting in self._waiting if waiting.partition not in partitions]
        return dropped

    def hold(self, until: float) -> None:
        """The destination wants nothing at all before `until`."""
        self._held_until = max(self._held_until, until)

    def ready(self, now: float) -> Waiting | None:
        """The first alert that may be tried at `now`."""
        if now < self._held_until:
            return None
        return next((waiting for waiting in self._heads() if waiting.due <= now), None)

    def wait_s(self, now: float) -> float | None:
        """Seconds until `ready` has one; `None` where nothing is waiting."""
        soonest = min((waiting.due for waiting in self._heads()), default=None)
        return None if soonest is None else max(0.0, max(soonest, self._held_until) - now)

    @property
    def oldest_published_at(self) -> float | None:
        return min((waiting.published_at for waiting in self._waiting), default=None)

    def _heads(self) -> Iterator[Waiting]:
        """The first of each incident, in order."""
        seen: set[str] = set()
        for waiting in self._waiting:
            if waiting.anomaly.group not in seen:
                seen.add(waiting.anomaly.group)
                yield waiting
