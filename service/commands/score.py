"""`anomalyd score`: data points on stdin, results on stdout, through the very same pipeline, no Kafka."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

import typer

from service.clock import SystemClock
from service.commands.options import ConfigOption, SetOption, settings_of
from service.detectors.model import load as load_model
from service.pipeline import DetectionPipeline, Record
from service.wire.data_point import InvalidRecord
from service.wire.decode import decode

app = typer.Typer()

_CHUNK_BYTES = 1 << 20


def read_lines(stream: BinaryIO) -> Iterator[list[bytes]]:
    """The lines of a stream in batches of what is there, so that a slow producer sees results at once."""
    rest = b""
    while chunk := os.read(stream.fileno(), _CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


@app.command()
def score(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Read NDJSON data points, write one NDJSON result each; lines that are no data points go to stderr."""
    settings = settings_of(config, overrides)
    model = load_model(settings.model.path) if settings.model.path else None
    topic = settings.topics.name("data_points")
    pipeline = DetectionPipeline(settings.detection, topic=topic, model=model)
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
        out = b"".join(outcome.result + b"\n" for outcome in pipeline.process_batch(records))
        sys.stdout.buffer.write(out)
        sys.stdout.buffer.flush()
    if bad:
        sys.stderr.write(f"{bad} of {number} lines were no data points\n")
