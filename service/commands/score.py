"""`anomalyd score`: data points on stdin, results on stdout, through the very same pipeline, no Kafka."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import numpy as np
import typer

from service.clock import SystemClock
from service.commands.options import ConfigOption, SetOption, settings_of
from service.detectors.model import load as load_model
from service.outcomes import NO_RESULT
from service.pipeline import DetectionPipeline
from service.settings import Settings
from service.wire.data_point import InvalidRecord
from service.wire.partitioning import partition_of
from service.wire.reader import Others, ReadBatch, RecordBatch, read

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

    def results(self, read: ReadBatch) -> list[bytes]:
        """The results in the order of the records, nothing for a dead letter."""
        batch = read.points
        number_of = [partition_of(batch.source_id(i), self._partitions) for i in range(len(batch.points))]
        numbers = np.array(number_of, np.int64)
        others: dict[int, Others] = {}
        for record, content in read.others.items():
            if not isinstance(content, InvalidRecord):
                number = partition_of(content.source_id, self._partitions)
                others.setdefault(number, {})[record] = content
        results = [b""] * read.records
        for number in sorted({*number_of, *others}):
            if number not in self._pipelines:
                self._pipelines[number] = self._make(partition=number)
            part = batch._replace(points=batch.points[numbers == number])
            mine = read._replace(points=part, others=others.get(number, {}))
            outcomes = self._pipelines[number].process_read(mine)
            for record in np.flatnonzero(outcomes.status != NO_RESULT).tolist():
                results[record] = outcomes.results[record]
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
        numbered = [(number + i, line) for i, line in enumerate(lines) if line.strip()]
        number += len(lines)
        n = len(numbered)
        records = RecordBatch(
            values=[line for _, line in numbered],
            keys=[None] * n,
            headers={},
            offset=np.array([i for i, _ in numbered], np.int64),
            time_ms=np.full(n, int(clock.now() * 1000), np.int64),
        )
        batch = read(records, settings.input)
        for record, content in batch.others.items():
            if isinstance(content, InvalidRecord):
                bad += 1
                sys.stderr.write(f"line {numbered[record][0] + 1}: {content.reason}: {content.detail}\n")
        results = scorer.results(batch)
        sys.stdout.buffer.write(b"".join(result + b"\n" for result in results if result))
        sys.stdout.buffer.flush()
    if bad:
        sys.stderr.write(f"{bad} of {number} lines were no data points\n")
