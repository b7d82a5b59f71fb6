"""`/quality-issues` and `/key-projects`."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from services.pilot_registration.api.pilots import AttachmentId, Input, Text
from services.pilot_registration.api.reads import Reads
from services.pilot_registration.domain.issues import QualityIssue
from services.pilot_registration.domain.key_projects import KeyProject
from services.pilot_registration.domain.lifecycle import STATE_WORDS, IssueState, ProjectState
from services.pilot_registration.domain.shares import civil_day
from services.pilot_registration.handlers.issues import IssueFlow, ProjectFlow
from services.pilot_registration.policies.next_steps import working_days_left
from shared.contracts.pilot_registration import DocumentKind, ListKind
from shared.doors.doors import CommandRequest, Doors, ReadRequest


class AssignInput(Input):
    """Who is responsible, the confirmed grade, and until when."""

    owner: str = Field(min_length=1, max_length=40, description="统一社会信用代码 (GB 32100)")
    grade: int = Field(ge=1, le=4)
    due_on: date


class ReadingInput(Input):
    """The measure after: a fraction in quotes, its sample, its day."""

    value: str = Field(pattern=r"^(0|1)(\.\d{1,12})?$", examples=["0.012"])
    n: int = Field(ge=1, le=10**9)
    on: date


class ClaimInput(Input):
    """The measure after and the documents behind it."""

    after: ReadingInput
    attachment_ids: list[AttachmentId] = Field(min_length=1, max_length=20)


class ReopenInput(Input):
    """What came back."""

    reason: Text


class MilestoneInput(Input):
    """A milestone of the project's list, and the day it was reached."""

    milestone: str = Field(min_length=1, max_length=200)
    reached_on: date


class ProjectDocumentInput(Input):
    """One of the four documents 三书一表."""

    document_kind: DocumentKind
    attachment_id: AttachmentId


def issue_routes(flow: IssueFlow, doors: Doors, *, reads: Reads) -> APIRouter:
    """Quality issues."""
    router = APIRouter(tags=["quality-issues"])

    @router.get("/quality-issues")
    async def list_issues(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("issue.read"))],
        pilot_id: str | None = None,
        state: IssueState | None = None,
        owner: str | None = None,
    ) -> JSONResponse:
        asked = {"pilot_id": pilot_id, "owner": owner}
        where: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        where["state"] = state.value if state is not None else {"$ne": IssueState.REMOVED.value}
        hidden = await reads.hidden(read.actor, ListKind.ISSUES)
        page = await reads.issues.page(read.scope, {"$and": [where, *hidden]}, after=read.after, limit=read.limit)
        today = civil_day(read.at)
        return doors.page(request, [_issue(issue, today) for issue in page.items], page.after)

    @router.get("/quality-issues/{issue_id}")
    async def read_issue(
        issue_id: str, read: Annotated[ReadRequest, Depends(doors.reader("issue.read"))]
    ) -> JSONResponse:
        issue = await reads.issue(issue_id, read.actor)
        row = await reads.list_rows.get(f"{issue.pilot_id}:issues:{issue.number}")
        shown = _issue(issue, civil_day(read.at)) | {"row": row["values"] if row is not None else None}
        return JSONResponse(shown, headers={"ETag": f'"{issue.version}"'})

    @router.post("/quality-issues/{issue_id}/assign")
    async def assign(
        issue_id: str, body: AssignInput, request: Annotated[CommandRequest, Depends(doors.command("issue.assign"))]
    ) -> JSONResponse:
        answer = await request.execute(
            lock=issue_id, call=lambda: flow.assign(issue_id, **body.model_dump(), by=request.actor, at=request.at)
        )
        return doors.accepted(answer)

    @router.post("/quality-issues/{issue_id}/claim-closure")
    async def claim_closure(
        issue_id: str,
        body: ClaimInput,
        request: Annotated[CommandRequest, Depends(doors.command("issue.claim-closure"))],
    ) -> JSONResponse:
        answer = await request.execute(
            lock=issue_id,
            call=lambda: flow.claim_closure(
                issue_id, value=Decimal(body.after.value), n=body.after.n, on=body.after.on,
                attachment_ids=list(dict.fromkeys(body.attachment_ids)), by=request.actor, at=request.at,
            ),
        )  # fmt: skip
        return doors.accepted(answer)

    @router.post("/quality-issues/{issue_id}/reopen")
    async def reopen(
        issue_id: str, body: ReopenInput, request: Annotated[CommandRequest, Depends(doors.command("issue.reopen"))]
    ) -> JSONResponse:
        answer = await request.execute(
            lock=issue_id, call=lambda: flow.reopen(issue_id, reason=body.reason, by=request.actor, at=request.at)
        )
        return doors.accepted(answer)

    return router


def project_routes(flow: ProjectFlow, doors: Doors, *, reads: Reads) -> APIRouter:
    """Key projects."""
    router = APIRouter(tags=["key-projects"])

    @router.get("/key-projects")
    async def list_projects(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("key-project.read"))],
        pilot_id: str | None = None,
        leader: str | None = None,
    ) -> JSONResponse:
        asked = {"pilot_id": pilot_id, "leader": leader}
        where: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        where["state"] = {"$ne": ProjectState.REMOVED.value}
        hidden = await reads.hidden(read.actor, ListKind.KEY_PROJECTS)
        page = await reads.projects.page(read.scope, {"$and": [where, *hidden]}, after=read.after, limit=read.limit)
        today = civil_day(read.at)
        return doors.page(request, [_project(project, today) for project in page.items], page.after)

    @router.get("/key-projects/{project_id}")
    async def read_project(
        project_id: str, read: Annotated[ReadRequest, Depends(doors.reader("key-project.read"))]
    ) -> JSONResponse:
        project = await reads.project(project_id, read.actor)
        row = await reads.list_rows.get(f"{project.pilot_id}:key-projects:{project.number}")
        shown = _project(project, civil_day(read.at)) | {"row": row["values"] if row is not None else None}
        return JSONResponse(shown, headers={"ETag": f'"{project.version}"'})

    @router.post("/key-projects/{project_id}/report-milestone")
    async def report_milestone(
        project_id: str,
        body: MilestoneInput,
        request: Annotated[CommandRequest, Depends(doors.command("key-project.report-milestone"))],
    ) -> JSONResponse:
        answer = await request.execute(
            lock=project_id,
            call=lambda: flow.report_milestone(project_id, **body.model_dump(), by=request.actor, at=request.at),
        )
        return doors.accepted(answer)

    @router.post("/key-projects/{project_id}/file-document")
    async def file_document(
        project_id: str,
        body: ProjectDocumentInput,
        request: Annotated[CommandRequest, Depends(doors.command("key-project.file-document"))],
    ) -> JSONResponse:
        answer = await request.execute(
            lock=project_id,
            call=lambda: flow.file_document(project_id, **body.model_dump(), by=request.actor, at=request.at),
        )
        return doors.accepted(answer)

    return router


def _issue(issue: QualityIssue, today: date) -> dict[str, Any]:
    shown = issue.model_dump(mode="json", exclude={"at", "regions", "listed_by", "confirmed_by", "claimant"})
    zh, en = STATE_WORDS[issue.state]
    open_ = issue.state in (IssueState.ASSIGNED, IssueState.IN_PROGRESS)
    left = working_days_left(today, issue.due_on) if open_ else None
    overdue = open_ and issue.due_on is not None and today > issue.due_on
    return shown | {
        "state_zh": zh, "state_en": en, "possible": list(issue.possible), "working_days_left": left,
        "overdue": overdue,
    }  # fmt: skip


def _project(project: KeyProject, today: date) -> dict[str, Any]:
    shown = project.model_dump(mode="json", exclude={"at", "regions"})
    reached = {milestone.milestone for milestone in project.reached}
    zh, en = STATE_WORDS[project.state]
    return shown | {
        "state_zh": zh, "state_en": en, "missing_documents": [kind.value for kind in project.missing_documents],
        "missing_milestones": [milestone for milestone in project.milestones if milestone not in reached],
        "working_days_left": working_days_left(today, project.due_on),
    }  # fmt: skip
