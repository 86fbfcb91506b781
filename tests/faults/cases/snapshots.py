"""Snapshots are not what was written, or do not lead to where the group stands: the right history or none."""

from __future__ import annotations

import signal
import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from service.stream.crash_points import VARIABLE
from service.stream.reading import read_all, spans_of
from service.stream.restoring import RefusedError
from tests.faults.bed import UPGRADE, Bed
from tests.faults.history import History
from tests.faults.matrix import case
from tests.faults.post import Post
from tests.faults.tampering import Log, astray, broken, generations_of, lay, logs_of
from tests.kafka.running import headers

_OLDER = "an older snapshot is used"
_ROUNDS = 3
_COMPACTED_S = 120.0
_ASTRAY_SHARE = 0.2
_BACK = 500  # records that the group is set back by
_PAST = 50  # records that are deleted before they are scored


@case("snapshots-corrupted", "bits flipped and records cut in snapshots, at last in all of them")
def corrupted(bed: Bed) -> None:
    restore_corrupted(bed, bed.options.corruptions)
    _start_with_corrupted(bed)


def restore_corrupted(bed: Bed, times: int) -> None:
    """So often: damage some of a partition's snapshots, restore, and compare with an uninterrupted life."""
    history = History(bed.ground.bootstrap, bed.random)
    generations = generations_of(history.log, 0)
    used = [0] * len(generations)
    admin = bed.ground.admin

    def judge(number: int, log: Log, expected: int | None) -> None:
        """`expected` is the offset of the snapshot that is to be used; None if any may be."""
        topic = f"{history.settings.topics.name('snapshots')}-{number}"
        lay(history.settings.kafka, topic, {0: log})
        restored = history.restored_from(topic)
        used[[each.about.offset for each in generations].index(restored.about.offset)] += 1
        if expected is not None and restored.about.offset != expected:
            bed.problems.append(f"{topic}: the snapshot at {restored.about.offset} is used, not {expected}")
        if (how := history.differs(restored)) is not None:
            bed.problems.append(f"{topic}: {how}")
        admin.delete_topics([topic])[topic].result(30.0)

    for number in range(times):
        if bed.random.random() < _ASTRAY_SHARE:
            judge(number, astray(history.log, bed.random), None)
            continue
        whole = bed.random.randrange(1, len(generations))
        log = broken(history.log, generations[:whole], bed.random)
        judge(number, log, generations[whole].about.offset)
    bed.notes.append(f"restored from the newest, the one before, and so on to the birth: {used} times")
    try:
        judge(times, broken(history.log, generations, bed.random), None)
    except RefusedError as error:
        bed.expect(UPGRADE in str(error), f"it refused without an instruction: {error}")
    else:
        bed.problems.append("it did not refuse though every snapshot is broken")


def _start_with_corrupted(bed: Bed) -> None:
    """The same with a process: a few times some, then all."""
    post = bed.under_load()
    kafka, topic = bed.settings.kafka, bed.settings.topics.name("snapshots")
    for _ in range(_ROUNDS):
        for _ in range(2):  # snapshots of every partition
            bed.stop(post)
            post.start()
            bed.wait_for_results()
        post.kill_for_good()
        logs = logs_of(kafka, topic)
        for number, log in logs.items():
            generations = generations_of(log, number)
            logs[number] = broken(log, generations[: bed.random.randrange(1, len(generations))], bed.random)
        lay(kafka, topic, logs)
        if not _goes_on(bed, post):
            return
        older = {entry["partition"] for entry in post.said(_OLDER)}
        bed.expect(older == set(logs), f"older snapshots are used of partitions {older}, not of all")
    post.kill_for_good()
    lay(
        kafka,
        topic,
        {n: broken(log, generations_of(log, n), bed.random) for n, log in logs_of(kafka, topic).items()},
    )
    if bed.refuses(post, "does not match its digest", UPGRADE) and bed.succeeds("upgrade"):
        _goes_on(bed, post)


@case("snapshots-compacted", "what newer snapshots replaced is compacted away while the service is killed")
def compacted(bed: Bed) -> None:
    post = bed.under_load()
    _compact_often(bed)
    deadline = time.monotonic() + _COMPACTED_S
    while (gone := _compacted_away(bed)) == 0 or len(bed.recoveries) < _ROUNDS:
        if time.monotonic() > deadline:
            bed.problems.append(f"only {gone} records were compacted away in {_COMPACTED_S:.0f} s")
            return
        bed.stop(post)  # for a snapshot of every partition
        post.start()
        bed.wait_for_results()
        if bed.fault(post.kill) is None:
            return
        bed.expect(not post.said(_OLDER), f"older snapshots were used: {post.said(_OLDER)}")
    bed.notes.append(f"{gone} records of snapshots were compacted away")


def _compact_often(bed: Bed) -> None:
    entries = {
        "segment.bytes": str(1 << 20),
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "1",
    }
    changes = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in entries.items()
    ]
    topic = ConfigResource(
        ResourceType.TOPIC, bed.settings.topics.name("snapshots"), incremental_configs=changes
    )
    admin = bed.ground.admin
    for future in admin.incremental_alter_configs([topic]).values():
        future.result(30.0)


def _compacted_away(bed: Bed) -> int:
    """How many records of the snapshots topic there were and are no more."""
    kafka, topic = bed.settings.kafka, bed.settings.topics.name("snapshots")
    written = sum(span.stop for span in spans_of(kafka, topic).values())
    return written - sum(1 for _ in read_all(kafka, topic))


@case("snapshots-beyond", "the group's offsets set back by hand: older snapshots, and the same bytes again")
def beyond(bed: Bed) -> None:
    """Some records are answered twice, as the operator wanted; the usual audit would mind."""
    bed.audited = False
    post = bed.under_load()
    bed.pause(2.0)
    bed.load.stop()
    bed.look(lambda: bed.lag() == 0, "the lag is 0")
    bed.stop(post)
    committed = bed.committed()
    back = {number: max(offset - _BACK, 0) for number, offset in committed.items()}
    if not bed.set_offsets(back):
        return
    post.start()
    bed.look(lambda: bed.lag() == 0, "the lag is 0 again")
    passed_over = [why for entry in post.said(_OLDER) for why in entry["passed_over"]]
    bed.expect(len(post.said(_OLDER)) == len(back), f"not every partition went back: {passed_over}")
    bed.expect(any("beyond the group's offset" in why for why in passed_over), f"said was: {passed_over}")
    bed.stop(post)
    _expect_again(bed, back, committed)


def _expect_again(bed: Bed, back: dict[int, int], committed: dict[int, int]) -> None:
    """What stands between these offsets was published twice and alike, everything else once."""
    answered = dict.fromkeys(back, 0)
    for role in ("detection_results", "dead_letters", "anomalies"):
        published: dict[tuple[int, int], list[tuple[bytes | str | None, bytes | None]]] = {}
        for message in read_all(bed.settings.kafka, bed.settings.topics.name(role)):
            header = headers(message)
            place = int(header["x-in-partition"]), int(header["x-in-offset"])
            published.setdefault(place, []).append((message.key(), message.value()))
        for (number, offset), bodies in published.items():
            times = 2 if offset >= back[number] else 1
            fine = len(bodies) == times and len(set(bodies)) == 1
            bed.expect(fine, f"{role} of {number}/{offset}: {len(bodies)}, {len(set(bodies))} different ones")
            answered[number] += role != "anomalies"
    bed.expect(answered == committed, f"records answered: {answered}, the group stood at {committed}")


@case("offset-gone", "the group is deleted: it refuses, never back to 0, and goes on once told to")
def offset_gone(bed: Bed) -> None:
    post = bed.under_load()
    bed.pause(2.0)
    bed.stop(post)
    group, admin = bed.settings.kafka.group_id, bed.ground.admin

    def deleted() -> bool:
        try:
            admin.delete_consumer_groups([group])[group].result(10.0)
        except KafkaException:
            return False
        return True

    if not bed.look(deleted, "the group can be deleted"):
        return
    if bed.refuses(post, "it has no offset any more", UPGRADE) and bed.succeeds("upgrade"):
        _goes_on(bed, post)


@case("log-past", "the input begins behind where the group stands: it refuses, and goes on once told to")
def log_past(bed: Bed) -> None:
    post = bed.under_load()
    bed.pause(2.0)
    post.kill_for_good()
    below = {number: offset + _PAST for number, offset in bed.committed().items()}
    if _input_reaches(bed, below):
        bed.delete_records(below)
        refused = bed.refuses(post, "deleted before they were scored", UPGRADE)
        # Dead with one offset set, and no birth there yet.
        killed = bed.look(lambda: _dies(bed, "mid-snapshot"), "an upgrade dies between offset and birth")
        if refused and killed and bed.refuses(post, UPGRADE) and bed.succeeds("upgrade"):
            _goes_on(bed, post)


@case("log-replay-gone", "the records after the snapshots are deleted: it refuses, and goes on once told to")
def replay_gone(bed: Bed) -> None:
    post = bed.under_load()
    bed.pause(2.0)
    post.kill_for_good()
    bed.pause(1.0)
    bed.delete_records(bed.committed())
    if bed.refuses(post, "is gone, so the history cannot be had", UPGRADE) and bed.succeeds("upgrade"):
        _goes_on(bed, post)


def _input_reaches(bed: Bed, offsets: dict[int, int]) -> bool:
    topic = bed.settings.topics.name("data_points")

    def reaches() -> bool:
        spans = spans_of(bed.settings.kafka, topic)
        return all(spans[number].stop > offset for number, offset in offsets.items())

    return bed.look(reaches, "the input goes on")


@case("model-changed", "other settings: it refuses; an upgrade is killed, the old ones go on; upgraded")
def model_changed(bed: Bed) -> None:
    older = bed.under_load()
    bed.pause(1.0)
    bed.stop(older)
    before = bed.settings
    bed.change("detection.threshold=0.75")
    newer = bed.post("a", name="a-newer", start=False)
    if not bed.refuses(newer, "is of model", UPGRADE):
        return
    bed.expect(_dies(bed, "mid-snapshot:2"), "the upgrade did not die at its second birth")
    bed.refuses(newer, "is of model", UPGRADE)
    if not _goes_on(bed, older):
        return
    bed.stop(older)
    bed.until = "committed"
    for kind, count, places in bed.audit(before).findings:
        bed.problems.append(f"before the upgrade: {count:,} {kind}: {places[0]}")
    bed.until = "now"
    if bed.succeeds("upgrade", "--warm-up", "1000"):
        _goes_on(bed, newer)


def _dies(bed: Bed, at: str) -> bool:
    """Whether an upgrade that is killed there gets as far."""
    return bed.command("upgrade", environment={VARIABLE: at}).returncode == -signal.SIGKILL


def _goes_on(bed: Bed, post: Post) -> bool:
    """Whether every partition has new results once it is started."""
    began = time.monotonic()
    post.start()
    return bed.recovered(began) is not None
