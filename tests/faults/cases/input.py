"""What comes in is bad, or the input topic is no longer what it was."""

from __future__ import annotations

import time

from confluent_kafka.admin import NewPartitions, NewTopic  # type: ignore[attr-defined]

from service.stream.reading import read_all, spans_of
from tests.faults.bed import Bed
from tests.faults.matrix import case
from tests.kafka.running import headers

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


@case("partitions-added", "the input gets more partitions: it stops and says what to do", overrides=(_QUICK,))
def partitions_added(bed: Bed) -> None:
    post = bed.under_load()
    post.keep = False
    topic = bed.settings.topics.name("data_points")
    admin = bed.ground.admin  # held until all is done: a client that is collected fails its requests
    admin.create_partitions([NewPartitions(topic, bed.options.partitions + 2)])[topic].result(30)
    end = post.wait_for_end(0, 30.0)
    if end is None:
        bed.notes.append("it goes on with more partitions")
        return
    bed.until = "committed"
    said = post.said_before_the_end(0)
    bed.expect("partitions" in said, f"it ended with {end.code} and no instruction: {said}")


@case("topic-recreated", "the input is deleted and made again: never back to 0", overrides=(_QUICK,))
def topic_recreated(bed: Bed) -> None:
    """Audited by itself: offsets begin anew, so the usual audit would find every result twice."""
    bed.audited = False
    post = bed.under_load()
    bed.load.stop()
    bed.look(lambda: bed.lag() == 0, "the lag is 0")
    topic = bed.settings.topics.name("data_points")
    results = bed.settings.topics.name("detection_results")
    before = {number: span.stop for number, span in spans_of(bed.settings.kafka, results).items()}
    admin = bed.ground.admin
    admin.delete_topics([topic])[topic].result(30)
    bed.look(lambda: topic not in admin.list_topics(timeout=10.0).topics, "the input is gone")
    bed.pause(3.0)
    admin.create_topics([NewTopic(topic, bed.options.partitions)])[topic].result(30)
    bed.refill()
    end = post.wait_for_end(0, 20.0)
    again = [
        message
        for message in read_all(bed.settings.kafka, results)
        if (message.offset() or 0) >= before[message.partition() or 0]
    ]
    if again:
        first = min(int(headers(message)["x-in-offset"]) for message in again)
        bed.problems.append(f"{len(again):,} records of the new topic have results, from offset {first} on")
    if end is None:
        bed.problems.append("it neither ended nor said that its offsets are not in the log")
        return
    said = post.said_before_the_end(0)
    bed.expect("offset" in said, f"it ended with {end.code} and no instruction: {said}")
