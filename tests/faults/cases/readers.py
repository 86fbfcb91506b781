"""Somebody else's reader sees the same, at the same time."""

from __future__ import annotations

import subprocess
from typing import cast

from service.stream.kafka_jars import local_java
from service.stream.reading import read_all
from tests.faults.bed import Bed
from tests.faults.matrix import case

_IDLE_MS = "15000"
_CLASS = "org.apache.kafka.tools.consumer.ConsoleConsumer"


@case("java-reader", "Kafka's own console consumer, read_committed, while the service is killed")
def java_reader(bed: Bed) -> None:
    topic = bed.settings.topics.name("detection_results")
    arguments = ["--bootstrap-server", bed.ground.bootstrap, "--topic", topic, "--from-beginning"]
    arguments += ["--isolation-level", "read_committed", "--timeout-ms", _IDLE_MS]
    for shown in ("print.partition", "print.offset", "print.key"):
        arguments += ["--property", f"{shown}=true"]
    command = local_java("broker", "tools").command(_CLASS, *arguments)
    post = bed.under_load()
    seen = bed.directory / "java-reader.txt"
    with seen.open("wb") as output, (bed.directory / "java-reader.log").open("wb") as log:
        reader = subprocess.Popen(command, stdout=output, stderr=log)
        try:
            for _ in range(min(bed.options.kills, 5)):
                bed.pause(bed.random.uniform(0.5, 2.0))
                bed.fault(post.kill)
            bed.load.stop()
            bed.look(lambda: bed.lag() == 0, "the lag is 0")
            reader.wait(120.0)  # it leaves when nothing has come for a while
        finally:
            reader.kill()
            reader.wait()
    java: dict[int, list[tuple[int, bytes, bytes]]] = {}
    for line in seen.read_bytes().splitlines():
        if not line.startswith(b"Partition:"):
            continue  # it says there, too, that nothing came any more
        partition, offset, key, value = line.split(b"\t", 3)
        number, at = int(partition.partition(b":")[2]), int(offset.partition(b":")[2])
        java.setdefault(number, []).append((at, key, value))
    ours: dict[int, list[tuple[int, bytes, bytes]]] = {}
    for message in read_all(bed.settings.kafka, topic):
        number, at = cast(int, message.partition()), cast(int, message.offset())
        key = cast(bytes, message.key())
        ours.setdefault(number, []).append((at, key, message.value() or b""))
    counts = sum(map(len, java.values())), sum(map(len, ours.values()))
    bed.expect(java == ours, f"Java's reader saw {counts[0]:,} results, ours {counts[1]:,}, not the same")
    bed.notes.append(f"Java's reader saw {counts[0]:,} results")
