"""The way to Kafka fails while Kafka itself is well; only the service goes through the proxy."""

from __future__ import annotations

import time
from functools import partial

from tests.faults.bed import Bed
from tests.faults.matrix import case

_ROUNDS = 5


@case("links-cut", "every connection cut, for half a second to ten", kafka="behind a proxy")
def cut(bed: Bed) -> None:
    bed.under_load()
    for _ in range(_ROUNDS):
        bed.pause(bed.random.uniform(0.2, 1.5))
        bed.proxy.cut()
        bed.pause(bed.random.uniform(0.5, 10.0))
        if not _restored(bed):
            return


@case("links-delay", "every byte a fifth of a second to two seconds late", kafka="behind a proxy")
def delay(bed: Bed) -> None:
    bed.under_load()
    for seconds in (0.2, 0.5, 2.0):
        bed.fault(partial(bed.proxy.delay, seconds))
        bed.pause(8.0)
        if not _restored(bed):
            return


@case("links-lost-answers", "requests arrive, answers do not, from a random byte on", kafka="behind a proxy")
def lost_answers(bed: Bed) -> None:
    bed.under_load()
    for _ in range(_ROUNDS):
        bed.pause(bed.random.uniform(0.2, 1.5))
        bed.proxy.lose_answers(bed.random.randint(0, 20_000))
        bed.pause(bed.random.uniform(1.0, 8.0))
        if not _restored(bed):
            return


def _restored(bed: Bed) -> bool:
    bed.proxy.restore()
    return bed.recovered(time.monotonic()) is not None
