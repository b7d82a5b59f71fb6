"""`/parties` and `/chains`."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from services.pilot_registration.domain.parties import Chain, Party
from services.pilot_registration.handlers.parties import RegisterParty, Registry
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


class AffiliationInput(BaseModel):
    """The group a party belongs to from a day on; empty for none."""

    model_config = ConfigDict(extra="forbid")

    group_id: str = Field(max_length=60)
    effective_on: date


class ChainInput(BaseModel):
    """A chain to register."""

    model_config = ConfigDict(extra="forbid")

    chain_id: str = Field(pattern=r"^[a-z0-9-]{2,40}$")
    name: str = Field(min_length=1, max_length=100)
    industry_codes: list[str] = Field(min_length=1, max_length=40, description="GB/T 4754-2017")


def party_routes(registry: Registry, doors: Doors, *, parties: Documents[Party]) -> APIRouter:
    """Parties: register, affiliate, read."""
    router = APIRouter(tags=["parties"])

    @router.post("/parties", status_code=201)
    async def register_party(
        body: PartyInput, request: Annotated[CommandRequest, Depends(doors.command("party.register"))]
    ) -> JSONResponse:
        command = RegisterParty(**body.model_dump())
        answer = await request.execute(
            lock=f"party:{body.uscc}",
            call=lambda: registry.register_party(command, by=request.actor, at=request.at),
        )
        return doors.accepted(answer, status=201)

    @router.post("/parties/{uscc}/affiliate")
    async def affiliate(
        uscc: str,
        body: AffiliationInput,
        request: Annotated[CommandRequest, Depends(doors.command("party.affiliate"))],
    ) -> JSONResponse:
        answer = await request.execute(
            lock=f"party:{uscc}",
            call=lambda: registry.affiliate(uscc, **body.model_dump(), by=request.actor, at=request.at),
        )
        return doors.accepted(answer)

    @router.get("/parties")
    async def list_parties(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("party.read"))],
        kind: PartyKind | None = None,
        group_id: str | None = None,
    ) -> JSONResponse:
        where = {name: value for name, value in (("kind", kind), ("group_id", group_id)) if value is not None}
        page = await parties.page(read.scope, where, after=read.after, limit=read.limit)
        return doors.page(request, [_party(party) for party in page.items], page.after)

    @router.get("/parties/{uscc}")
    async def read_party(uscc: str, read: Annotated[ReadRequest, Depends(doors.reader("party.read"))]) -> JSONResponse:
        party = await parties.read(uscc, read.scope)
        return JSONResponse(_party(party), headers={"ETag": f'"{party.version}"'})

    return router


def chain_routes(registry: Registry, doors: Doors, *, chains: Documents[Chain]) -> APIRouter:
    """Chains: register, read."""
    router = APIRouter(tags=["chains"])

    @router.post("/chains", status_code=201)
    async def register_chain(
        body: ChainInput, request: Annotated[CommandRequest, Depends(doors.command("chain.register"))]
    ) -> JSONResponse:
        answer = await request.execute(
            lock=f"chain:{body.chain_id}",
            call=lambda: registry.register_chain(
                chain_id=body.chain_id, name=body.name, industry_codes=tuple(body.industry_codes),
                by=request.actor, at=request.at,
            ),
        )  # fmt: skip
        return doors.accepted(answer, status=201)

    @router.get("/chains")
    async def list_chains(
        request: Request, read: Annotated[ReadRequest, Depends(doors.reader("chain.read"))]
    ) -> JSONResponse:
        page = await chains.page(read.scope, {}, after=read.after, limit=read.limit)
        return doors.page(request, [_chain(chain) for chain in page.items], page.after)

    @router.get("/chains/{chain_id}")
    async def read_chain(
        chain_id: str, read: Annotated[ReadRequest, Depends(doors.reader("chain.read"))]
    ) -> JSONResponse:
        chain = await chains.read(chain_id, read.scope)
        return JSONResponse(_chain(chain), headers={"ETag": f'"{chain.version}"'})

    return router


def _party(party: Party) -> dict[str, Any]:
    shown = party.model_dump(mode="json", exclude={"regions", "at", "id"})
    return {"uscc": party.id} | shown


def _chain(chain: Chain) -> dict[str, Any]:
    return {"chain_id": chain.id, "name": chain.name, "industry_codes": chain.industry_codes, "version": chain.version}
