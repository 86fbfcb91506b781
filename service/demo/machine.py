"""This machine's own metrics as data points, taken from psutil once a second."""

from __future__ import annotations

import json

import psutil

SOURCE_ID = "this-machine"


class MachineMeter:
    """CPU per core and memory in percent, disk and network in bytes per second."""

    def __init__(self, now: float) -> None:
        psutil.cpu_percent(percpu=True)  # the first call only sets the mark
        self._at = now
        self._totals = _totals()

    def read(self, now: float) -> bytes:
        """A data point for the time since the last one; `now` is in epoch seconds."""
        seconds = max(now - self._at, 1e-3)
        totals = _totals()
        values = {f"cpu_{i}_percent": used for i, used in enumerate(psutil.cpu_percent(percpu=True))}
        values["memory_percent"] = psutil.virtual_memory().percent
        for name, total in totals.items():
            values[f"{name}_bytes_per_second"] = round((total - self._totals[name]) / seconds, 1)
        self._at, self._totals = now, totals
        return json.dumps(
            {
                "sourceId": SOURCE_ID,
                "timestamp": int(now * 1000),
                "values": values,
                "labels": {"kind": "machine"},
            }
        ).encode()


def _totals() -> dict[str, int]:
    totals: dict[str, int] = {}
    if disk := psutil.disk_io_counters():  # some containers show none
        totals |= {"disk_read": disk.read_bytes, "disk_write": disk.write_bytes}
    if network := psutil.net_io_counters():
        totals |= {"network_in": network.bytes_recv, "network_out": network.bytes_sent}
    return totals
