"""When a partition's snapshot is due, and the taking of it between two batches."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace

from service.clock import Clock
from service.history.table import lent
from service.metrics import Metrics
from service.pipeline import DetectionPipeline
from service.stream.snapshots.config import SnapshotsConfig
from service.stream.snapshots.form import About
from service.stream.snapshots.writer import SnapshotWriter, Written

_SHARE = 0.01  # of the time may go into saving a partition sooner than it has to be
_SHORTEST_S = 10.0  # between two of them, for want of records


@dataclass(slots=True)
class _Since:
    """What came after a partition's last snapshot, and when the newest that stands on the topic was taken."""

    about: About
    at: float
    standing_at: float
    records: int = 0
    deciding_s: float = 0.0
    written: Future[Written | None] | None = None

    def look(self) -> None:
        """See whether the last one stands by now; where it failed, the one before still counts."""
        if self.written is not None and self.written.done():
            if not self.written.cancelled() and self.written.result() is not None:
                self.standing_at = self.at
            self.written = None


class SnapshotTaker:
    """Counts what comes after each partition's last snapshot, and takes the next when it is due."""

    def __init__(
        self, config: SnapshotsConfig, writer: SnapshotWriter, metrics: Metrics, clock: Clock
    ) -> None:
        self._config, self._writer, self._metrics, self._clock = config, writer, metrics, clock
        self._since: dict[int, _Since] = {}

    def begin(self, about: About, offset: int, pipeline: DetectionPipeline) -> None:
        """A partition goes live at `offset`, restored from the snapshot that `about` is of."""
        self._writer.make_room(pipeline.saved_bytes)
        age_s = max(self._clock.now() - about.taken_ms / 1000.0, 0.0)
        at = self._clock.monotonic() - age_s
        self._since[about.partition] = _Since(about, at, at, offset - about.offset)

    def drop(self, partition: int) -> None:
        """The partition is no longer ours."""
        self._since.pop(partition, None)
        self._metrics.snapshot_age_seconds.remove_by_labels({"partition": str(partition)})

    def committed(self, partition: int, records: int, deciding_s: float) -> None:
        """So many records more are in the state and committed; deciding on them took so long."""
        since = self._since[partition]
        since.records += records
        since.deciding_s += deciding_s

    def due(self) -> int | None:
        """The partition whose snapshot is most due, where one is and the writer has rested from the last."""
        config = self._config
        if not self._writer.rested(config.writing_share):
            return None
        now = self._clock.monotonic()
        waiting = [
            (since.at, partition)
            for partition, since in self._since.items()
            if since.records
            and (
                now - since.at >= self._every_s(partition)
                or since.records >= config.every_records
                or since.deciding_s >= config.longest_replay
            )
        ]
        return min(waiting)[1] if waiting else None

    def _every_s(self, partition: int) -> float:
        """What is small is saved more often, so that there is less to replay."""
        return min(max(self._writer.seconds(partition) / _SHARE, _SHORTEST_S), self._config.every)

    def take(self, partition: int, pipeline: DetectionPipeline, offset: int, *, last: bool = False) -> None:
        """Have the state written, which is that at `offset`; nothing if nothing came since.

        It is copied, unless it is the partition's last, which is not worked on afterwards.
        """
        since = self._since[partition]
        if not since.records:
            return
        taken_ms = int(self._clock.now() * 1000)
        about = replace(since.about, offset=offset, generation=1, taken_ms=taken_ms)
        if last:
            written = self._writer.write(about, pipeline.state(lent))
        else:
            written = self._writer.save(about, pipeline.state)
        since.look()
        self._since[partition] = _Since(about, self._clock.monotonic(), since.standing_at, written=written)

    def show_ages(self) -> None:
        now = self._clock.monotonic()
        for partition, since in self._since.items():
            since.look()
            self._metrics.snapshot_age_seconds.labels(str(partition)).set(now - since.standing_at)
