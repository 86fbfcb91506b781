"""`anomalyd feed` against a real broker: every row once, keyed by its source, where other clients put it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from service.wire.partitioning import partition_of
from tests.kafka.conftest import RunningBroker
from tests.kafka.running import Setup, make_topics, published

ROWS = 40


def feed(setup: Setup, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", "feed", *setup.flags, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def write_files(folder: Path) -> list[Path]:
    """A CSV whose file names the source, one with a column of sources, and NDJSON."""
    start = 1_767_225_600_000
    single, many, lines = folder / "boiler.csv", folder / "pumps.csv", folder / "points.ndjson"
    single.write_text("ts,x\n" + "".join(f"{start + i},{i}\n" for i in range(ROWS)), encoding="utf-8")
    many.write_text(
        "ts,sourceId,x\n" + "".join(f"{start + i},pump-{i % 8},{i}\n" for i in range(ROWS)), encoding="utf-8"
    )
    lines.write_text(
        "".join(json.dumps({"sourceId": f"fän-{i % 4}", "values": i}) + "\n" for i in range(ROWS)),
        encoding="utf-8",
    )
    return [single, many, lines]


def test_every_row_arrives_once_keyed_by_its_source_in_the_partition_that_java_would_choose(
    broker: RunningBroker, topic_prefix: str, tmp_path: Path
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix, partitions=4)
    make_topics(setup.settings)
    ran = feed(setup, *write_files(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""  # no progress bar where nobody looks
    assert ran.stdout.startswith(f"{3 * ROWS} points from 3 files to {topic_prefix}data-points, ")
    messages = published(setup.settings, "data_points")
    points = [json.loads(message.value() or b"") for message in messages]
    assert [message.key() for message in messages] == [point["sourceId"].encode() for point in points]
    assert [message.partition() for message in messages] == [partition_of(p["sourceId"], 4) for p in points]
    assert len({message.partition() for message in messages}) == 4
    values = [
        (p["sourceId"], p["values"]["x"] if isinstance(p["values"], dict) else p["values"]) for p in points
    ]
    expected = [("boiler", i) for i in range(ROWS)] + [(f"pump-{i % 8}", i) for i in range(ROWS)]
    assert Counter(values) == Counter(expected + [(f"fän-{i % 4}", i) for i in range(ROWS)])
    by_source: dict[str, list[float]] = {}
    for source, value in values:
        by_source.setdefault(source, []).append(value)
    assert all(series == sorted(series) for series in by_source.values())


def test_a_missing_topic_is_said_with_the_command_that_makes_it(
    broker: RunningBroker, topic_prefix: str, tmp_path: Path
) -> None:
    ran = feed(Setup.of(broker.bootstrap_servers, topic_prefix), *write_files(tmp_path))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"topic '{topic_prefix}data-points' is missing" in ran.stderr
    assert "anomalyd topics create" in ran.stderr


def test_a_wrong_row_ends_it_with_1_and_the_rows_before_it_have_arrived(
    broker: RunningBroker, topic_prefix: str, tmp_path: Path
) -> None:
    setup = Setup.of(broker.bootstrap_servers, topic_prefix)
    make_topics(setup.settings)
    file = tmp_path / "a.csv"
    file.write_text("ts,x\n1,1\n2,2\n3,oops\n4,4\n", encoding="utf-8")
    ran = feed(setup, file)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "a.csv, line 4, column 'x': 'oops'" in ran.stderr
    assert "2 points before it were sent" in ran.stderr
    assert len(published(setup.settings, "data_points")) == 2
