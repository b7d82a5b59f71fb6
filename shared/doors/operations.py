"""What an operator asks of a service: its figures, its dead letters and their repair, whether its log is whole."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from shared.doors.doors import CommandRequest, Doors, ReadRequest
from shared.kernel import Answer, NotFound, instant, iso
from shared.log.consumer.replay import LetterSettled, Repair, ReplayFailed
from shared.log.runtime import Log
from shared.log.verify import Verdict

LetterState = Literal["open", "parked", "foreign", "replayed", "discarded"]


class DiscardInput(BaseModel):
    """Why a letter is given up for good; others read it later."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reason: str = Field(min_length=1, max_length=1000)


def operations(log: Log, doors: Doors) -> APIRouter:
    """Rules 20 and 26 of the protocol over HTTP. Letters name where a record lies and why, never what is in it."""
    router = APIRouter(prefix="/operations", tags=["operations"])
    verdict: asyncio.Task[Verdict] | None = None

    @router.get("/figures")
    async def figures(_request: Annotated[ReadRequest, Depends(doors.reader("operations.read"))]) -> JSONResponse:
        return JSONResponse(await log.figures())

    @router.get("/verify")
    async def verify(_request: Annotated[ReadRequest, Depends(doors.reader("operations.read"))]) -> JSONResponse:
        """Reads the whole log; who asks while that goes on gets the same verdict."""
        nonlocal verdict
        if verdict is None or verdict.done():
            verdict = asyncio.create_task(log.verify(), name="verify")
        found = await asyncio.shield(verdict)
        return JSONResponse({"whole": found.whole, **asdict(found)})

    @router.get("/dead-letters")
    async def letters(
        http: Request,
        request: Annotated[ReadRequest, Depends(doors.reader("operations.read"))],
        state: Annotated[
            list[LetterState] | None, Query(description="May be repeated; those that wait when absent")
        ] = None,
    ) -> JSONResponse:
        states = {"states": tuple(state)} if state else {}
        page = await log.letters.list(after=request.after, limit=request.limit, **states)
        return doors.page(http, [_shown(found) for found in page.items], page.after)

    @router.get("/dead-letters/{id}")
    async def letter(
        id: str, _request: Annotated[ReadRequest, Depends(doors.reader("operations.read"))]
    ) -> JSONResponse:
        return JSONResponse(_shown(await found_one(id)))

    @router.post("/dead-letters/{id}/replay")
    async def replay(
        id: str, request: Annotated[CommandRequest, Depends(doors.command("operations.repair"))]
    ) -> JSONResponse:
        """Applies what waits in this letter's stream, in order: this letter, and those behind it as far as they go."""
        return await settled(id, request, partial(log.letters.replay, id, actor=request.actor))

    @router.post("/dead-letters/{id}/discard")
    async def discard(
        id: str, body: DiscardInput, request: Annotated[CommandRequest, Depends(doors.command("operations.repair"))]
    ) -> JSONResponse:
        """Gives the fact up for good: the reason and who gave it are an event of this service's own log."""
        work = partial(log.letters.discard, id, reason=body.reason, actor=request.actor)
        return await settled(id, request, work)

    async def settled(id: str, request: CommandRequest, work: Callable[..., Awaitable[Any]]) -> JSONResponse:
        repair = Repair(request.key, request.body)

        async def once() -> Answer:
            answer = await log.letters.answered(id, repair)
            if answer is None:
                try:
                    await work(repair=repair)
                except (LetterSettled, ReplayFailed):
                    # Settled by an equal request that was quicker; or one behind it failed, and lies open by itself.
                    if await log.letters.answered(id, repair) is None:
                        raise
                answer = await log.letters.answered(id, repair)
            if answer is None:
                raise LetterSettled(state=(await found_one(id))["state"])
            return answer

        return doors.accepted(await request.measured(once()))

    async def found_one(id: str) -> dict[str, Any]:
        found = await log.letters.find_one(id)
        if found is None:
            raise NotFound
        return found

    return router


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    """A letter as people read it: when it was opened as an instant, and not the key that settled it."""
    rest = {name: value for name, value in found.items() if name not in ("_id", "at", "repair")}
    return {"id": found["_id"], "at": iso(instant(found["at"])), **rest}
