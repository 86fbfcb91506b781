from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.features.days import days_since_epoch, is_off, read_holidays

some_days = st.dates(date(1969, 1, 1), date(2099, 12, 31))


@given(some_days, st.sets(some_days, max_size=9))
def test_a_day_is_off_on_weekends_and_holidays(day: date, holidays: set[date]) -> None:
    holidays |= {day + timedelta(days=2)}
    numbers = days_since_epoch(sorted(holidays))
    assert is_off(int(days_since_epoch([day])[0]), numbers) == (day.weekday() >= 5 or day in holidays)


def test_a_file_has_a_date_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "holidays"
    path.write_text("# of the plant\n2026-12-25 Christmas\n\n2026-12-26  # Boxing Day\n", "utf-8")
    assert read_holidays(path) == [date(2026, 12, 25), date(2026, 12, 26)]


def test_a_line_without_a_date_is_named(tmp_path: Path) -> None:
    path = tmp_path / "holidays"
    path.write_text("2026-12-25\n2026-13-01 of no month\n", "utf-8")
    with pytest.raises(ValueError, match="line 2: '2026-13-01'"):
        read_holidays(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no-such-file"):
        read_holidays(tmp_path / "no-such-file")
