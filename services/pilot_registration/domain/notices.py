"""A public notice (公示) on the working-day clock, and the objections that stop it (rules 2 and 23)."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from pydantic import BaseModel

from services.pilot_registration.domain.shares import civil_day
from shared.codes.working_days import CALENDAR_VERSION, CalendarMissing, end_of_working_days, working_days_between
from shared.contracts.fact import Evidence
from shared.kernel import CIVIL, DomainError


class NoticeOver(DomainError):
    """It is too late to object, or too early to close."""

    code = "notice-time"
    zh = "公示{zh}(截止 {closes_at})"
    en = "The notice {en} (it closes at {closes_at})"


class CalendarUnknown(DomainError):
    """Nobody knows yet which days of that year are worked."""

    code = "calendar-missing"
    status = 422
    zh = "{zh}"
    en = "{en}"


class Objection(BaseModel):
    """An objection (异议) with its evidence; `sustained` is empty until it is decided."""

    objection_id: str
    objector: str
    objector_id: str
    reason: str
    filed_at: datetime
    evidence: tuple[Evidence, ...]
    sustained: bool | None = None
    decision: str = ""


class Notice(BaseModel):
    """An open or closed notice. `turn` counts how often its end was set; `days_left` is kept while it is held."""

    notice_id: str
    opened_on: date
    working_days: int
    closes_at: datetime
    calendar_version: str
    turn: int = 1
    days_left: int | None = None

    @classmethod
    def open(cls, pilot_id: str, working_days: int, *, at: datetime) -> Notice:
        """Opens today; closes at the end of the n-th working day after."""
        opened_on = civil_day(at)
        return cls(
            notice_id=f"{pilot_id}:N:1",
            opened_on=opened_on,
            working_days=working_days,
            closes_at=_end(opened_on, working_days),
            calendar_version=CALENDAR_VERSION,
        )

    def held(self, at: datetime) -> Notice:
        """The clock stands still: the working days left are counted with the day of the hold, which is not over."""
        if self.days_left is not None:
            return self
        last_day = self.closes_at.astimezone(CIVIL).date() - timedelta(days=1)
        left = working_days_between(civil_day(at) - timedelta(days=1), last_day)
        return self.model_copy(update={"days_left": left})

    def resumed(self, at: datetime) -> Notice:
        """The clock goes on today with the working days that were left; held and resumed on one day changes nothing."""
        assert self.days_left is not None
        closes_at = _end(civil_day(at) - timedelta(days=1), self.days_left)
        return self.model_copy(
            update={
                "closes_at": closes_at,
                "days_left": None,
                "turn": self.turn + 1,
                "calendar_version": CALENDAR_VERSION,
            }
        )


def _end(day: date, working_days: int) -> datetime:
    try:
        return end_of_working_days(day, working_days)
    except CalendarMissing as missing:
        raise CalendarUnknown(zh=missing.zh, en=missing.en) from missing
