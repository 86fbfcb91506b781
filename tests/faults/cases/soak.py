"""A fault every 20 to 60 seconds for as long as wanted; memory and file handles stay flat."""

from __future__ import annotations

import signal
import time

import psutil

from tests.faults.bed import Bed
from tests.faults.matrix import case
from tests.faults.post import Post

_ZOMBIE_S = 13.0  # over twice the session
_MORE_BYTES, _MORE_HANDLES = 64 << 20, 20


@case("soak", "a fault every 20 to 60 s, of every kind that one process can suffer")
def soak(bed: Bed) -> None:
    victim = bed.under_load("a")
    witness = bed.post("b")
    bed.look(lambda: bool(victim.partitions()) and bool(witness.partitions()), "both have partitions")
    until = time.monotonic() + 60.0 * bed.options.minutes
    sizes: list[tuple[int, int]] = []
    while time.monotonic() < until:
        for _ in range(int(bed.random.uniform(20.0, 60.0))):
            bed.pause(1.0)
            sizes.append(_size(witness))
        fault = bed.random.choice(("kill", "stop", "zombie"))
        if fault == "kill":
            recovered = bed.fault(victim.kill)
        elif fault == "stop":
            end = bed.stop(victim)
            victim.start()
            recovered = bed.recovered(end.at if end is not None else time.monotonic())
        else:
            victim.send(signal.SIGSTOP)
            began = time.monotonic()
            recovered = bed.recovered(began)
            bed.pause(max(began + _ZOMBIE_S - time.monotonic(), 0.0))
            victim.send(signal.SIGCONT)
        if recovered is None:
            return
    bed.expect(not witness.ends, f"the process that nobody touched ended: {witness.ends}")
    third = max(len(sizes) // 3, 1)
    (early, handles), (late, more_handles) = (
        [max(column) for column in zip(*part, strict=True)] for part in (sizes[:third], sizes[-third:])
    )
    bed.notes.append(
        f"untouched process: {early >> 20} then {late >> 20} MiB, {handles} then {more_handles} handles"
    )
    bed.expect(late < 1.3 * early + _MORE_BYTES, f"memory grew from {early >> 20} to {late >> 20} MiB")
    bed.expect(more_handles < handles + _MORE_HANDLES, f"handles grew from {handles} to {more_handles}")


def _size(post: Post) -> tuple[int, int]:
    """Memory in bytes and open files."""
    process = psutil.Process(post.pid)
    return int(process.memory_info().rss), int(process.num_fds())
