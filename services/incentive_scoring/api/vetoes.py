"""Vetoes over HTTP: raise, confirm by another person, lift, and see whom one moves before and after."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from services.incentive_scoring.api import shown
from services.incentive_scoring.api.instants import Instant
from services.incentive_scoring.domain import Veto
from services.incentive_scoring.handlers import Vetoes
from services.incentive_scoring.handlers.vetoing import RaiseVeto
from shared.contracts.evaluation import SubjectKind
from shared.doors.attachments import Attachments
from shared.doors.doors import CommandRequest, Doors, ReadRequest
from shared.log.store import Documents


class VetoInput(BaseModel):
    """A veto to raise."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "ground": "V2", "subject_kind": "enterprise", "subject": "91340100MA2T00015G",
                    "effective_from": "2026-10-20T00:00:00+08:00", "reason": "发生较大生产安全责任事故,经调查认定",
                }
            ]
        },
    )  # fmt: skip

    ground: str = Field(min_length=2, max_length=2, description="V1 to V7")
    subject_kind: SubjectKind
    subject: str = Field(pattern=r"^[0-9A-Za-z_-]{1,60}$")
    effective_from: Instant = Field(description="from when the ground is true, known or not")
    effective_until: Instant | None = None
    reason: str = Field(min_length=1, max_length=2000)
    attachment_ids: list[str] = Field(default=[], max_length=20)


class ReasonInput(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=2000)


def routes(vetoes: Vetoes, doors: Doors, *, stored: Documents[Veto], attachments: Attachments) -> APIRouter:
    """All routes of vetoes."""
    router = APIRouter(tags=["vetoes"])

    @router.post("/vetoes", status_code=201)
    async def raise_veto(
        body: VetoInput, request: Annotated[CommandRequest, Depends(doors.command("veto.raise"))]
    ) -> JSONResponse:
        given = body.model_dump()
        ids = given.pop("attachment_ids")
        evidence = tuple([await attachments.evidence(id, by=request.actor) for id in ids])
        command = RaiseVeto(evidence=evidence, **given)
        answer = await request.execute(
            lock=f"veto-subject:{body.subject}",
            call=lambda: vetoes.raise_veto(command, by=request.actor, at=request.at),
        )
        return doors.accepted(answer, status=201)

    @router.post("/vetoes/{veto_id}/confirm")
    async def confirm_veto(
        veto_id: str, request: Annotated[CommandRequest, Depends(doors.command("veto.confirm"))]
    ) -> JSONResponse:
        answer = await request.execute(
            lock=veto_id, call=lambda: vetoes.confirm(veto_id, by=request.actor, at=request.at)
        )
        return doors.accepted(answer)

    @router.post("/vetoes/{veto_id}/lift")
    async def lift_veto(
        veto_id: str, body: ReasonInput, request: Annotated[CommandRequest, Depends(doors.command("veto.lift"))]
    ) -> JSONResponse:
        """Ends it from now on; a closed round is not restored by it."""
        answer = await request.execute(
            lock=veto_id, call=lambda: vetoes.lift(veto_id, reason=body.reason, by=request.actor, at=request.at)
        )
        return doors.accepted(answer)

    @router.get("/vetoes")
    async def list_vetoes(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("veto.read"))],
        state: Annotated[str | None, Query(pattern="^(raised|confirmed|lifted)$")] = None,
        subject: Annotated[str | None, Query(max_length=60)] = None,
        escalated: bool | None = None,
    ) -> JSONResponse:
        where: dict[str, Any] = {name: value for name, value in (("state", state), ("subject", subject)) if value}
        if escalated is not None:
            where["escalated_at"] = {"$ne": None} if escalated else None
        page = await stored.page(read.scope, where, after=read.after, limit=read.limit)
        return doors.page(request, [shown.veto(veto) for veto in page.items], page.after)

    @router.get("/vetoes/{veto_id}")
    async def read_veto(veto_id: str, read: Annotated[ReadRequest, Depends(doors.reader("veto.read"))]) -> JSONResponse:
        """With whom it moves: as it was confirmed, or, before that, as it would be now."""
        veto = await stored.read(veto_id, read.scope)
        if veto.state == "raised":
            reach = [found.shown() for found in await vetoes.preview(veto, at=read.at)]
        else:
            reach = list(veto.moved)
        body = shown.veto(veto) | {"moves": reach, "preview": veto.state == "raised"}
        return JSONResponse(body, headers={"ETag": f'"{veto.version}"'})

    return router
