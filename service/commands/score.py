"""`anomalyd score`: data points on stdin, results on stdout, through the very same pipeline, no Kafka."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import BinaryIO

import typer

from service.clock import SystemClock
from service.commands.options import ConfigOption, SetOption, settings_of
from service.detectors.model import load as load_model
from service.pipeline import DetectionPipeline, Record
from service.settings import Settings
from service.wire.data_point import InvalidRecord
from service.wire.decode import decode
from service.wire.partitioning import partition_of

app = typer.Typer()

_CHUNK_BYTES = 1 << 20


class PartitionedScorer:
    """One pipeline per partition that the input topic would have, each source in its own.

    Some detectors learn from all sources of a partition, so that a source's results depend on which
    others it shares the partition with.
    """

    def __init__(self, settings: Settings) -> None:
        detection, model = settings.detection, None
        if settings.model.path:
            model = load_model(settings.model.path, detection.ensemble, detection.features)
        topic = settings.topics.name("data_points")
        self._partitions = settings.topics.partitions
        self._make = partial(DetectionPipeline, detection, topic=topic, model=model)
        self._pipelines: dict[int, DetectionPipeline] = {}

    def results(self, records: Sequence[Record]) -> list[bytes]:
        """One result each, in the order of the records."""
        places: dict[int, list[int]] = {}
        for i, record in enumerate(records):
            number = partition_of(record.content.source_id, self._partitions)
            places.setdefault(number, []).append(i)
        results = [b""] * len(records)
        for number, indices in places.items():
            if number not in self._pipelines:
                self._pipelines[number] = self._make(partition=number)
            outcomes = self._pipelines[number].process_batch([records[i] for i in indices])
            for i, outcome in zip(indices, outcomes, strict=True):
                results[i] = outcome.result
        return results


def read_lines(stream: BinaryIO) -> Iterator[list[bytes]]:
    """The lines of a stream in batches of what is there, so that a slow producer sees results at once."""
    pending: list[bytes] = []  # parts of a line whose end has not come yet
    while chunk := os.read(stream.fileno(), _CHUNK_BYTES):
        first, *others = chunk.split(b"\n")
        pending.append(first)
        if others:
            *lines, rest = [b"".join(pending), *others]
            pending = [rest]
            yield lines
    if last := b"".join(pending):
        yield [last]


@app.command()
def score(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Read NDJSON data points, write one NDJSON result each; lines that are no data points go to stderr.

    Sources are spread over `topics.partitions` as Kafka would spread them, so results are the stream's.
    """
    settings = settings_of(config, overrides)
    scorer = PartitionedScorer(settings)
    clock = SystemClock()
    number = bad = 0
    for lines in read_lines(sys.stdin.buffer):
        records = []
        now_ms = int(clock.now() * 1000)
        for line in lines:
            number += 1
            if not line.strip():
                continue
            content = decode(line, None, None, now_ms, settings.input)
            if isinstance(content, InvalidRecord):
                bad += 1
                sys.stderr.write(f"line {number}: {content.reason}: {content.detail}\n")
            else:
                records.append(Record(content, number - 1, now_ms))
        sys.stdout.buffer.write(b"".join(result + b"\n" for result in scorer.results(records)))
        sys.stdout.buffer.flush()
    if bad:
        sys.stderr.write(f"{bad} of {number} lines were no data points\n")
