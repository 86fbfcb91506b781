"""What comes in is bad, or the input topic is no longer what it was."""

from __future__ import annotations

import time

from confluent_kafka.admin import NewPartitions, NewTopic  # type: ignore[attr-defined]

from service.stream.reading import read_all, spans_of
from tests.faults.bed import UPGRADE, Bed
from tests.faults.matrix import case
from tests.faults.post import Post

_QUICK = "kafka.consumer={topic.metadata.refresh.interval.ms: 2000}"


@case("bad-input", "one record in a hundred bad, then every one, then few again")
def bad_input(bed: Bed) -> None:
    bed.under_load()
    for share, seconds in ((0.01, 5.0), (1.0, 10.0)):
        bed.load.spoil(share)
        bed.pause(seconds)
    began = time.monotonic()
    bed.load.spoil(0.005)
    bed.recovered(began)


@case(
    "partitions-added",
    "the input gets more partitions: it stops and says what to do, then goes on",
    overrides=(_QUICK,),
)
def partitions_added(bed: Bed) -> None:
    post = bed.under_load()
    post.keep = False
    topic = bed.settings.topics.name("data_points")
    admin = bed.ground.admin  # held until all is done: a client that is collected fails its requests
    admin.create_partitions([NewPartitions(topic, bed.options.partitions + 2)])[topic].result(30)
    if not _stops(bed, post, "partitions", UPGRADE):
        return
    bed.refuses(post, "anomalyd topics create")
    if bed.succeeds("topics", "create") and bed.refuses(post, "partitions", UPGRADE):
        _upgrade(bed, post)


@case(
    "topic-recreated",
    "the input is deleted and made again: never back to 0 unless told to",
    overrides=(_QUICK,),
)
def topic_recreated(bed: Bed) -> None:
    """Offsets begin anew: the old topic's results make way, so that the audit finds none twice."""
    post = bed.under_load()
    bed.load.stop()
    bed.look(lambda: bed.lag() == 0, "the lag is 0")
    post.keep = False
    topic = bed.settings.topics.name("data_points")
    outputs = ("detection_results", "anomalies", "dead_letters")
    for role in outputs:
        spans = spans_of(bed.settings.kafka, bed.settings.topics.name(role))
        bed.delete_records({number: span.stop for number, span in spans.items()}, role)
    admin = bed.ground.admin
    admin.delete_topics([topic])[topic].result(30)
    bed.look(lambda: topic not in admin.list_topics(timeout=10.0).topics, "the input is gone")
    bed.pause(3.0)
    admin.create_topics([NewTopic(topic, bed.options.partitions)])[topic].result(30)
    bed.refill()
    stopped = _stops(bed, post, "offset")
    refused = stopped and bed.refuses(post, "deleted since", UPGRADE)
    if early := sum(
        1 for role in outputs for _ in read_all(bed.settings.kafka, bed.settings.topics.name(role))
    ):
        bed.problems.append(f"{early:,} messages of the new topic before anybody said that it is fine")
    if refused:
        _upgrade(bed, post)


def _stops(bed: Bed, post: Post, *words: str) -> bool:
    """Whether it ends by itself, saying these words."""
    end = post.wait_for_end(0, 30.0)
    if end is None:
        bed.problems.append("it goes on as if nothing were")
        return False
    said = post.said_before_the_end(0)
    bed.notes.append(said)
    fine = end.code == 1 and all(word in said for word in words)
    bed.expect(fine, f"it ended with {end.code}, not saying {', '.join(words)}: {said}")
    return fine


def _upgrade(bed: Bed, post: Post) -> None:
    if bed.succeeds("upgrade"):
        post.keep = True
        began = time.monotonic()
        post.start()
        bed.recovered(began)
