"""Quality issues and key projects: assigned, claimed, reported; and what evaluation says of a claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from services.pilot_registration.domain.issues import GRADES, QualityIssue
from services.pilot_registration.domain.key_projects import KeyProject
from services.pilot_registration.domain.lifecycle import IssueState, PilotState, ProjectState
from services.pilot_registration.domain.pilots import Pilot
from services.pilot_registration.handlers.checks import Faults
from services.pilot_registration.handlers.imports import Issues, KeyProjects
from services.pilot_registration.handlers.parties import Parties
from services.pilot_registration.handlers.pilots import Papers, Pilots, Rows
from services.pilot_registration.policies.visibility import sees
from shared.contracts.evaluation import IssueClosureRejected, IssueClosureVerified
from shared.contracts.fact import Recorded
from shared.contracts.pilot_registration import DocumentKind
from shared.kernel import Actor, DomainError, Forbidden, NotFound, microseconds

_AT_WORK = (PilotState.APPROVED, PilotState.RUNNING, PilotState.ACCEPTANCE_REQUESTED, PilotState.ACCEPTED)


class PilotNotRunning(DomainError):
    """Issues are worked on once the pilot is approved."""

    code = "pilot-not-running"
    zh = "试点 {pilot_id} 尚未立项({state}),不能办理问题或攻关项目"
    en = "The pilot {pilot_id} is not approved yet ({state}): its issues and projects cannot be worked on"


class OutsideYourRegion(Forbidden):
    """Issues are assigned by the province of their pilot's lead region, or by the office."""

    code = "outside-your-region"
    zh = "此项操作由牵头地区所在的省级或主管部门办理"
    en = "This is done by the province of the lead region, or the office"


@dataclass(frozen=True, slots=True)
class IssueFlow:
    """One method per use case and per reaction."""

    issues: Issues
    pilots: Pilots
    parties: Parties
    papers: Papers
    uses: Rows
    known_verdicts: Rows

    async def assign(
        self, issue_id: str, *, owner: str, grade: int, due_on: date, by: Actor, at: datetime
    ) -> QualityIssue:
        """An owner becomes responsible, and the grade is confirmed by somebody other than who listed it."""
        issue, pilot = await self._found(issue_id, by)
        if not by.scope.covers(pilot.lead_region):
            raise OutsideYourRegion
        faults = Faults()
        code = faults.uscc("owner", owner)
        party = None if faults.found else await self.parties.find_one(code)
        if party is None and not faults.found:
            faults.add("owner", "party-unknown", "责任单位尚未登记", "The owner is not registered yet", owner)
        if grade not in GRADES:
            faults.add("grade", "grade-range", "等级应为 1 至 4", "A grade is 1 to 4", str(grade))
        faults.check()
        assert party is not None
        issue.assign(owner=code, owner_division=party.division_code, grade=grade, due_on=due_on, by=by, at=at)
        self.issues.save(issue)
        return issue

    async def claim_closure(
        self, issue_id: str, *, value: Decimal, n: int, on: date, attachment_ids: Sequence[str], by: Actor,
        at: datetime,
    ) -> QualityIssue:  # fmt: skip
        """The owner says it is solved; the documents go along as evidence of the fact."""
        issue, _pilot = await self._found(issue_id, by)
        attachments = [(id, await self.papers.evidence(id, by=by)) for id in attachment_ids]
        issue.claim_closure(value=value, n=n, on=on, attachments=attachments, by=by, at=at)
        for id in attachment_ids:
            self.uses.push(id, "uses", {"issue": issue_id})
        self.issues.save(issue)
        return issue

    async def reopen(self, issue_id: str, *, reason: str, by: Actor, at: datetime) -> QualityIssue:
        """A verified issue came back."""
        issue, _pilot = await self._found(issue_id, by)
        issue.reopen(reason, at=at)
        self.issues.save(issue)
        return issue

    async def on_issue_closure_verified(self, fact: Recorded[IssueClosureVerified]) -> None:
        """The issue is closed; an issue that never was is a fault somebody must look at."""
        issue = await self._judged(fact)
        verdict = fact.fact
        if issue.close(verdict_fact=fact.id, verifier_org=verdict.verifier_org, effective_at=fact.effective_at):
            self.issues.save(issue)

    async def on_issue_closure_rejected(self, fact: Recorded[IssueClosureRejected]) -> None:
        """The owner works on."""
        issue = await self._judged(fact)
        verdict = fact.fact
        if issue.send_back(
            verdict_fact=fact.id, verifier_org=verdict.verifier_org, reason=verdict.reason,
            effective_at=fact.effective_at,
        ):  # fmt: skip
            self.issues.save(issue)

    async def _judged(self, fact: Recorded[IssueClosureVerified] | Recorded[IssueClosureRejected]) -> QualityIssue:
        issue = await self.issues.find_one(fact.subject)
        if issue is None:
            raise UnknownIssue(fact.subject)
        # Every verdict is kept, also one about a claim that is no longer open and moves nothing.
        verdict = {"fact": fact.id, "type": type(fact.fact).__name__, "claim_fact": fact.fact.claim_fact}
        self.known_verdicts.push(fact.subject, "verdicts", verdict | {"at": microseconds(fact.effective_at)})
        return issue

    async def _found(self, issue_id: str, by: Actor) -> tuple[QualityIssue, Pilot]:
        issue = await self.issues.find_one(issue_id)
        if issue is None or not by.scope.covers_any(issue.regions):
            raise NotFound
        pilot = await _pilot_at_work(self.pilots, issue.pilot_id, by)
        if issue.state is IssueState.REMOVED:
            raise NotFound
        return issue, pilot


class UnknownIssue(Exception):
    """Evaluation speaks of an issue that was never listed here: a fault, not a refusal; it becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class ProjectFlow:
    """One method per use case."""

    projects: KeyProjects
    pilots: Pilots
    papers: Papers
    uses: Rows

    async def report_milestone(
        self, project_id: str, *, milestone: str, reached_on: date, by: Actor, at: datetime
    ) -> KeyProject:
        """A milestone was reached."""
        project = await self._found(project_id, by)
        project.report_milestone(milestone, reached_on, by=by, at=at)
        self.projects.save(project)
        return project

    async def file_document(
        self, project_id: str, *, document_kind: DocumentKind, attachment_id: str, by: Actor, at: datetime
    ) -> KeyProject:
        """One of the four documents is filed, as evidence of the fact; the same bytes again change nothing."""
        project = await self._found(project_id, by)
        evidence = await self.papers.evidence(attachment_id, by=by)
        if project.file_document(document_kind, attachment_id, evidence, by=by, at=at):
            self.uses.push(attachment_id, "uses", {"project": project_id})
            self.projects.save(project)
        return project

    async def _found(self, project_id: str, by: Actor) -> KeyProject:
        project = await self.projects.find_one(project_id)
        if project is None or not by.scope.covers_any(project.regions):
            raise NotFound
        await _pilot_at_work(self.pilots, project.pilot_id, by)
        if project.state is ProjectState.REMOVED:
            raise NotFound
        return project


async def _pilot_at_work(pilots: Pilots, pilot_id: str, by: Actor) -> Pilot:
    pilot = await pilots.find_one(pilot_id)
    if pilot is None or (pilot.state is PilotState.DRAFT and not sees(pilot, by)):
        raise NotFound
    if pilot.state not in _AT_WORK:
        raise PilotNotRunning(pilot_id=pilot_id, state=pilot.state.value)
    return pilot
