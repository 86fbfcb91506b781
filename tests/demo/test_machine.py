from __future__ import annotations

from service.demo.machine import SOURCE_ID, MachineMeter
from service.wire.data_point import DataPoint
from service.wire.decode import decode
from service.wire.limits import InputLimits

NOW = 1_767_225_600.0


def test_a_reading_is_a_data_point_that_the_service_takes() -> None:
    meter = MachineMeter(NOW)
    body = meter.read(NOW + 1.0)
    point = decode(body, SOURCE_ID.encode(), None, int(NOW * 1000), InputLimits())
    assert isinstance(point, DataPoint)
    assert point.source_id == SOURCE_ID
    assert point.time_ms == round(NOW * 1000) + 1000
    values = dict(zip(point.names, point.values, strict=True))
    assert 0.0 <= values["memory_percent"] <= 100.0
    assert all(value >= 0.0 for value in values.values())
    assert any(name.startswith("cpu_") for name in values)
