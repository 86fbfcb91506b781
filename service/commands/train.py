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
from service.wire.reader import RecordBatch, read

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
    bodies: list[bytes] = []
    seen = refused = 0
    now_ms = int(SystemClock().now() * 1000)

    def learn() -> tuple[int, int]:
        """Take the rows in and empty the list; how many of them were points, and how many none."""
        n = len(bodies)
        times = np.full(n, now_ms, np.int64)
        batch = read(RecordBatch(bodies, [None] * n, {}, seen + np.arange(n), times), settings.input)
        for scored in pipeline.advance(batch.points):
            known = scored.features.has_history
            vectors.append(scored.features.vectors[known])
        bodies.clear()
        return len(batch.points.points), len(batch.others)

    stderr = Console(stderr=True)
    rows = read_points(files, FeedOptions())
    for _, body in track(rows, "training", console=stderr, transient=True, disable=not stderr.is_terminal):
        bodies.append(body)
        if len(bodies) == _BATCH:
            points, others = learn()
            seen, refused = seen + points, refused + others
    points, others = learn()
    seen, refused = seen + points, refused + others
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
