"""A quality issue (质量问题): listed, assigned, claimed solved, verified by somebody else, perhaps back again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from services.pilot_registration.domain.lifecycle import ISSUE_TRANSITIONS, IssueState, allow
from services.pilot_registration.domain.shares import SeparationOfDuties, civil_day, not_after_today
from shared.contracts.fact import Evidence
from shared.contracts.pilot_registration import (
    Direction,
    IssueAssigned,
    IssueChanged,
    IssueClass,
    IssueClosed,
    IssueClosureClaimed,
    IssueListed,
    IssueRemoved,
    IssueReopened,
    IssueSentBack,
    Measure,
)
from shared.kernel import Actor, Aggregate, DomainError, FieldError, Forbidden, InvalidInput

REOPEN_DAYS_MAX = 180
GRADES = (1, 2, 3, 4)


class RecurrenceTooLate(DomainError):
    """A recurrence later than 180 days is a new issue."""

    code = "recurrence-too-late"
    zh = "销号已过 {days} 天(上限 {limit} 天):请作为新问题列入清单"
    en = "It was verified {days} days ago (at most {limit}): list it as a new issue"


class NotTheOwner(Forbidden):
    """An enterprise or institution claims the closure of its own issues only."""

    code = "not-the-owner"
    zh = "只有责任单位({owner})或地区登记员可以办理"
    en = "Only its owner ({owner}) or the region's registrar can do this"


class Listing(NamedTuple):
    """What the issue list says of an issue."""

    title: str
    issue_class: IssueClass
    grade: int
    division_code: str
    owner: str
    baseline: Measure


def checked_reading(value: Decimal, n: int, *, field: str) -> list[FieldError]:
    """The faults of a measure: a fraction in [0, 1] seen on a sample of at least one."""
    faults = []
    if not value.is_finite() or not 0 <= value <= 1:
        zh, en = "应为 0 至 1 之间的比率(如 0.035 或 3.5%)", "A fraction from 0 to 1 is expected, as 0.035"
        faults.append(FieldError(f"{field}.value", "measure-fraction", zh, en, str(value)))
    if n < 1:
        zh, en = "样本量至少为 1", "The sample has at least one"
        faults.append(FieldError(f"{field}.n", "measure-sample", zh, en, str(n)))
    return faults


class QualityIssue(Aggregate):
    """An issue of a pilot; seen by the pilot's regions, its own division and its owner's."""

    pilot_id: str = ""
    number: str = ""
    title: str = ""
    issue_class: IssueClass = IssueClass.TECHNIQUE
    grade: int = 4
    division_code: str = ""
    owner: str = ""
    baseline: Measure = Measure(name="", direction=Direction.LOWER, value=Decimal(0), n=1, on=date(2000, 1, 1))
    state: IssueState = IssueState.LISTED
    since: date | None = None
    listed_by: str = ""
    list_version: int = 1
    due_on: date | None = None
    confirmed_by: str = ""
    after: Measure | None = None
    attachment_ids: tuple[str, ...] = ()
    claimant: str = ""
    rejections: int = 0
    reopenings: int = 0
    reason: str = ""
    verified_on: date | None = None

    @classmethod
    def enter(  # the issue list's word for it
        cls, *, pilot_id: str, number: str, listing: Listing, regions: Sequence[str], list_version: int, by: Actor,
        at: datetime,
    ) -> QualityIssue:  # fmt: skip
        """Enters the list under its stable 编号."""
        issue = cls(id=issue_id(pilot_id, number), pilot_id=pilot_id, number=number)
        issue._list(listing, regions, list_version, by, at)
        return issue

    def relist(self, listing: Listing, *, regions: Sequence[str], list_version: int, by: Actor, at: datetime) -> None:
        """Comes back to the list after it was taken off."""
        self._allow("relist")
        self._list(listing, regions, list_version, by, at)

    def change(self, listing: Listing, *, regions: Sequence[str], by: Actor, at: datetime) -> None:
        """A re-import says something else; only as long as nobody is responsible yet."""
        self._allow("change")
        self._take(listing, regions, by)
        self.record(IssueChanged(issue_id=self.id, **listing._asdict()), effective_at=at)

    def remove(self, reason: str, *, at: datetime) -> None:
        """A re-import asked to take it off the list; only as long as nobody is responsible yet."""
        self._allow("remove")
        self.state, self.since = IssueState.REMOVED, civil_day(at)
        self.record(IssueRemoved(issue_id=self.id, reason=reason), effective_at=at)

    def assign(self, *, owner: str, owner_division: str, grade: int, due_on: date, by: Actor, at: datetime) -> None:
        """An owner is responsible until a day; who assigns confirms the grade and is not who listed it."""
        self._allow("assign")
        if by.id == self.listed_by:
            raise SeparationOfDuties(
                zh_first="列入问题", zh_second="确认等级", en_first="listed the issue", en_second="confirm its grade"
            )
        if by.org and by.org == owner:
            raise SeparationOfDuties(
                zh_first="承担责任", zh_second="确认等级", en_first="owns the issue", en_second="confirm its grade"
            )
        if due_on < civil_day(at):
            zh, en = "完成期限不能早于今天", "The due day cannot lie before today"
            raise InvalidInput(errors=[FieldError("due_on", "date-in-past", zh, en, str(due_on))])
        self.owner, self.grade, self.due_on = owner, grade, due_on
        self.regions = tuple(dict.fromkeys((*self.regions, owner_division)))
        self.confirmed_by = by.id
        self.state, self.since = IssueState.ASSIGNED, civil_day(at)
        fact = IssueAssigned(
            issue_id=self.id, pilot_id=self.pilot_id, division_code=self.division_code, owner=owner, grade=grade,
            due_on=due_on, confirmed_by=by.org or by.id,
        )  # fmt: skip
        self.record(fact, effective_at=at)

    def claim_closure(
        self, *, value: Decimal, n: int, on: date, attachments: Sequence[tuple[str, Evidence]], by: Actor, at: datetime
    ) -> None:
        """The owner (or the registrar for it) says it is solved: the measure after, and the documents behind it."""
        self._allow("claim-closure")
        self.owned_by(by)
        faults = checked_reading(value, n, field="after")
        if on < self.baseline.on:
            zh, en = f"早于基线测量日 {self.baseline.on}", f"It lies before the baseline of {self.baseline.on}"
            faults.append(FieldError("after.on", "date-before-baseline", zh, en, str(on)))
        if not attachments:
            zh, en = "销号须附证明材料", "A closure needs documents behind it"
            faults.append(FieldError("attachment_ids", "evidence-missing", zh, en))
        if faults:
            raise InvalidInput(errors=faults)
        not_after_today("after.on", on, at)
        self.after = Measure(name=self.baseline.name, direction=self.baseline.direction, value=value, n=n, on=on)
        self.attachment_ids = tuple(id for id, _evidence in attachments)
        self.claimant = by.id
        self.state, self.since = IssueState.CLOSURE_CLAIMED, civil_day(at)
        fact = IssueClosureClaimed(
            issue_id=self.id, pilot_id=self.pilot_id, claimed_by=by.id, claimant_org=by.org or self.owner,
            baseline=self.baseline, after=self.after,
        )  # fmt: skip
        self.record(fact, effective_at=at, evidence=[evidence for _id, evidence in attachments])

    def close(self, *, verdict_fact: str, verifier_org: str, effective_at: datetime) -> bool:
        """Evaluation verified the closure; False when it is not (or no longer) claimed."""
        if self.state is not IssueState.CLOSURE_CLAIMED:
            return False
        self.state, self.since = IssueState.VERIFIED, civil_day(effective_at)
        self.verified_on, self.reason = civil_day(effective_at), ""
        fact = IssueClosed(
            issue_id=self.id, pilot_id=self.pilot_id, verdict_fact=verdict_fact, verifier_org=verifier_org
        )
        self.record(fact, effective_at=effective_at)
        return True

    def send_back(self, *, verdict_fact: str, verifier_org: str, reason: str, effective_at: datetime) -> bool:
        """Evaluation refused the closure; its owner works on. False when it is not (or no longer) claimed."""
        if self.state is not IssueState.CLOSURE_CLAIMED:
            return False
        self.state, self.since = IssueState.IN_PROGRESS, civil_day(effective_at)
        self.rejections, self.reason = self.rejections + 1, reason
        fact = IssueSentBack(
            issue_id=self.id, pilot_id=self.pilot_id, verdict_fact=verdict_fact, verifier_org=verifier_org,
            reason=reason,
        )  # fmt: skip
        self.record(fact, effective_at=effective_at)
        return True

    def reopen(self, reason: str, *, at: datetime) -> None:
        """A verified issue came back within 180 days."""
        self._allow("reopen")
        assert self.verified_on is not None
        days = (civil_day(at) - self.verified_on) // timedelta(days=1)
        if days > REOPEN_DAYS_MAX:
            raise RecurrenceTooLate(days=days, limit=REOPEN_DAYS_MAX)
        self.state, self.since = IssueState.IN_PROGRESS, civil_day(at)
        self.reopenings, self.reason, self.after = self.reopenings + 1, reason, None
        self.record(IssueReopened(issue_id=self.id, reason=reason), effective_at=at)

    def owned_by(self, by: Actor) -> None:
        """Raises NotTheOwner unless the caller is its owner or a registrar."""
        if "registrar" not in by.roles and by.org != self.owner:
            raise NotTheOwner(owner=self.owner)

    @property
    def listing(self) -> Listing:
        """What the issue list says of it."""
        return Listing(self.title, self.issue_class, self.grade, self.division_code, self.owner, self.baseline)

    @property
    def possible(self) -> tuple[str, ...]:
        """The verbs that are possible now."""
        return ISSUE_TRANSITIONS[self.state]

    def _list(self, listing: Listing, regions: Sequence[str], list_version: int, by: Actor, at: datetime) -> None:
        self._take(listing, regions, by)
        self.state, self.since, self.list_version = IssueState.LISTED, civil_day(at), list_version
        fact = IssueListed(issue_id=self.id, pilot_id=self.pilot_id, number=self.number, **listing._asdict())
        self.record(fact, effective_at=at)

    def _take(self, listing: Listing, regions: Sequence[str], by: Actor) -> None:
        for name, value in listing._asdict().items():
            setattr(self, name, value)
        self.regions, self.listed_by = tuple(dict.fromkeys(regions)), by.id

    def _allow(self, verb: str) -> None:
        allow(self.id, self.state, verb, transitions=ISSUE_TRANSITIONS)


def issue_id(pilot_id: str, number: str) -> str:
    """An issue is named by its pilot and its stable 编号."""
    return f"{pilot_id}:Q:{number}"
