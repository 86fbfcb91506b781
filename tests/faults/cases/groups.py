"""Members of the group come and go, or claim to be each other."""

from __future__ import annotations

import time
from functools import partial

from tests.faults.bed import Bed
from tests.faults.matrix import case
from tests.faults.post import Post

_PHASE_S = 10.0


@case("rebalance", "from one process to four and back, every ten seconds")
def rebalance(bed: Bed) -> None:
    first = bed.under_load("a")
    others = [bed.post(worker) for worker in ("b", "c", "d")]
    until = time.monotonic() + 60.0 * bed.options.minutes
    while time.monotonic() < until:
        began = time.monotonic()
        for post in others:
            if not post.alive:
                post.start()
        shared = partial(_each_has_some, [first, *others])
        if not bed.look(shared, "each of four processes has partitions"):
            return
        _note_gap(bed, began)
        began = time.monotonic()
        for post in others:
            bed.stop(post)
        bed.look(lambda: len(first.partitions()) == bed.options.partitions, "one process has all partitions")
        _note_gap(bed, began)


def _each_has_some(posts: list[Post]) -> bool:
    return all(post.partitions() for post in posts)


def _note_gap(bed: Bed, since: float) -> None:
    """Let it go on for a while; the longest stillness of a partition is what the change cost."""
    bed.pause(_PHASE_S)
    bed.recoveries.append(bed.watch.longest_gap(since))


@case("same-id", "a second process with the same worker.id: the older one ends")
def same_id(bed: Bed) -> None:
    bed.under_load("a")
    older = bed.posts[0]
    for round_ in range(3):
        # Nobody starts the older one anew: the two would go on fencing each other off.
        older.keep = False
        ends = len(older.ends)
        began = time.monotonic()
        newer = bed.post("a", name=f"a-again-{round_}")
        end = older.wait_for_end(ends, 60.0)
        if end is None:
            bed.problems.append("the older process with the same worker.id goes on")
            bed.stop(older)
        else:
            bed.expect(end.code not in (0, 2), f"the older process ended with {end.code}")
        bed.recovered(began)
        bed.expect(newer.alive and not newer.ends, "the newer process ended, too")
        bed.fault(newer.kill)  # what the older one left behind is what it goes on from
        older = newer
