"""The worker's ports on a topic in memory that outlives every session, as Kafka does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from service.alerting.deliveries import Delivery
from service.alerting.ports import AssignmentListener, Ports, Record
from service.clock import ManualClock


class Crash(BaseException):
    """The process is gone: nothing may catch this."""


class MemoryKafka:
    """One consumer group, one or more partitions, and the deliveries."""

    def __init__(self, clock: ManualClock, partitions: int = 1) -> None:
        self.clock = clock
        self.anomalies: list[list[tuple[float, bytes | None]]] = [[] for _ in range(partitions)]
        self.committed: dict[int, int] = {}
        self.log: list[tuple[str, bytes]] = []
        self.rebalancing = False
        self.flush_fails = False
        self.on_commit: Any = None
        self.polls = 0

    def publish(self, *records: Mapping[str, Any] | bytes | None, partition: int = 0) -> None:
        for item in records:
            body = item if item is None or isinstance(item, bytes) else json.dumps(item).encode()
            self.anomalies[partition].append((self.clock.now(), body))

    def open(self) -> Ports:
        return Ports(source=MemorySource(self), log=MemoryLog(self))

    @property
    def deliveries(self) -> list[Delivery]:
        return [Delivery.decode(value) for _, value in self.log]

    def outcomes(self) -> dict[str, str]:
        """By alert, the last outcome with its reason."""
        return {delivery.alert_id: f"{delivery.outcome}: {delivery.reason}" for delivery in self.deliveries}


class MemorySource:
    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self._listener: AssignmentListener | None = None
        self._position: dict[int, int] = {}
        self.paused = False
        self._joined = False

    def subscribe(self, listener: AssignmentListener) -> None:
        self._listener = listener

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        self._kafka.polls += 1
        if not self._joined:
            self._joined = True
            self.assign(range(len(self._kafka.anomalies)))
        records: list[Record] = []
        for partition, position in self._position.items():
            if self.paused:
                break
            found = self._kafka.anomalies[partition][position : position + max_records - len(records)]
            for offset, (timestamp_s, value) in enumerate(found, position):
                records.append(Record(partition, offset, timestamp_s, value))
            self._position[partition] += len(found)
        if not records:
            self._kafka.clock.advance(timeout_s)
        return records

    def assign(self, partitions: Any) -> None:
        assert self._listener is not None
        for partition in partitions:
            self._position[partition] = self._kafka.committed.get(partition, 0)
        self._listener.assigned(list(partitions))

    def revoke(self, partitions: Any) -> None:
        assert self._listener is not None
        for partition in partitions:
            del self._position[partition]
        self._listener.revoked(list(partitions))

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def commit(self, offsets: Mapping[int, int]) -> bool:
        if self._kafka.on_commit is not None:
            self._kafka.on_commit()
        if self._kafka.rebalancing:
            return False
        self._kafka.committed.update(offsets)
        return True

    def close(self) -> None:
        if self._listener is not None:
            self._listener.revoked(list(self._position))


class MemoryLog:
    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self._appended: list[tuple[str, bytes]] = []
        self._next = 0
        self._end = 0

    def append(self, key: str, value: bytes) -> None:
        self._appended.append((key, value))

    def flush(self) -> None:
        if self._kafka.flush_fails:
            raise OSError("no broker")
        self._kafka.log.extend(self._appended)
        self._appended.clear()

    def mark_end(self) -> None:
        self._end = len(self._kafka.log)

    def read_back(self, max_records: int, timeout_s: float) -> Sequence[tuple[str, bytes]] | None:
        del timeout_s  # what is in memory is there at once
        if self._next >= self._end:
            return None
        found = self._kafka.log[self._next : min(self._end, self._next + max_records)]
        self._next += len(found)
        return found

    def close(self) -> None:
        self._appended.clear()
