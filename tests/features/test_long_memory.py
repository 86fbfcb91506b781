from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from service.features.config import FeatureConfig
from tests.streams import MISSING, Features, a_point, noise, series


def test_nothing_is_said_before_there_is_a_history() -> None:
    batch = Features().of(series(np.random.default_rng(1).normal(size=40)))
    assert np.isnan(batch.oddness[:30]).all()
    assert np.isfinite(batch.oddness[30:]).all()
    assert np.isfinite(batch.evidence[30:]).all()


def test_the_value_at_fault_has_the_largest_share() -> None:
    points = noise(2, 1600, sources=1, names=("a", "b", "c"))
    values = [*points[-1].values[:1], 25.0, *points[-1].values[2:]]
    points.append(a_point("pump-0", 2000, dict(zip("abc", values, strict=True))))
    batch = Features().of(points)
    assert batch.oddness[-1] > batch.oddness[500:-1].max()
    assert batch.shares[-3:].argmax() == 1
    assert np.isnan(batch.evidence).all()


def test_a_missing_value_takes_no_part() -> None:
    points = noise(3, 400, sources=1, names=("a", "b"))
    points.append(a_point("pump-0", 2000, {"a": 0.0, "b": MISSING}))
    points.append(a_point("pump-0", 2001, {"b": 0.0}))
    batch = Features().of(points)
    assert np.isfinite(batch.oddness[-2:]).all()
    assert batch.shares[-2] == 0.0


def test_a_point_without_any_value_is_not_judged() -> None:
    points = [*noise(4, 100, sources=1, names=("a",)), a_point("pump-0", 2000, {"a": MISSING})]
    assert np.isnan(Features().of(points).oddness[-1])


def test_less_can_be_kept() -> None:
    lean = FeatureConfig(recurrence_values=0, joint_values=0, signs_of_change=False)
    batch = Features(lean).of(noise(5, 400))
    assert np.isfinite(batch.oddness[-1])
    assert np.isnan(batch.evidence).all()


def test_holidays_are_those_of_a_file_in_order_and_once(tmp_path: Path) -> None:
    path = tmp_path / "holidays"
    path.write_text("2026-12-26\n2026-12-25\n2026-12-26\n", "utf-8")
    from_file = FeatureConfig.model_validate({"holidays": str(path)})
    assert from_file.holidays == (date(2026, 12, 25), date(2026, 12, 26))
    assert FeatureConfig.model_validate(from_file.model_dump(mode="json")) == from_file


def test_a_file_of_holidays_with_a_fault_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "holidays"
    path.write_text("Christmas\n", "utf-8")
    with pytest.raises(ValidationError, match="line 1: 'Christmas'"):
        FeatureConfig.model_validate({"holidays": str(path)})


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="Mars"):
        FeatureConfig(time_zone="Mars/Olympus")
