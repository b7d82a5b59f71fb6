"""A small application behind the real gate: real tokens and routes; what is committed is kept in a dictionary."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.responses import JSONResponse
from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import BaseModel, ConfigDict, Field

from shared.doors.doors import Clocks, CommandRequest, Doors, ReadRequest
from shared.doors.tokens import TokenVerifier
from shared.kernel import Actor, Aggregate, Answer, Outcome, StaleVersion
from shared.log.committer import IdempotencyKeyReused

ISSUER = "http://issuer.test"
KEY = ECKey.generate_key("P-256", {"kid": "test"})


class Chain(Aggregate):
    """Something to command."""


class ChainInput(BaseModel):
    """Anything the gate lets through."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    more: Any = None


@dataclass
class Kept:
    """The way in of a log, as far as a door needs it; remembers answers by key and how often a call ran."""

    answers: dict[str, tuple[str, Answer]] = field(default_factory=dict)
    version: int = 0
    order: list[tuple[str, int | None]] = field(default_factory=list)

    async def execute(
        self, *, key: str, body: str, lock: str, actor: Actor, correlation_id: str,
        call: Callable[[], Awaitable[Aggregate | Outcome]], expected_version: int | None = None,
    ) -> Answer:  # fmt: skip
        if key in self.answers:
            if self.answers[key][0] != body:
                raise IdempotencyKeyReused
            return self.answers[key][1]
        if expected_version not in (None, self.version):
            raise StaleVersion(actual=self.version, expected=expected_version)
        made = await call()
        assert isinstance(made, Chain)
        self.version += 1
        self.order.append((key, expected_version))
        answer = Answer(made.id, self.version, (), {"correlation": correlation_id, "lock": lock, "by": actor.id})
        self.answers[key] = (body, answer)
        return answer


def routes(doors: Doors) -> APIRouter:
    router = APIRouter()

    async def chain() -> Chain:
        return Chain(id="c")

    @router.post("/chains", status_code=201, tags=["chains"])
    async def register_chain(
        body: ChainInput, request: Annotated[CommandRequest, Depends(doors.command("chain.register"))]
    ) -> JSONResponse:
        return doors.accepted(await request.execute(lock=body.name, call=chain), status=201)

    @router.post("/chains/{id}/rename", tags=["chains"])
    async def rename(
        id: str, request: Annotated[CommandRequest, Depends(doors.command("chain.register"))]
    ) -> JSONResponse:
        async def refused() -> Chain:
            if id == "broken":
                raise RuntimeError("planted")
            if id == "again" and not doors.commands.order:  # type: ignore[attr-defined]
                raise ConnectionError("planted")
            return Chain(id=id)

        return doors.accepted(await request.execute_in_chunks(lock=id, chunks=[chain, refused], last=chain))

    @router.post("/imports", status_code=201, tags=["chains"])
    async def upload(
        file: Annotated[UploadFile, File()],
        request: Annotated[CommandRequest, Depends(doors.command("pilot.import"))],
        note: Annotated[str, Form()] = "",
    ) -> JSONResponse:
        content = await file.read()
        answer = await request.execute(lock="imports", call=chain)
        return JSONResponse({"size": len(content), "note": note, "version": answer.version}, 201)

    @router.get("/chains", tags=["chains"])
    async def list_chains(
        read: Annotated[ReadRequest, Depends(doors.reader("chain.read"))],
        clocks: Annotated[Clocks, Depends(doors.clocks())],
    ) -> JSONResponse:
        return JSONResponse({"by": read.actor.id, "effective": str(clocks.effective), "known": clocks.known})

    return router


def made_doors() -> Doors:
    """Doors whose verifier already holds the issuer's key."""
    verifier = TokenVerifier(issuer=ISSUER, audience="liandong", algorithm="ES256")
    verifier._keys = {"test": KEY}
    return Doors(
        verifier=verifier, commands=Kept(), now=lambda: datetime(2026, 1, 1, tzinfo=UTC), hmac_key="h", cursor_key="c"
    )


def bearer(*, roles: str = "registrar", sub: str = "somebody", regions: str = "34", org: str = "") -> dict[str, str]:
    """An `Authorization` header."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "liandong", "sub": sub, "iat": now, "exp": now + 600, "roles": roles.split(),
              "regions": regions.split(), "org": org}  # fmt: skip
    return {"Authorization": f"Bearer {jwt.encode({'alg': 'ES256', 'typ': 'at+jwt', 'kid': 'test'}, claims, KEY)}"}
