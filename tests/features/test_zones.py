from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from service.features.zones import offsets_ms, zone


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"])
def test_offsets_are_those_of_the_zone_at_every_instant(name: str) -> None:
    rng = np.random.default_rng(1)
    seconds = rng.integers(0, 2_000_000_000, 500)
    expected = [datetime.fromtimestamp(int(s), UTC).astimezone(ZoneInfo(name)).utcoffset() for s in seconds]
    found = offsets_ms(name, seconds * 1000)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [int(offset.total_seconds() * 1000) for offset in expected if offset is not None]


def test_utc_costs_nothing() -> None:
    assert offsets_ms("UTC", np.arange(3)) == 0


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="Mars/Olympus"):
        zone("Mars/Olympus")
