"""What a pilot needs next, and from whom."""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from services.pilot_registration.domain.applications import Missing
from services.pilot_registration.domain.lifecycle import PilotState
from services.pilot_registration.domain.pilots import Pilot
from shared.codes.working_days import CalendarMissing, end_of_working_days, working_days_between
from shared.kernel import CIVIL

FORM_CHECK_DAYS = 5
"""The form check takes at most five working days [J]."""


class NextStep(NamedTuple):
    """The verb, the roles that can do it, by when, and what must be there before."""

    verb: str
    roles: tuple[str, ...]
    due_on: date | None
    missing: tuple[Missing, ...]


def next_step(pilot: Pilot) -> NextStep | None:
    """What has to happen next; None when the pilot has come to its end."""
    if pilot.state in (PilotState.DRAFT, PilotState.RETURNED):
        return NextStep("submit", ("registrar",), None, tuple(pilot.missing_for_submission()))
    if pilot.state is PilotState.SUBMITTED:
        return NextStep("admit", ("province", "office"), _days_after(pilot.since, FORM_CHECK_DAYS), ())
    if pilot.state is PilotState.IN_NOTICE and pilot.notice is not None:
        last_day = pilot.notice.closes_at.astimezone(CIVIL).date() - timedelta(days=1)
        waits = Missing("notice", f"公示至 {last_day} 24:00", f"the notice runs until the end of {last_day}", "time")
        return NextStep("close-notice", (), last_day, (waits,))
    if pilot.state is PilotState.OBJECTION_HOLD:
        open_ones = [objection for objection in pilot.objections if objection.sustained is None]
        waits = Missing(
            "objection",
            f"有 {len(open_ones)} 件异议待裁定",
            f"{len(open_ones)} objections are undecided",
            "supervision",
        )
        return NextStep("decide-objection", ("office", "supervision"), None, (waits,))
    if pilot.state in (PilotState.APPROVED, PilotState.RUNNING):
        verb = "start" if pilot.state is PilotState.APPROVED else "request-acceptance"
        roles = ("registrar", "province", "office") if verb == "start" else ("registrar",)
        return NextStep(verb, roles, pilot.due_on, ())
    verb = _OFFICE_STEPS.get(pilot.state, "")
    return NextStep(verb, ("office",), None, ()) if verb else None


def working_days_left(today: date, due_on: date | None) -> int | None:
    """Working days from today to the day, negative when overdue; None without a day or without a calendar for it."""
    if due_on is None:
        return None
    try:
        return working_days_between(today, due_on)
    except CalendarMissing:
        return None


def _days_after(day: date | None, n: int) -> date | None:
    if day is None:
        return None
    try:
        return end_of_working_days(day, n).date() - timedelta(days=1)
    except CalendarMissing:
        return None


_OFFICE_STEPS = {
    PilotState.ADMITTED: "select",
    PilotState.SELECTED: "open-notice",
    PilotState.NOTICE_CLOSED: "approve",
    PilotState.ACCEPTANCE_REQUESTED: "accept",
}
