"""The State Council's calendar, checked day by day against chinese-calendar as the second opinion."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import chinese_calendar as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.codes import working_days
from shared.codes.working_days import (
    CALENDAR_VERSION,
    YEARS,
    CalendarMissing,
    end_of_working_days,
    is_working_day,
    working_days_between,
)

FIRST, LAST = date(2024, 1, 1), date(2026, 12, 31)
DAYS = [FIRST + timedelta(days=step) for step in range((LAST - FIRST).days + 1)]
days = st.dates(FIRST, LAST)


def test_every_day_of_the_file_agrees_with_the_second_opinion() -> None:
    assert {2024, 2025, 2026} == YEARS
    assert [day for day in DAYS if is_working_day(day) != oracle.is_workday(day)] == []


def test_every_line_changes_something_and_names_its_notice() -> None:
    with Path(working_days.__file__).with_suffix(".csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert lines == sorted(lines, key=lambda line: line["from"])
    for line in lines:
        first, last = date.fromisoformat(line["from"]), date.fromisoformat(line["until"])
        run = [first + timedelta(days=step) for step in range((last - first).days + 1)]
        weekend = line["kind"] == "workday"
        assert line["kind"] in ("holiday", "workday")
        assert any((day.weekday() >= 5) == weekend for day in run), line
        assert line["notice"].startswith("国办发明电〔")


def test_rule_23_a_notice_over_the_national_holiday_ends_on_the_tenth_of_october() -> None:
    assert is_working_day(date(2025, 9, 28)), "a Sunday that is worked"
    ends = end_of_working_days(date(2025, 9, 26), 5)
    assert ends.isoformat() == "2025-10-11T00:00:00+08:00"
    assert ends == datetime(2025, 10, 10, 16, tzinfo=UTC)
    assert working_days_between(date(2025, 9, 26), date(2025, 10, 10)) == 5


@pytest.mark.parametrize("year", [2023, 2027])
def test_a_year_without_data_is_refused_by_name_with_the_file_to_complete(year: int) -> None:
    with pytest.raises(CalendarMissing) as refused:
        is_working_day(date(year, 6, 1))
    assert refused.value.year == year
    for sentence in (refused.value.zh, refused.value.en):
        assert str(year) in sentence
        assert "shared/codes/working_days.csv" in sentence
    assert (Path(__file__).parents[3] / "shared/codes/working_days.csv").exists()


def test_a_deadline_never_runs_into_a_year_without_data() -> None:
    assert end_of_working_days(date(2026, 12, 24), 5) == datetime(2026, 12, 31, 16, tzinfo=UTC)
    with pytest.raises(CalendarMissing, match="2027"):
        end_of_working_days(date(2026, 12, 24), 6)


@given(days.filter(lambda day: day < date(2026, 11, 1)), st.integers(1, 25))
def test_the_end_is_midnight_after_a_working_day_with_exactly_n_of_them_passed(opened_on: date, n: int) -> None:
    ends = end_of_working_days(opened_on, n)
    last = ends.date() - timedelta(days=1)
    assert (ends.hour, ends.minute, ends.utcoffset()) == (0, 0, timedelta(hours=8))
    assert oracle.is_workday(last)
    assert len(oracle.get_workdays(opened_on + timedelta(days=1), last)) == n


@given(days, days, days)
def test_working_days_add_up_in_either_direction(a: date, b: date, c: date) -> None:
    assert working_days_between(a, c) == working_days_between(a, b) + working_days_between(b, c)
    assert working_days_between(a, a) == 0


@pytest.mark.parametrize("n", [0, -1])
def test_a_run_of_no_days_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        end_of_working_days(date(2025, 3, 3), n)


def test_the_version_names_the_newest_year_and_the_content() -> None:
    year, digest = CALENDAR_VERSION.removeprefix("CN-").split("-")
    assert (year, len(digest)) == ("2026", 8)
