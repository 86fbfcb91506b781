from __future__ import annotations

from service.bench.signal import source_id, value_names
from service.bench.steady_state import prefill
from service.pipeline import DetectionPipeline, Record
from service.wire.data_point import DataPoint

NOW_MS = 1_767_225_600_000


def test_prefilled_sources_are_scored_at_their_next_point() -> None:
    pipeline = DetectionPipeline()
    sources, names = [source_id(i) for i in range(12)], value_names(2)
    prefill(pipeline, sources, names, NOW_MS)
    assert len(pipeline.sources) == 12
    points = [DataPoint(source, NOW_MS, names, (50.0, 50.0)) for source in sources]
    outcomes = pipeline.process_batch([Record(point, i, NOW_MS) for i, point in enumerate(points)])
    assert {outcome.status for outcome in outcomes} == {"scored"}


def test_a_partition_without_sources_stays_empty() -> None:
    pipeline = DetectionPipeline()
    prefill(pipeline, [], value_names(1), NOW_MS)
    assert len(pipeline.sources) == 0
