"""What a channel's worker needs of Kafka, in its own words; implemented in `service.stream.alert_topics`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the anomalies topic; `timestamp_s` is Kafka's own, the time of publishing."""

    partition: int
    offset: int
    timestamp_s: float
    value: bytes | None


class AssignmentListener(Protocol):
    """Is told, from inside `AnomalySource.poll` and `close`, which partitions come and go."""

    def assigned(self, partitions: Collection[int]) -> None:
        """They are this worker's now; called before any record of theirs is handed out."""

    def revoked(self, partitions: Collection[int]) -> None:
        """They are another worker's now, or nobody's."""


class AnomalySource(Protocol):
    """The anomalies topic, read as one member of the channel's consumer group."""

    def subscribe(self, listener: AssignmentListener) -> None: ...

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """The next records, none of them of an aborted transaction; empty where none came in time."""

    def pause(self) -> None:
        """Hand out no more records of any partition; polling goes on, so that the group keeps us."""

    def resume(self) -> None: ...

    def commit(self, offsets: Mapping[int, int]) -> bool:
        """Commit the next offset to read of each partition; false if the group is just rebalancing."""

    def close(self) -> None:
        """Leave the group."""


class DeliveryLog(Protocol):
    """The compacted deliveries topic."""

    def append(self, key: str, value: bytes) -> None:
        """Write a record; it stands once `flush` has returned."""

    def flush(self) -> None:
        """Wait until everything appended is acknowledged; raises if something is not."""

    def mark_end(self) -> None:
        """Remember where the topic ends now: `read_back` goes up to there."""

    def read_back(self, max_records: int, timeout_s: float) -> Sequence[tuple[str, bytes]] | None:
        """The next records in the topic since the last call, from its start on; `None` at the marked end."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """What one life of a worker opens and closes."""

    source: AnomalySource
    log: DeliveryLog

    def close(self) -> None:
        try:
            self.source.close()
        finally:
            self.log.close()
