"""How much machine a load needs: a small explicit model, its constants measured, its state computed.

State is what the tables of a pipeline with the actual configuration hold for a source; everything else is
in `MEASURED`. `anomalyd bench` prints what this predicts beside what it measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from service.bench.statistics import STEADY_SHARE
from service.pipeline import DetectionConfig, DetectionPipeline
from service.settings import Settings

_SMALLEST_PARTITIONS = 4
_SOURCES_OF_PARTITION = 65_536
"""With more, what is copied of a partition that is saved would weigh among all that is held."""

_HEADROOM = 0.6
"""Of what a worker can do, how much is planned with: the rest catches up after a restart."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the model takes from measurements; `anomalyd bench` prints these anew from its own cases."""

    date: str
    machine: str
    cpu_us_per_point: float
    """Clients, decoding, one source's place, the ensemble, encoding."""
    cpu_us_per_value: float
    """Each value's features, its part of decoding and encoding; with sources beyond the caches."""
    worker_cores: float
    """Cores that one worker keeps busy at full speed; points a second are these by the cost of one."""
    process_bytes: float
    """A worker without sources: interpreter, compiled kernels, clients' buffers, a full batch."""
    directory_bytes_per_source: float
    """Names and recency, beside the tables, and what is left over of their last pages."""
    snapshot_copies: float
    """Of one partition's state: room that is kept for the copy that is taken when it is saved."""
    snapshot_bytes_under_way: float
    """Of that copy, what is on its way at once: no more than this."""
    compressed_share: float
    """Bytes on the wire of a byte of JSON, with lz4 in full batches."""


MEASURED = Measured(
    date="2026-11-27",
    machine="2 cores of an AMD EPYC, shared with broker, sender and reader, Python 3.11",
    cpu_us_per_point=2.8,
    cpu_us_per_value=0.8,
    worker_cores=1.0,
    process_bytes=420e6,
    directory_bytes_per_source=300.0,
    snapshot_copies=1.1,
    snapshot_bytes_under_way=400e6,
    compressed_share=0.25,
)

# Bodies as the benchmark has them, and what stands around them: key and framing, headers of a result.
_POINT_BYTES, _POINT_BYTES_PER_VALUE, _POINT_AROUND = 66.0, 18.0, 20.0
_RESULT_BYTES, _RESULT_BYTES_PER_VALUE, _RESULT_AROUND = 265.0, 71.0, 100.0


@dataclass(frozen=True, slots=True)
class Demand:
    """A load: so many sources with so many values each, and the points of all of them a second."""

    sources: int
    rate: float
    values: int


@dataclass(frozen=True, slots=True)
class Sizing:
    """What the demand needs."""

    state_bytes_per_source: float
    state_bytes: float
    cpu_us_per_point: float
    cores: float
    workers: int
    partitions: int
    worker_rss_bytes: float
    rss_bytes: float
    network_in_bytes_per_second: float
    network_out_bytes_per_second: float
    snapshot_bytes: float

    def figures(self) -> dict[str, Any]:
        return asdict(self)


def state_bytes_per_source(config: DetectionConfig, values: int) -> int:
    """What the tables hold for one source."""
    return DetectionPipeline(config).bytes_per_source(values)


def partitions_for(sources: int, workers: int = 1) -> int:
    """How many partitions so many sources should have: a power of two, two or more for each worker."""
    least = max(_SMALLEST_PARTITIONS, 2 * workers, sources / _SOURCES_OF_PARTITION)
    return int(2 ** math.ceil(math.log2(least)))


def cpu_us_per_point(values: int, measured: Measured = MEASURED) -> float:
    return measured.cpu_us_per_point + values * measured.cpu_us_per_value


def size(demand: Demand, config: DetectionConfig, measured: Measured = MEASURED) -> Sizing:
    """The answer for a load."""
    per_source = state_bytes_per_source(config, demand.values)
    state = float(per_source * demand.sources)
    cpu = cpu_us_per_point(demand.values, measured)
    busy = demand.rate * cpu / 1e6
    workers = max(math.ceil(busy / (measured.worker_cores * _HEADROOM)), 1)
    point = _POINT_AROUND + _POINT_BYTES + demand.values * _POINT_BYTES_PER_VALUE
    result = _RESULT_AROUND + _RESULT_BYTES + demand.values * _RESULT_BYTES_PER_VALUE
    partitions = partitions_for(demand.sources, workers)
    rss = _rss(demand.sources / workers, per_source, partitions / workers, measured)
    return Sizing(
        state_bytes_per_source=per_source,
        state_bytes=state,
        cpu_us_per_point=cpu,
        cores=busy / _HEADROOM,
        workers=workers,
        partitions=partitions,
        worker_rss_bytes=rss,
        rss_bytes=workers * rss,
        network_in_bytes_per_second=demand.rate * point * measured.compressed_share,
        network_out_bytes_per_second=demand.rate * result * measured.compressed_share,
        snapshot_bytes=state,
    )


def _rss(sources: float, per_source: float, partitions: float, measured: Measured) -> float:
    """Memory of one process with so many partitions, while one of them is saved."""
    partition = sources * per_source / partitions
    saved = measured.snapshot_copies * partition + min(partition, measured.snapshot_bytes_under_way)
    tables = sources * (per_source + measured.directory_bytes_per_source)
    return measured.process_bytes + tables + saved


def predicted(settings: Settings, sources: int, values: int) -> dict[str, float]:
    """What the model says of a case of the benchmark, which is one worker's."""
    per_source = state_bytes_per_source(settings.detection, values)
    return {
        "cpu_s_per_million": cpu_us_per_point(values),
        "state_bytes_per_source": per_source,
        "peak_rss_bytes": _rss(sources, per_source, partitions_for(sources), MEASURED),
    }


def fitted(cases: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """The model's constants of CPU as steady cases have them; `None` if they are too few to tell."""
    cases = [case for case in cases if case["scored_share"] >= STEADY_SHARE]
    values = np.array([case["values"] for case in cases], np.float64)
    if len(set(values.tolist())) < 2:
        return None
    cost = np.array([case["cpu_s_per_million"] for case in cases], np.float64)
    (base, per_value), *_ = np.linalg.lstsq(np.column_stack([np.ones_like(values), values]), cost, rcond=None)
    return {"cpu_us_per_point": float(base), "cpu_us_per_value": float(per_value)}
