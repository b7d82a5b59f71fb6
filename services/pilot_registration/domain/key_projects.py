"""A key project (攻关项目): traced to issues, with milestones and the four documents 三书一表."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from pydantic import BaseModel

from services.pilot_registration.domain.issues import NotTheOwner
from services.pilot_registration.domain.lifecycle import STATE_WORDS, IllegalTransition, ProjectState
from services.pilot_registration.domain.shares import civil_day, moment_of, not_after_today
from shared.contracts.fact import Evidence
from shared.contracts.pilot_registration import (
    DocumentKind,
    KeyProjectChanged,
    KeyProjectDocumentFiled,
    KeyProjectListed,
    KeyProjectRemoved,
    MilestoneReported,
)
from shared.kernel import Actor, Aggregate, DomainError, FieldError, InvalidInput


class MilestoneAlreadyReported(DomainError):
    """A milestone is reached once."""

    code = "milestone-already-reported"
    zh = "里程碑“{milestone}”已于 {reached_on} 达成"
    en = "The milestone {milestone} was reached on {reached_on} already"


class ProjectListing(NamedTuple):
    """What the key-project list says of a project."""

    title: str
    issue_ids: tuple[str, ...]
    leader: str
    institution: str
    due_on: date
    milestones: tuple[str, ...]


class Milestone(BaseModel):
    """A milestone that was reached."""

    milestone: str
    reached_on: date


class ProjectDocument(BaseModel):
    """One of the four documents, as filed last."""

    document_kind: DocumentKind
    attachment_id: str
    sha256: str


class KeyProject(Aggregate):
    """A key project of a pilot; seen by the pilot's regions and those of its leader and institution."""

    pilot_id: str = ""
    number: str = ""
    title: str = ""
    issue_ids: tuple[str, ...] = ()
    leader: str = ""
    institution: str = ""
    due_on: date = date(2000, 1, 1)
    milestones: tuple[str, ...] = ()
    state: ProjectState = ProjectState.LISTED
    since: date | None = None
    list_version: int = 1
    reached: tuple[Milestone, ...] = ()
    documents: tuple[ProjectDocument, ...] = ()

    @classmethod
    def enter(
        cls, *, pilot_id: str, number: str, listing: ProjectListing, regions: Sequence[str], list_version: int,
        at: datetime,
    ) -> KeyProject:  # fmt: skip
        """Enters the list under its stable 编号."""
        project = cls(id=project_id(pilot_id, number), pilot_id=pilot_id, number=number)
        project.list_again(listing, regions=regions, list_version=list_version, at=at)
        return project

    def list_again(self, listing: ProjectListing, *, regions: Sequence[str], list_version: int, at: datetime) -> None:
        """Enters the list, for the first time or after it was taken off."""
        self._take(listing, regions)
        self.state, self.since, self.list_version = ProjectState.LISTED, civil_day(at), list_version
        fact = KeyProjectListed(project_id=self.id, pilot_id=self.pilot_id, number=self.number, **listing._asdict())
        self.record(fact, effective_at=at)

    def change(self, listing: ProjectListing, *, regions: Sequence[str], at: datetime) -> None:
        """A re-import says something else; only as long as nothing has been reported."""
        self._allow("change", ProjectState.LISTED)
        self._take(listing, regions)
        self.record(KeyProjectChanged(project_id=self.id, **listing._asdict()), effective_at=at)

    def remove(self, reason: str, *, at: datetime) -> None:
        """A re-import asked to take it off the list; only as long as nothing has been reported."""
        self._allow("remove", ProjectState.LISTED)
        self.state, self.since = ProjectState.REMOVED, civil_day(at)
        self.record(KeyProjectRemoved(project_id=self.id, reason=reason), effective_at=at)

    def report_milestone(self, milestone: str, reached_on: date, *, by: Actor, at: datetime) -> None:
        """A milestone of its list was reached on a day that has come."""
        self._allow("report-milestone", ProjectState.LISTED, ProjectState.REPORTING)
        self._run_by(by)
        if milestone not in self.milestones:
            known = "、".join(self.milestones)
            zh, en = f"没有这个里程碑;已列:{known}", f"There is no such milestone; listed: {known}"
            raise InvalidInput(errors=[FieldError("milestone", "milestone-unknown", zh, en, milestone)])
        before = next((reached for reached in self.reached if reached.milestone == milestone), None)
        if before is not None:
            raise MilestoneAlreadyReported(milestone=milestone, reached_on=before.reached_on)
        not_after_today("reached_on", reached_on, at)
        self.reached = (*self.reached, Milestone(milestone=milestone, reached_on=reached_on))
        self.state = ProjectState.REPORTING
        fact = MilestoneReported(project_id=self.id, milestone=milestone, reached_on=reached_on)
        self.record(fact, effective_at=moment_of(reached_on, at))

    def file_document(
        self, kind: DocumentKind, attachment_id: str, evidence: Evidence, *, by: Actor, at: datetime
    ) -> bool:
        """One of the four documents is filed (again: it replaces the former); False when the bytes are the same."""
        self._allow("file-document", ProjectState.LISTED, ProjectState.REPORTING)
        self._run_by(by)
        filed = ProjectDocument(document_kind=kind, attachment_id=attachment_id, sha256=evidence.sha256)
        if any(known.document_kind is kind and known.sha256 == evidence.sha256 for known in self.documents):
            return False
        self.documents = (*(known for known in self.documents if known.document_kind is not kind), filed)
        self.state = ProjectState.REPORTING
        fact = KeyProjectDocumentFiled(
            project_id=self.id, document_kind=kind, attachment_id=attachment_id, sha256=evidence.sha256
        )
        self.record(fact, effective_at=at, evidence=[evidence])
        return True

    @property
    def listing(self) -> ProjectListing:
        """What the key-project list says of it."""
        return ProjectListing(self.title, self.issue_ids, self.leader, self.institution, self.due_on, self.milestones)

    @property
    def missing_documents(self) -> tuple[DocumentKind, ...]:
        """Which of the four have not been filed."""
        there = {document.document_kind for document in self.documents}
        return tuple(kind for kind in DocumentKind if kind not in there)

    def _take(self, listing: ProjectListing, regions: Sequence[str]) -> None:
        for name, value in listing._asdict().items():
            setattr(self, name, value)
        self.regions = tuple(dict.fromkeys(regions))

    def _run_by(self, by: Actor) -> None:
        if "registrar" not in by.roles and by.org not in (self.leader, self.institution):
            raise NotTheOwner(owner=self.leader)

    def _allow(self, verb: str, *states: ProjectState) -> None:
        if self.state not in states:
            zh, en = STATE_WORDS[self.state]
            possible = "—" if self.state is ProjectState.REMOVED else "report-milestone, file-document"
            raise IllegalTransition(
                id=self.id, state=self.state.value, state_zh=zh, state_en=en, verb=verb, possible=possible
            )


def project_id(pilot_id: str, number: str) -> str:
    """A key project is named by its pilot and its stable 编号."""
    return f"{pilot_id}:K:{number}"
