"""Rows of CSV and NDJSON files as data points in JSON; knows files only, no Kafka and no clock."""

from __future__ import annotations

import csv
import gzip
import heapq
import io
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import chain, islice
from pathlib import Path
from typing import IO, Literal, NamedTuple, TypeAlias

import msgspec

from service.errors import AnomalydError
from service.wire.timestamps import EPOCH, MAX_TIME_MS, parse_rfc3339

Format: TypeAlias = Literal["csv", "ndjson"]

TIME_COLUMNS = ("timestamp", "datetime", "time", "date", "ts")
LABEL_COLUMNS = ("label", "anomaly", "changepoint", "is_anomaly")
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
_MISSING = ("", "nan", "null")
_DELIMITERS = (",", ";", "\t")
_SAMPLED_ROWS = 100
_MILLISECOND = timedelta(milliseconds=1)
_OUT_OF_RANGE = "lies outside the years 1970 to 9999"
_ENCODE = msgspec.json.Encoder().encode


class FeedError(AnomalydError):
    """A file that cannot be read as points; the message names file, line, column and value."""


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """How files are read; column names are compared without regard to case.

    Args:
        format: None = by each file's suffix (.csv, .tsv, .ndjson, .jsonl, each also with .gz).
        time_column: None = the first of `TIME_COLUMNS` that the header has.
        source_column: the column that names the source; where a file has none, its own name does.
        exclude: columns that are no values.
        zone: of times without one.
        merge: interleave the files by timestamp, each file being in order itself, instead of one
            after the other. All files are then open at once.
    """

    format: Format | None = None
    time_column: str | None = None
    source_column: str = "sourceId"
    exclude: tuple[str, ...] = LABEL_COLUMNS
    zone: tzinfo = UTC
    merge: bool = False


DEFAULTS = FeedOptions()


class FeedPoint(NamedTuple):
    """`time_ms` is None for a JSON line without a timestamp; `body` is the Kafka message's value."""

    time_ms: int | None
    source_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class CsvLayout:
    """What the columns of one CSV file are, by their place in the row."""

    delimiter: str
    header: tuple[str, ...]
    time: int
    source: int | None
    values: tuple[int, ...]
    left_out: tuple[str, ...]  # excluded by name, or text in all of the first rows


def read_points(paths: Sequence[Path], options: FeedOptions = DEFAULTS) -> Iterator[tuple[str, bytes]]:
    """(source id, JSON) of every row, in the order of the files or merged by time.

    Raises:
        FeedError: at the first row that is no point.
    """
    return ((point.source_id, point.body) for point in read_timed_points(paths, options))


def read_timed_points(paths: Sequence[Path], options: FeedOptions = DEFAULTS) -> Iterator[FeedPoint]:
    """The same with each point's time, as playing at a multiple of real time needs it."""
    names = _source_names(paths, options)
    files = [_read_file(path, name, options) for path, name in zip(paths, names, strict=True)]
    if not options.merge:
        return chain.from_iterable(files)
    timed = [_with_times(path, points) for path, points in zip(paths, files, strict=True)]
    return heapq.merge(*timed, key=lambda point: point.time_ms or 0)


def count_points(paths: Sequence[Path], options: FeedOptions = DEFAULTS) -> int:
    """How many points `read_points` gives if no row is wrong; reads every file once."""
    return sum(_count_file(path, options) for path in paths)


def csv_layout(path: Path, options: FeedOptions = DEFAULTS) -> CsvLayout:
    """What will be made of the file's columns, from its header and its first rows."""
    with _rows_of(path) as rows:
        return rows.layout(options)


# Files -----------------------------------------------------------------------------------------


def format_of(path: Path, options: FeedOptions) -> Format:
    if options.format is not None:
        return options.format
    found = _SUFFIXES.get(_bare_name(path).suffix.lower())
    if found is None:
        known = ", ".join(_SUFFIXES)
        raise FeedError(f"{path}: the name ends in none of {known} (or these with .gz); give --format")
    return found


def _bare_name(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def _source_names(paths: Sequence[Path], options: FeedOptions) -> list[str]:
    """Each file's stem; where files share one, with as many parent folders as tell them apart."""
    resolved = [path.resolve() for path in paths]
    for path, times in Counter(resolved).items():
        if times > 1:
            raise FeedError(f"{path}: given {times} times")
    parts = [(*path.parts[1:-1], _bare_name(path).stem) for path in resolved]
    used = [1] * len(parts)
    while True:
        names = ["/".join(part[-n:]) for part, n in zip(parts, used, strict=True)]
        shared = {
            name
            for name, times in Counter(
                name for name, path in zip(names, paths, strict=True) if format_of(path, options) == "csv"
            ).items()
            if times > 1
        }
        if not shared:
            return names
        longer = [n + (name in shared) for n, name in zip(used, names, strict=True)]
        stuck = [i for i, n in enumerate(longer) if n > len(parts[i])]
        if stuck:
            raise FeedError(f"{paths[stuck[0]]}: another file would give the same source {names[stuck[0]]!r}")
        used = longer


def _read_file(path: Path, source_name: str, options: FeedOptions) -> Iterator[FeedPoint]:
    if format_of(path, options) == "csv":
        return _read_csv(path, source_name, options)
    return _read_ndjson(path)


def _with_times(path: Path, points: Iterator[FeedPoint]) -> Iterator[FeedPoint]:
    for point in points:
        if point.time_ms is None:
            raise FeedError(f"{path}: a point of {point.source_id!r} has no timestamp to merge by")
        yield point


def _count_file(path: Path, options: FeedOptions) -> int:
    if format_of(path, options) == "csv":
        with _rows_of(path) as rows:
            return sum(1 for _ in rows)
    with _open(path) as file:
        return sum(1 for line in file if line.strip())


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked; whatever is wrong with the file itself comes out as a FeedError."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]  # a GzipFile reads like any binary file
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise FeedError(f"{path}: {reason}") from error


# NDJSON ----------------------------------------------------------------------------------------


class _Head(msgspec.Struct, rename="camel", gc=False):
    source_id: str
    timestamp: str | int | None = None


_decode_head = msgspec.json.Decoder(_Head).decode


def _read_ndjson(path: Path) -> Iterator[FeedPoint]:
    """The lines as they are, whatever else is wrong in them: the service is to judge that."""
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            body = line.rstrip(b"\r\n")
            if not body.strip():
                continue
            try:
                head = _decode_head(body)
                time_ms = parse_rfc3339(head.timestamp) if isinstance(head.timestamp, str) else head.timestamp
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                shown = ascii(body[:60].decode(errors="replace"))
                raise FeedError(f"{path}, line {number}: {error}: {shown}") from None
            yield FeedPoint(time_ms, head.source_id, body)


# CSV -------------------------------------------------------------------------------------------


def _read_csv(path: Path, source_name: str, options: FeedOptions) -> Iterator[FeedPoint]:
    with _rows_of(path) as rows:
        layout = rows.layout(options)
        names = [layout.header[i] for i in layout.values]
        for line, row in rows:
            if len(row) != len(layout.header):
                raise FeedError(
                    f"{path}, line {line}: {len(row)} cells, the header has {len(layout.header)} columns"
                )
            source_id = source_name if layout.source is None else row[layout.source]
            if not source_id:
                raise _cell_error(path, line, layout, layout.source or 0, "", "names no source")
            try:
                time_ms, timestamp = _read_time(row[layout.time], options.zone)
            except ValueError as error:
                raise _cell_error(path, line, layout, layout.time, row[layout.time], str(error)) from None
            try:
                numbers = [_number(row[i]) for i in layout.values]
            except ValueError:
                raise _first_bad_cell(path, line, layout, row) from None
            values = dict(zip(names, numbers, strict=True))
            body = _ENCODE({"sourceId": source_id, "timestamp": timestamp, "values": values})
            yield FeedPoint(time_ms, source_id, body)


def _number(cell: str) -> float | None:
    """None for a missing one.

    Raises:
        ValueError: no finite number in the usual notation.
    """
    try:
        number = float(cell)
    except ValueError:
        if cell.strip().lower() in _MISSING:
            return None
        raise
    if number - number == 0.0 and "_" not in cell:
        return number
    if math.isnan(number):
        return None
    raise ValueError(cell)


def _cell_error(path: Path, line: int, layout: CsvLayout, column: int, cell: str, what: str) -> FeedError:
    shown = ascii(cell if len(cell) <= 60 else f"{cell[:57]}...")
    return FeedError(f"{path}, line {line}, column {layout.header[column]!r}: {shown} {what}")


def _first_bad_cell(path: Path, line: int, layout: CsvLayout, row: list[str]) -> FeedError:
    column = next(i for i in layout.values if not _is_number(row[i]))
    what = "is not a finite number (leave the column out with --exclude)"
    return _cell_error(path, line, layout, column, row[column], what)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _read_time(cell: str, zone: tzinfo) -> tuple[int, str | int]:
    """Epoch milliseconds, and what goes into the message.

    Integers are epoch milliseconds and stay integers; a date or time as ISO 8601 writes it goes out in
    UTC, cut to milliseconds.

    Raises:
        ValueError: the end of a sentence about the cell.
    """
    text = cell.strip()
    if text.isascii() and text.removeprefix("-").isdecimal():
        time_ms = int(text[:20])
        return _in_range(time_ms), time_ms
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is neither an ISO 8601 time nor an integer of epoch milliseconds") from None
    try:
        moment = (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        raise ValueError(_OUT_OF_RANGE) from None
    time_ms = _in_range((moment - EPOCH) // _MILLISECOND)
    written = moment.isoformat(timespec="milliseconds" if moment.microsecond >= 1000 else "seconds")
    return time_ms, f"{written[:-6]}Z"


def _in_range(time_ms: int) -> int:
    if not 0 <= time_ms <= MAX_TIME_MS:
        raise ValueError(_OUT_OF_RANGE)
    return time_ms


class _Rows:
    """The rows under a CSV file's header, each with the number of the line that it ends on."""

    def __init__(self, path: Path, lines: Iterator[str]) -> None:
        self._path = path
        self._line = 0  # the last that was read whole
        self._sample: list[tuple[int, list[str]]] = []
        first = self._first_line(lines)
        outside = "".join(first.split('"')[::2])
        self.delimiter = max(_DELIMITERS, key=outside.count)
        self._skipped = self._line
        self._reader = csv.reader(chain([first], lines), delimiter=self.delimiter, strict=True)
        self.header = [name.strip() for name in self._next_row() or []]

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        yield from self._sample
        while (row := self._next_row()) is not None:
            if row:
                yield self._line, row

    def layout(self, options: FeedOptions) -> CsvLayout:
        """To be asked for before the rows are; the rows that it looks at still come."""
        self._sample = list(islice(self, _SAMPLED_ROWS))
        lower = [name.lower() for name in self.header]
        time = self._time_column(lower, options.time_column)
        wanted = options.source_column.lower()
        source = lower.index(wanted) if wanted in lower else None
        excluded = {name.lower() for name in options.exclude}
        values, left_out = [], []
        for i, name in enumerate(self.header):
            if i in (time, source):
                continue
            if not name or lower[i] in excluded or self._is_text(i):
                left_out.append(name or f"column {i + 1}")
            else:
                values.append(i)
        self._check_values([self.header[i] for i in values], left_out)
        return CsvLayout(self.delimiter, tuple(self.header), time, source, tuple(values), tuple(left_out))

    def _first_line(self, lines: Iterator[str]) -> str:
        try:
            for line in lines:
                if line.strip():
                    return line
                self._line += 1
        except UnicodeDecodeError as error:
            raise FeedError(f"{self._path}: not UTF-8: {error.reason}") from None
        raise FeedError(f"{self._path}: the file is empty, not even a header")

    def _next_row(self) -> list[str] | None:
        try:
            row = next(self._reader, None)
        except (csv.Error, UnicodeDecodeError) as error:
            what = f"not UTF-8: {error.reason}" if isinstance(error, UnicodeDecodeError) else str(error)
            raise FeedError(f"{self._path}, after line {self._line}: {what}") from None
        self._line = self._skipped + self._reader.line_num
        return row

    def _time_column(self, lower: list[str], given: str | None) -> int:
        for name in TIME_COLUMNS if given is None else (given.lower(),):
            if name in lower:
                return lower.index(name)
        wanted = " or ".join(TIME_COLUMNS) if given is None else repr(given)
        raise FeedError(f"{self._path}: the header {self.header} has no column {wanted}")

    def _is_text(self, column: int) -> bool:
        cells = [row[column] for _, row in self._sample if column < len(row)]
        filled = [cell for cell in cells if cell.strip().lower() not in _MISSING]
        return bool(filled) and not any(_is_number(cell) for cell in filled)

    def _check_values(self, names: list[str], left_out: list[str]) -> None:
        if not names:
            raise FeedError(f"{self._path}: no column of numbers (left out: {', '.join(left_out) or 'none'})")
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise FeedError(f"{self._path}: two columns are named {repeated[0]!r}")


@contextmanager
def _rows_of(path: Path) -> Iterator[_Rows]:
    with _open(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        yield _Rows(path, iter(text))
