"""The labelled sets as they lie in a folder; knows files and their labels, nothing of detection."""

from __future__ import annotations

import csv
import gzip
import json
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from service.commands.feed_files import read_points
from service.errors import AnomalydError
from tests.benchmarks.quality.arrays import Bools, Floats, probation, stretches

VARIABLE = "ANOMALYD_BENCHMARK_DATA"
SETS = ("nab", "mscloud", "asd", "smd", "skab")
LABELLED = SETS[1:]
"""Those with a label per point."""
_ROOT = Path(__file__).resolve().parents[3]


class DataError(AnomalydError):
    """A set that is not where it was looked for, or not as it should be."""


@dataclass(frozen=True, slots=True)
class FileSeries:
    """One file, which is one source; the labels are read with `labels_of`."""

    name: str
    path: Path

    def records(self) -> list[bytes]:
        """The points as `anomalyd feed` would send them."""
        return [body for _, body in read_points([self.path])]

    def values(self) -> Floats:
        """The values (n, k) in the records' order of names, NaN where one is missing."""
        return values_of(self.records())


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What is known of a series: its faults, and from where on it is judged.

    Attributes:
        faulty: (n,) points that are labelled; in NAB those inside a window.
        judged_from: the first index that counts.
        windows: first and last index of each labelled stretch, those before `judged_from` too.
    """

    faulty: Bools
    judged_from: int
    windows: tuple[tuple[int, int], ...] = field(default=())

    @property
    def normal(self) -> Bools:
        """Points on which an alarm is a false one."""
        normal = ~self.faulty
        normal[: self.judged_from] = False
        return normal


def default_folder() -> Path:
    """`ANOMALYD_BENCHMARK_DATA`, or the data beside the project."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else _ROOT.parent / "shared" / "data"


def series_of(folder: Path, name: str) -> list[FileSeries]:
    """The series of a set, in the order of their paths.

    Raises:
        DataError: there are none.
    """
    root = folder / name / "data" if name == "nab" else folder / name
    paths = sorted(path for path in root.rglob("*.csv*") if path.is_file())
    if not paths:
        raise DataError(f"{root}: no CSV files; say with --data or {VARIABLE} where the sets are")
    return [FileSeries(path.relative_to(root).as_posix(), path) for path in paths]


def labels_of(folder: Path, name: str, series: FileSeries) -> Labels:
    """What is known of a series of a set."""
    if name == "nab":
        return _nab_labels(folder, series)
    column = {"skab": "anomaly"}.get(name, "label")
    delimiter = ";" if name == "skab" else ","
    with _text(series.path) as text:
        cells = [row[column] for row in csv.DictReader(text, delimiter=delimiter)]
    faulty = np.array([float(cell) > 0 for cell in cells])
    judged_from = _evaluate_from(folder, name).get(series.name.removesuffix(".csv.gz"))
    return Labels(
        faulty, probation(len(faulty)) if judged_from is None else judged_from, tuple(stretches(faulty))
    )


def published_scores(folder: Path, detector: str) -> dict[str, Floats]:
    """The scores of a detector that NAB publishes, by file."""
    found: dict[str, list[float]] = {}
    with _text(folder / "nab" / "published" / f"{detector}.csv.gz") as text:
        rows = csv.reader(text)
        next(rows)
        for file, score in rows:
            found.setdefault(file, []).append(float(score))
    return {file: np.array(scores) for file, scores in found.items()}


class _Point(msgspec.Struct):
    values: dict[str, float | None]


_decode_point = msgspec.json.Decoder(_Point).decode


def values_of(records: list[bytes]) -> Floats:
    """The values (n, k) of records that all have the same names."""
    rows = [list(_decode_point(record).values.values()) for record in records]
    return np.array(rows, np.float64)


def _nab_labels(folder: Path, series: FileSeries) -> Labels:
    with _text(series.path) as text:
        times = [_seconds(row["timestamp"]) for row in csv.DictReader(text)]
    place = {time: i for i, time in reversed(list(enumerate(times)))}
    windows = tuple(
        (place[_seconds(first)], place[_seconds(last)]) for first, last in _nab_windows(folder)[series.name]
    )
    faulty = np.zeros(len(times), np.bool_)
    for first, last in windows:
        faulty[first : last + 1] = True
    return Labels(faulty, probation(len(times)), windows)


def _seconds(text: str) -> str:
    """A NAB time without the fraction, which labels have and files do not."""
    return text.partition(".")[0]


@cache
def _nab_windows(folder: Path) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = _json(folder / "nab" / "labels" / "combined_windows.json")
    return found


@cache
def _evaluate_from(folder: Path, name: str) -> dict[str, int]:
    file = folder / name / "evaluate_from.json"
    found: dict[str, int] = _json(file) if file.exists() else {}
    return found


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {error}") from error


class _text:  # noqa: N801  # used like a function
    """The lines of a file, unpacked where it is packed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> IO[str]:
        packed = self._path.suffix == ".gz"
        self._file: IO[str] = (gzip.open if packed else open)(self._path, "rt", encoding="utf-8")
        return self._file

    def __exit__(self, *error: object) -> None:
        self._file.close()
