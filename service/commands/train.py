"""`anomalyd train`: fit the partition-wide models on history, so that a new service starts with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from service import __version__
from service.clock import SystemClock
from service.commands.feed_files import FeedOptions, read_points
from service.commands.options import ConfigOption, SetOption, settings_of
from service.detectors import model as models
from service.errors import AnomalydError
from service.pipeline import DetectionPipeline
from service.wire.batch import PointBatch
from service.wire.data_point import DataPoint
from service.wire.decode import decode

app = typer.Typer()

_BATCH = 5_000
_MOST_VECTORS = 1_000_000
_LEAST_VECTORS = 256


@app.command()
def train(
    files: Annotated[list[Path], typer.Argument(help="CSV or NDJSON files, as for feed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the model to.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Run history through the pipeline, fit every detector on all of it, write model and manifest."""
    settings = settings_of(config, overrides)
    pipeline = DetectionPipeline(settings.detection)
    vectors: list[np.ndarray] = []
    points: list[DataPoint] = []
    seen = refused = 0
    now_ms = int(SystemClock().now() * 1000)
    stderr = Console(stderr=True)
    rows = read_points(files, FeedOptions())
    for _, body in track(rows, "training", console=stderr, transient=True, disable=not stderr.is_terminal):
        content = decode(body, None, None, now_ms, settings.input)
        if isinstance(content, DataPoint):
            points.append(content)
        else:
            refused += 1
        if len(points) == _BATCH:
            seen = _learn(pipeline, points, seen, vectors)
    seen = _learn(pipeline, points, seen, vectors)
    history = np.concatenate(vectors)[-_MOST_VECTORS:] if vectors else np.empty((0, 0))
    if len(history) < _LEAST_VECTORS:
        raise AnomalydError(
            f"{len(history)} of {seen} points had enough history to learn from; {_LEAST_VECTORS} are needed"
            + (f" ({refused} rows were no data points)" if refused else "")
        )
    pipeline.ensemble.train(history)
    about = {
        "anomalyd": __version__,
        "model_version": pipeline.model_version,
        "detectors": [detector.name for detector in pipeline.ensemble.detectors],
        "points": seen,
        "refused": refused,
        "files": [path.name for path in files],
    }
    detection = settings.detection
    model = models.save(output, pipeline.ensemble.state(), detection.ensemble, detection.features, about)
    sys.stdout.write(f"{output}: model {model.digest[:12]} from {seen} points of {len(files)} files\n")


def _learn(pipeline: DetectionPipeline, points: list[DataPoint], seen: int, vectors: list[np.ndarray]) -> int:
    """Take the points in and empty the list; the number of points seen so far."""
    batch = PointBatch.of(points)
    for scored in pipeline.advance(batch, np.arange(seen, seen + len(batch))):
        known = scored.features.has_history
        vectors.append(scored.features.vectors[known])
    seen += len(points)
    points.clear()
    return seen
