"""The HTTP door of pilot_registration."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from services.pilot_registration.domain import Party
from services.pilot_registration.handlers import PilotRegistration, RegisterParty
from shared.contracts.pilot_registration import PartyKind, SizeClass
from shared.doors.doors import CommandRequest, Doors, ReadRequest
from shared.log.store import Documents


class PartyInput(BaseModel):
    """A party to register."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "uscc": "91340100MA2T00015G",
                    "name": "合肥某某精密制造有限公司",
                    "kind": "enterprise",
                    "size_class": "small",
                    "division_code": "340100",
                }
            ]
        },
    )

    uscc: str = Field(min_length=1, max_length=40, description="统一社会信用代码 (GB 32100)")
    name: str = Field(min_length=1, max_length=200)
    kind: PartyKind
    size_class: SizeClass = SizeClass.NONE
    division_code: str = Field(pattern=r"^\d{6}$", description="行政区划代码 (GB/T 2260)")


def routes(registration: PilotRegistration, doors: Doors, *, parties: Documents[Party]) -> APIRouter:
    """All routes; a transition is `POST /<resource>/{id}/<verb>`."""
    router = APIRouter()

    @router.post("/parties", status_code=201, tags=["parties"])
    async def register_party(
        body: PartyInput, request: Annotated[CommandRequest, Depends(doors.command("party.register"))]
    ) -> JSONResponse:
        command = RegisterParty(**body.model_dump())
        answer = await request.execute(
            lock=f"party:{body.uscc}",
            call=lambda: registration.register_party(command, by=request.actor, at=request.at),
        )
        return doors.accepted(answer, status=201)

    @router.get("/parties", tags=["parties"])
    async def list_parties(
        request: Request, read: Annotated[ReadRequest, Depends(doors.reader("party.read"))]
    ) -> JSONResponse:
        page = await parties.page(read.scope, {}, after=read.after, limit=read.limit)
        return doors.page(request, [_shown(party) for party in page.items], page.after)

    @router.get("/parties/{uscc}", tags=["parties"])
    async def read_party(uscc: str, read: Annotated[ReadRequest, Depends(doors.reader("party.read"))]) -> JSONResponse:
        party = await parties.read(uscc, read.scope)
        return JSONResponse(_shown(party), headers={"ETag": f'"{party.version}"'})

    return router


def _shown(party: Party) -> dict[str, Any]:
    shown = party.model_dump(mode="json", exclude={"regions", "at", "id"})
    return {"uscc": party.id} | shown
