"""`/pilots` and `/quotas`: a pilot from its draft to its acceptance."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from services.pilot_registration.api.reads import Reads
from services.pilot_registration.domain.lifecycle import STATE_WORDS, PilotState
from services.pilot_registration.domain.pilots import Pilot
from services.pilot_registration.domain.shares import civil_day
from services.pilot_registration.handlers.pilots import DraftPilot, PilotFlow
from services.pilot_registration.policies.next_steps import next_step, working_days_left
from shared.contracts.pilot_registration import Level, Programme, Share
from shared.doors.doors import CommandRequest, Doors, ReadRequest
from shared.kernel import Aggregate, Outcome

Region = Annotated[str, Field(pattern=r"^\d{6}$", description="行政区划代码 (GB/T 2260)")]
Text = Annotated[str, Field(min_length=1, max_length=500)]
AttachmentId = Annotated[str, Field(min_length=1, max_length=64)]
Name = Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,60}$")]


class Input(BaseModel):
    """A body that names no field it should not."""

    model_config = ConfigDict(extra="forbid")


class ShareInput(Input):
    """A region's share; a decimal in quotes, for a number of JSON is not exact."""

    region: Region
    share: str = Field(pattern=r"^(0|1)(\.\d{1,6})?$", examples=["0.6"])


class PilotInput(Input):
    """A pilot's draft."""

    title: str = Field(min_length=1, max_length=200)
    programme: Programme
    level: Level
    chain_id: str = Field(pattern=r"^[a-z0-9-]{2,40}$")
    applicant: str = Field(min_length=1, max_length=40, description="统一社会信用代码 (GB 32100)")
    lead_region: Region
    shares: list[ShareInput] = Field(min_length=1, max_length=40)


class SharesInput(Input):
    """Other shares from a day on."""

    lead_region: Region
    shares: list[ShareInput] = Field(min_length=1, max_length=40)
    effective_on: date
    reason: Text


class RegionInput(Input):
    """The region that confirms its share."""

    region: Region


class DocumentInput(Input):
    """A document of the application."""

    kind: Literal["plan", "initiation"]
    attachment_id: AttachmentId


class SubmitInput(Input):
    """The documents handed in with this submission; those of an earlier one are kept unless replaced."""

    attachments: list[DocumentInput] = Field(default_factory=list, max_length=10)


class ReasonInput(Input):
    """Why."""

    reason: Text


class OptionalReasonInput(Input):
    """Why, if there is anything to say."""

    reason: str = Field(default="", max_length=500)


class ReturnInput(Input):
    """Why it comes back, and which documents are missing."""

    reasons: list[Text] = Field(min_length=1, max_length=20)
    missing_documents: list[Literal["plan", "initiation"]] = Field(default_factory=list, max_length=2)


class AdmitInput(Input):
    """The quota bucket (call) in which the pilot competes."""

    quota_bucket: Name


class RunInput(Input):
    """The selection run and the reason of its result."""

    run_id: Name
    reason: Text


class NoticeInput(Input):
    """How long the notice is open, in working days."""

    working_days: int = Field(default=5, ge=1, le=60)


class ObjectInput(Input):
    """An objection needs evidence."""

    reason: Text
    attachment_ids: list[AttachmentId] = Field(min_length=1, max_length=20)


class DecisionInput(Input):
    """What was decided on an objection."""

    objection_id: Name
    sustained: bool
    reason: Text


class ApproveInput(Input):
    """The pilot's code and the day by which acceptance is due."""

    code: Name
    due_on: date


class AcceptInput(Input):
    """The day of the acceptance."""

    accepted_on: date


class QuotaInput(Input):
    """The places of a call for national pilots: in all, and at most in any one province."""

    call: Name
    national: int = Field(ge=0, le=10_000)
    per_region: int = Field(ge=0, le=10_000)


Call = Callable[[], Awaitable[Aggregate | Outcome]]


def pilot_routes(flow: PilotFlow, doors: Doors, *, reads: Reads) -> APIRouter:
    """Every transition of a pilot, and its reads."""
    router = APIRouter(tags=["pilots"])

    async def run(request: CommandRequest, lock: str, call: Call, status: int = 200) -> JSONResponse:
        return doors.accepted(await request.execute(lock=lock, call=call), status=status)

    @router.post("/pilots", status_code=201)
    async def draft(
        body: PilotInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.draft"))]
    ) -> JSONResponse:
        pilot_id = f"PL-{civil_day(request.at):%Y%m%d}-{uuid.uuid4().hex[:10].upper()}"
        call = lambda: flow.draft(pilot_id, _form(body), by=request.actor, at=request.at)  # noqa: E731
        return await run(request, pilot_id, call, 201)

    @router.get("/pilots")
    async def list_pilots(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("pilot.read"))],
        state: PilotState | None = None,
        region: Annotated[str | None, Query(pattern=r"^\d{6}$")] = None,
        chain_id: str | None = None,
    ) -> JSONResponse:
        asked = {"state": state and state.value, "regions": region, "chain_id": chain_id}
        where = {name: value for name, value in asked.items() if value is not None}
        page = await reads.pilots_page(read, where)
        return doors.page(request, [_line(pilot) for pilot in page.items], page.after)

    @router.get("/public-notices", tags=["public-notices"])
    async def list_notices(
        request: Request, read: Annotated[ReadRequest, Depends(doors.reader("pilot.read"))]
    ) -> JSONResponse:
        page = await reads.notices(read)
        return doors.page(request, [_notice(pilot) for pilot in page.items], page.after)

    @router.get("/pilots/{pilot_id}")
    async def read_pilot(
        pilot_id: str, read: Annotated[ReadRequest, Depends(doors.reader("pilot.read"))]
    ) -> JSONResponse:
        pilot = await reads.pilot(pilot_id, read.actor)
        return JSONResponse(_shown(pilot, civil_day(read.at)), headers={"ETag": f'"{pilot.version}"'})

    @router.post("/pilots/{pilot_id}/change")
    async def change(
        pilot_id: str, body: PilotInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.draft"))]
    ) -> JSONResponse:
        return await run(request, pilot_id, lambda: flow.change(pilot_id, _form(body), by=request.actor, at=request.at))

    @router.post("/pilots/{pilot_id}/confirm-share")
    async def confirm_share(
        pilot_id: str,
        body: RegionInput,
        request: Annotated[CommandRequest, Depends(doors.command("pilot.confirm-share"))],
    ) -> JSONResponse:
        call = lambda: flow.confirm_share(pilot_id, region=body.region, by=request.actor, at=request.at)  # noqa: E731
        return await run(request, pilot_id, call)

    @router.post("/pilots/{pilot_id}/submit")
    async def submit(
        pilot_id: str, body: SubmitInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.submit"))]
    ) -> JSONResponse:
        given = [(document.kind, document.attachment_id) for document in body.attachments]
        return await run(
            request, pilot_id, lambda: flow.submit(pilot_id, attachments=given, by=request.actor, at=request.at)
        )

    @router.post("/pilots/{pilot_id}/recall")
    async def recall(
        pilot_id: str,
        body: OptionalReasonInput,
        request: Annotated[CommandRequest, Depends(doors.command("pilot.recall"))],
    ) -> JSONResponse:
        return await run(
            request, pilot_id, lambda: flow.recall(pilot_id, reason=body.reason, by=request.actor, at=request.at)
        )

    @router.post("/pilots/{pilot_id}/return")
    async def send_back(
        pilot_id: str, body: ReturnInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.return"))]
    ) -> JSONResponse:
        return await run(
            request, pilot_id,
            lambda: flow.send_back(
                pilot_id, reasons=body.reasons, missing_documents=body.missing_documents, by=request.actor,
                at=request.at,
            ),
        )  # fmt: skip

    @router.post("/pilots/{pilot_id}/admit")
    async def admit(
        pilot_id: str, body: AdmitInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.admit"))]
    ) -> JSONResponse:
        call = lambda: flow.admit(pilot_id, **body.model_dump(), by=request.actor, at=request.at)  # noqa: E731
        return await run(request, pilot_id, call)

    @router.post("/pilots/{pilot_id}/select")
    async def select(
        pilot_id: str, body: RunInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.select"))]
    ) -> JSONResponse:
        # One after the other: the pilots of a call contend for the call's one quota document, not for themselves.
        call = lambda: flow.select(pilot_id, **body.model_dump(), by=request.actor, at=request.at)  # noqa: E731
        return await run(request, "selection", call)

    @router.post("/pilots/{pilot_id}/decline")
    async def decline(
        pilot_id: str, body: RunInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.select"))]
    ) -> JSONResponse:
        call = lambda: flow.decline(pilot_id, **body.model_dump(), by=request.actor, at=request.at)  # noqa: E731
        return await run(request, pilot_id, call)

    @router.post("/pilots/{pilot_id}/open-notice")
    async def open_notice(
        pilot_id: str,
        body: NoticeInput,
        request: Annotated[CommandRequest, Depends(doors.command("pilot.open-notice"))],
    ) -> JSONResponse:
        call = lambda: flow.open_notice(pilot_id, **body.model_dump(), by=request.actor, at=request.at)  # noqa: E731
        return await run(request, pilot_id, call)

    @router.post("/pilots/{pilot_id}/object")
    async def object_(
        pilot_id: str, body: ObjectInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.object"))]
    ) -> JSONResponse:
        objection_id = f"OB-{uuid.uuid4().hex[:10].upper()}"
        call = lambda: flow.object(  # noqa: E731
            pilot_id, objection_id=objection_id, **body.model_dump(), by=request.actor, at=request.at
        )
        return await run(request, pilot_id, call)

    @router.post("/pilots/{pilot_id}/decide-objection")
    async def decide_objection(
        pilot_id: str,
        body: DecisionInput,
        request: Annotated[CommandRequest, Depends(doors.command("pilot.decide-objection"))],
    ) -> JSONResponse:
        call = lambda: flow.decide_objection(pilot_id, **body.model_dump(), by=request.actor, at=request.at)  # noqa: E731
        return await run(request, pilot_id, call)

    @router.post("/pilots/{pilot_id}/approve")
    async def approve(
        pilot_id: str, body: ApproveInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.approve"))]
    ) -> JSONResponse:
        call = lambda: flow.approve(pilot_id, **body.model_dump(), by=request.actor, at=request.at)  # noqa: E731
        return await run(request, pilot_id, call)

    @router.post("/pilots/{pilot_id}/change-shares")
    async def change_shares(
        pilot_id: str, body: SharesInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.approve"))]
    ) -> JSONResponse:
        shares = _shares(body.shares)
        call = lambda: flow.change_shares(  # noqa: E731
            pilot_id, lead_region=body.lead_region, shares=shares, effective_on=body.effective_on, reason=body.reason,
            by=request.actor, at=request.at,
        )  # fmt: skip
        return await run(request, pilot_id, call)

    @router.post("/pilots/{pilot_id}/start")
    async def start(
        pilot_id: str, request: Annotated[CommandRequest, Depends(doors.command("pilot.start"))]
    ) -> JSONResponse:
        return await run(request, pilot_id, lambda: flow.start(pilot_id, by=request.actor, at=request.at))

    @router.post("/pilots/{pilot_id}/request-acceptance")
    async def request_acceptance(
        pilot_id: str, request: Annotated[CommandRequest, Depends(doors.command("pilot.request-acceptance"))]
    ) -> JSONResponse:
        return await run(request, pilot_id, lambda: flow.request_acceptance(pilot_id, by=request.actor, at=request.at))

    @router.post("/pilots/{pilot_id}/accept")
    async def accept(
        pilot_id: str, body: AcceptInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.accept"))]
    ) -> JSONResponse:
        call = lambda: flow.accept(pilot_id, **body.model_dump(), by=request.actor, at=request.at)  # noqa: E731
        return await run(request, pilot_id, call)

    @router.post("/pilots/{pilot_id}/withdraw")
    async def withdraw(
        pilot_id: str, body: ReasonInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.withdraw"))]
    ) -> JSONResponse:
        call = lambda: flow.withdraw(pilot_id, **body.model_dump(), by=request.actor, at=request.at)  # noqa: E731
        return await run(request, pilot_id, call)

    @router.post("/quotas", tags=["quotas"])
    async def set_quota(
        body: QuotaInput, request: Annotated[CommandRequest, Depends(doors.command("pilot.select"))]
    ) -> JSONResponse:
        call = lambda: flow.set_quota(**body.model_dump(), by=request.actor, at=request.at)  # noqa: E731
        return await run(request, "selection", call)

    return router


def _form(body: PilotInput) -> DraftPilot:
    return DraftPilot(
        title=body.title, programme=body.programme, level=body.level, chain_id=body.chain_id,
        applicant=body.applicant, lead_region=body.lead_region, shares=_shares(body.shares),
    )  # fmt: skip


def _shares(given: list[ShareInput]) -> tuple[Share, ...]:
    return tuple(Share(region=share.region, share=Decimal(share.share)) for share in given)


def _line(pilot: Pilot) -> dict[str, Any]:
    wanted = {"id", "version", "title", "programme", "level", "chain_id", "applicant", "lead_region", "shares", "state",
              "since", "code", "due_on"}  # fmt: skip
    return pilot.model_dump(mode="json", include=wanted)


def _notice(pilot: Pilot) -> dict[str, Any]:
    """What a public notice says: who applies, which regions and shares, until when."""
    line = pilot.model_dump(mode="json", include={"title", "level", "applicant", "lead_region", "shares", "state"})
    return {"pilot_id": pilot.id, **line} | (pilot.notice.model_dump(mode="json") if pilot.notice else {})


def _shown(pilot: Pilot, today: date) -> dict[str, Any]:
    """All of a pilot, the state in words, and the next step: who, until when, and what is missing for it."""
    shown = pilot.model_dump(mode="json", exclude={"at", "steps", "regions"})
    for objection in shown["objections"]:
        objection.pop("objector_id")
    zh, en = STATE_WORDS[pilot.state]
    step = next_step(pilot)
    shown |= {"state_zh": zh, "state_en": en, "possible": list(pilot.possible), "next": None}
    shown["missing"] = [lack._asdict() for lack in step.missing] if step is not None else []
    if step is not None:
        shown["next"] = {
            "verb": step.verb,
            "by": list(step.roles),
            "due_on": step.due_on.isoformat() if step.due_on else None,
            "working_days_left": working_days_left(today, step.due_on),
        }
    return shown
