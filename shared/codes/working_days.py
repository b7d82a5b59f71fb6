"""The working-day clock of mainland China: the State Council's holidays and make-up workdays as a versioned file.

`working_days.csv` holds one line per run of days that differs from the week's own rhythm, with the notice it comes from
(国务院办公厅关于…年部分节假日安排的通知). The notice for a year appears in the November before it; until its lines
stand in the file, a deadline that reaches into that year is refused rather than guessed.
"""

from __future__ import annotations

import csv
import hashlib
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path

_FILE = Path(__file__).with_suffix(".csv")
_CIVIL = timezone(timedelta(hours=8), "Asia/Shanghai")  # as in shared.kernel, which this package does not know
_SATURDAY = 5


class CalendarMissing(ValueError):
    """The calendar file has no lines for this year, so nobody can say which of its days are worked."""

    rule = "calendar"

    def __init__(self, year: int) -> None:
        self.year = year
        self.zh = f"工作日历缺少 {year} 年的节假日安排:请按国务院办公厅通知补充 shared/codes/{_FILE.name}"
        self.en = (
            f"The working-day calendar has no holidays for {year}: "
            f"add the lines of the State Council's notice to shared/codes/{_FILE.name}"
        )
        super().__init__(self.en)


def _read(text: str) -> dict[date, bool]:
    """Every day that the file names: True for a make-up workday, False for a holiday."""
    named: dict[date, bool] = {}
    for line in csv.DictReader(text.splitlines()):
        day, last = date.fromisoformat(line["from"]), date.fromisoformat(line["until"])
        while day <= last:
            if day in named:
                raise ValueError(f"{_FILE.name} names {day} twice")
            named[day] = line["kind"] == "workday"
            day += timedelta(days=1)
    return named


_TEXT = _FILE.read_text("utf-8")
_NAMED = _read(_TEXT)
YEARS = frozenset(day.year for day in _NAMED)
"""The years whose notice stands in the file."""

CALENDAR_VERSION = f"CN-{max(YEARS)}-{hashlib.sha256(_TEXT.encode()).hexdigest()[:8]}"
"""Newest year and content of the calendar file; a notice pins it, so that its closing can be recomputed."""


def is_working_day(day: date) -> bool:
    """Whether offices work on this day; raises CalendarMissing for a year that the file does not cover."""
    if day.year not in YEARS:
        raise CalendarMissing(day.year)
    return _NAMED.get(day, day.weekday() < _SATURDAY)


def end_of_working_days(opened_on: date, n: int) -> datetime:
    """24:00 Asia/Shanghai of the n-th working day after a day (rule 23 of the domain).

    The day itself never counts, n is at least 1. Opened on Friday 2025-09-26 with n = 5 ends with 2025-10-10, which is
    the instant 2025-10-11T00:00+08:00. Raises CalendarMissing when the run reaches a year without data.
    """
    if n < 1:
        raise ValueError(f"a run of working days has at least one, this has {n}")
    day, left = opened_on, n
    while left:
        day += timedelta(days=1)
        left -= is_working_day(day)
    return datetime.combine(day + timedelta(days=1), time(), _CIVIL)


def working_days_between(a: date, b: date) -> int:
    """How many working days lie after `a` up to and including `b`; negative when `b` is before `a` (overdue)."""
    if b < a:
        return -working_days_between(b, a)
    return sum(is_working_day(a + timedelta(days=step)) for step in range(1, (b - a).days + 1))
