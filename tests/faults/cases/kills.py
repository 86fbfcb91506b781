"""The process dies: at random moments, at named ones, and with it comes whoever supervises."""

from __future__ import annotations

import signal
import time
from typing import cast

import psutil

from service.stream.crash_points import POINTS, VARIABLE, Point
from tests.faults.bed import Bed
from tests.faults.matrix import case
from tests.faults.post import Post

_REACHED_S = 45.0
_ONCE: frozenset[Point] = frozenset({"mid-snapshot", "mid-restore", "in-assign"})  # rare: at the first time


@case("kill", "kill -9 at random moments under load, some while it starts")
def kill(bed: Bed) -> None:
    post = bed.under_load()
    for _ in range(bed.options.kills):
        bed.pause(bed.random.uniform(0.0, 1.5))
        again_after_s = bed.random.uniform(0.0, 3.0) if bed.random.random() < 0.2 else None

        def act(again_after_s: float | None = again_after_s) -> None:
            post.kill()
            if again_after_s is not None:
                bed.pause(again_after_s)
                if post.alive:
                    post.kill()

        if bed.fault(act) is None:
            return


@case("kill-workers", "kill -9 of one of two workers under their supervisor, or of the supervisor")
def kill_workers(bed: Bed) -> None:
    post = bed.under_load("a", "--workers", "2")
    for i in range(bed.options.kills):
        bed.pause(bed.random.uniform(0.0, 1.5))
        whole = i % 10 == 9
        if bed.fault(post.kill if whole else lambda: _kill_worker(bed, post)) is None:
            return


def _kill_worker(bed: Bed, post: Post) -> None:
    workers = psutil.Process(post.pid).children()
    if not workers:
        return  # both are on their way
    bed.random.choice(workers).kill()


@case("kill-points", "kill -9 at each named point of the loop")
def kill_points(bed: Bed) -> None:
    post = bed.under_load()
    for point in POINTS:
        count = 1 if point in _ONCE else bed.random.randint(1, 40)
        if not die_at(bed, post, point, count):
            return


def die_at(bed: Bed, post: Post, point: Point, count: int) -> bool:
    """A life that ends at this point; false if it does not, or if nothing comes after it."""
    if point == "mid-restore":
        post.kill_for_good()  # so that there is something to replay
    else:
        bed.stop(post)
    ends = len(post.ends)
    post.start({VARIABLE: f"{point}:{count}"})
    end = post.wait_for_end(ends, _REACHED_S)
    if end is None:
        bed.problems.append(f"{point} was not reached in {_REACHED_S:.0f} s")
        return False
    bed.expect(end.code == -signal.SIGKILL, f"at {point} it ended with {end.code}")
    return bed.recovered(end.at) is not None


@case("sigterm", "SIGTERM under load: a clean exit within 30 s, and on from there with nothing to replay")
def sigterm(bed: Bed) -> None:
    post = bed.under_load()
    for _ in range(5):
        bed.pause(bed.random.uniform(0.5, 2.0))
        end = bed.stop(post)
        if end is None:
            return
        post.start()
        bed.recovered(end.at)
        replayed = sum(entry["replayed"] for entry in post.said("partition restored"))
        bed.expect(replayed == 0, f"{replayed:,} records were replayed after a clean exit")


@case("sigterm-no-broker", "SIGTERM while no broker answers: an end within 30 s all the same")
def sigterm_no_broker(bed: Bed) -> None:
    post = bed.under_load()
    bed.broker.kill_node(0)
    try:
        bed.pause(3.0)
        bed.stop(post)
    finally:
        bed.broker.start_node(0)
    post.start()
    bed.wait_for_results()


@case("zombie", "SIGSTOP for twice the session timeout while another takes over, then SIGCONT")
def zombie(bed: Bed) -> None:
    first = bed.under_load("a")
    second = bed.post("b")
    bed.look(lambda: bool(first.partitions()) and bool(second.partitions()), "both have partitions")
    session_s = _session_s(bed)
    for point in cast(tuple[Point | None, ...], (None, "before-commit", "after-produce", None)):
        if point is None:
            bed.pause(bed.random.uniform(0.0, 1.0))
            first.send(signal.SIGSTOP)
        else:
            bed.stop(first)
            first.start({VARIABLE: f"{point}:{bed.random.randint(5, 20)}:STOP"})
            if not bed.look(lambda: first.status == psutil.STATUS_STOPPED, f"stopped at {point}"):
                continue
        began = time.monotonic()
        bed.recovered(began)
        bed.pause(max(began + 2 * session_s - time.monotonic(), 0.0))
        first.send(signal.SIGCONT)
        bed.wait_for_results()
        bed.pause(1.0)
        bed.look(lambda: first.alive and bool(first.partitions()), "the stopped one has partitions again")


@case(
    "transaction-timeout",
    "stopped inside a transaction for longer than it may take, but not than the session",
    overrides=(
        "kafka.producer={transaction.timeout.ms: 3000}",
        "kafka.consumer={session.timeout.ms: 30000}",
    ),
)
def transaction_timeout(bed: Bed) -> None:
    post = bed.under_load()
    points: tuple[Point, ...] = ("after-produce", "after-send-offsets", "before-commit")
    for point in points:
        bed.stop(post)
        post.start({VARIABLE: f"{point}:{bed.random.randint(5, 20)}:STOP"})
        if not bed.look(lambda: post.status == psutil.STATUS_STOPPED, f"stopped at {point}"):
            continue
        bed.pause(6.0)
        bed.fault(lambda: post.send(signal.SIGCONT))


def _session_s(bed: Bed) -> float:
    given = bed.settings.kafka.consumer.get("session.timeout.ms", 6_000)
    return float(given) / 1000.0
