from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, ValidationError

from service.durations import Duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25), ("30s", 30.0), ("5m", 300.0), ("2h", 7_200.0), ("1d", 86_400.0), ("1.5h", 5_400.0),
        ("10 s", 10.0), (" 5m ", 300.0), ("30", 30.0), ("0", 0.0), (7, 7.0), (0.5, 0.5),
    ],
)  # fmt: skip
def test_a_duration_is_text_with_a_unit_or_a_number_of_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "5 minutes",
        "-5s",
        "1h30m",
        "1e3",
        "٣s",
        "nan",
        True,
        None,
        [],
        -1,
        float("inf"),
        float("nan"),
    ],
)
def test_anything_else_is_refused_with_how_to_write_it(written: object) -> None:
    with pytest.raises(ValueError, match="30s, 5m"):
        parse_duration(written)


def test_a_field_keeps_its_bounds() -> None:
    class Config(BaseModel):
        wait: Duration = Field(default=1.0, gt=0, le=60)

    assert Config.model_validate({"wait": "1m"}).wait == 60.0
    with pytest.raises(ValidationError):
        Config.model_validate({"wait": "2m"})
