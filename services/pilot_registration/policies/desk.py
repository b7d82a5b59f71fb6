"""待办: what waits for somebody, with the working days left (rule 20)."""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

from services.pilot_registration.domain.issues import QualityIssue
from services.pilot_registration.domain.key_projects import KeyProject
from services.pilot_registration.domain.lifecycle import STATE_WORDS, IssueState, PilotState
from services.pilot_registration.domain.pilots import Pilot
from services.pilot_registration.policies.next_steps import next_step, working_days_left
from shared.kernel import Actor

SOON_WORKING_DAYS = 10
"""What is due within so many working days stands on the desk as due; later than that it is still to do [J]."""

OPEN_PILOTS = tuple(
    state.value
    for state in PilotState
    if state
    not in (
        PilotState.REFUSED, PilotState.NOT_SELECTED, PilotState.DISQUALIFIED, PilotState.ACCEPTED, PilotState.WITHDRAWN,
    )
)  # fmt: skip
AT_WORK = (IssueState.ASSIGNED.value, IssueState.IN_PROGRESS.value)


class DeskItem(NamedTuple):
    """One thing to do: what it is about, the verb, why, who holds it, and until when.

    `urgency` is returned, overdue, due or to-do, most pressing first.
    """

    urgency: str
    about: str
    id: str
    title: str
    verb: str
    zh: str
    en: str
    held_by: tuple[str, ...]
    due_on: date | None
    working_days_left: int | None
    reasons: tuple[str, ...] = ()
    missing: tuple[dict[str, str], ...] = ()

    def shown(self) -> dict[str, Any]:
        """As it is answered."""
        return self._asdict() | {"due_on": self.due_on.isoformat() if self.due_on else None}

    def order(self) -> tuple[Any, ...]:
        """The most pressing first; what has no day comes after what has one."""
        return (_URGENCIES.index(self.urgency), self.due_on is None, self.due_on or date.max, self.id)


_URGENCIES = ("returned", "overdue", "due", "to-do")


def of_pilot(pilot: Pilot, by: Actor, today: date) -> list[DeskItem]:
    """What a pilot asks of the caller: the next step if the caller can take it, and shares to confirm."""
    items: list[DeskItem] = []
    step = next_step(pilot)
    if pilot.state in (PilotState.DRAFT, PilotState.RETURNED) and by.roles & {"registrar", "province"}:
        for region in pilot.regions:
            if region not in pilot.confirmed and by.scope.covers(region):
                zh, en = f"请确认 {region} 的份额", f"Confirm the share of {region}"
                items.append(_item("to-do", "pilot", pilot, "confirm-share", (zh, en), (region,), None, today))
    if step is None or not (set(step.roles) & by.roles) or not by.scope.covers(pilot.lead_region):
        return items
    zh, en = STATE_WORDS[pilot.state]
    returned = pilot.state is PilotState.RETURNED
    item = _item(
        "returned" if returned else _urgency(today, step.due_on), "pilot", pilot, step.verb, (zh, en), step.roles,
        step.due_on, today,
    )  # fmt: skip
    missing = tuple(dict(lack._asdict()) for lack in step.missing)
    items.append(item._replace(reasons=pilot.reasons if returned else (), missing=missing))
    return items


def of_issue(issue: QualityIssue, by: Actor, today: date) -> list[DeskItem]:
    """An issue to assign, or to solve until a day; one whose closure was refused comes back with the reason."""
    zh, en = STATE_WORDS[issue.state]
    if issue.state is IssueState.LISTED:
        if not by.roles & {"province", "office"}:
            return []
        return [_item("to-do", "quality-issue", issue, "assign", (zh, en), ("province", "office"), None, today)]
    if issue.state.value not in AT_WORK or not (by.org == issue.owner or "registrar" in by.roles):
        return []
    urgency = "returned" if issue.reason else _urgency(today, issue.due_on)
    item = _item(
        urgency, "quality-issue", issue, "claim-closure", (zh, en), (issue.owner, "registrar"), issue.due_on, today
    )
    return [item._replace(reasons=(issue.reason,) if issue.reason else ())]


def of_project(project: KeyProject, by: Actor, today: date) -> list[DeskItem]:
    """A key project with milestones or documents still to come."""
    if not (by.org in (project.leader, project.institution) or "registrar" in by.roles):
        return []
    reached = {milestone.milestone for milestone in project.reached}
    milestones = [milestone for milestone in project.milestones if milestone not in reached]
    documents = [kind.value for kind in project.missing_documents]
    if not milestones and not documents:
        return []
    verb = "report-milestone" if milestones else "file-document"
    words = (
        f"未达成里程碑 {len(milestones)} 个,未归档文件 {len(documents)} 份",
        f"{len(milestones)} milestones and {len(documents)} documents to come",
    )
    item = _item(
        _urgency(today, project.due_on), "key-project", project, verb, words, (project.leader, "registrar"),
        project.due_on, today,
    )  # fmt: skip
    lacks = [{"what": f"milestone-{name}", "zh": name, "en": name, "by": project.leader} for name in milestones]
    lacks += [{"what": f"document-{name}", "zh": name, "en": name, "by": project.leader} for name in documents]
    return [item._replace(missing=tuple(lacks))]


def _item(  # noqa: PLR0917 - the fields of an item, in their order
    urgency: str, about: str, subject: Pilot | QualityIssue | KeyProject, verb: str, words: tuple[str, str],
    held_by: tuple[str, ...], due_on: date | None, today: date,
) -> DeskItem:  # fmt: skip
    return DeskItem(
        urgency, about, subject.id, subject.title, verb, *words, held_by, due_on, working_days_left(today, due_on)
    )


def _urgency(today: date, due_on: date | None) -> str:
    if due_on is None:
        return "to-do"
    if today > due_on:
        return "overdue"
    left = working_days_left(today, due_on)
    return "due" if left is not None and left <= SOON_WORKING_DAYS else "to-do"
