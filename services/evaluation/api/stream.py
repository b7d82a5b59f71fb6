"""Published revisions as they come: the evaluators' stream, resumable at any place of the log."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from services.evaluation.api.access import card_for
from services.evaluation.domain import Scorecard
from services.evaluation.handlers.ports import Ledger
from shared.doors.doors import Doors, ReadRequest
from shared.kernel import NotFound
from shared.log.store import Documents

_TOPIC = "evaluation.scorecards"
_STREAM_SECONDS = 600.0
_BEAT_SECONDS = 15.0
_LOOK_SECONDS = 0.3


def routes(doors: Doors, *, cards: Documents[Scorecard], ledger: Ledger, stopping: asyncio.Event) -> APIRouter:
    """One route; it ends by itself after ten minutes, within a token's life, or when the service is told to stop."""
    router = APIRouter()

    @router.get("/scorecards/stream", tags=["scorecards"])
    async def stream(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("scorecard.read"))],
        last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,18}$")] = None,
        after: Annotated[int | None, Query(ge=0, le=10**18, description="position in the log to begin after")] = None,
    ) -> StreamingResponse:
        """Published revisions as server-sent events; `id` is the place in the log: `Last-Event-ID` resumes exactly."""
        position = int(last_event_id) if last_event_id is not None else after
        begin = position if position is not None else await ledger.closed()
        return StreamingResponse(
            _events(request, read, begin),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(request: Request, read: ReadRequest, position: int) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        end, beat = loop.time() + _STREAM_SECONDS, loop.time()
        yield "retry: 1000\n\n"
        while loop.time() < end and not stopping.is_set() and not await request.is_disconnected():
            async for event in ledger.after(position, _TOPIC):
                position = event["seq"]
                if event["type"] == "ScorecardPublished" and await _streamed(event["subject"], read):
                    fact = json.loads(event["data"])
                    yield f"id: {position}\nevent: ScorecardPublished\ndata: {json.dumps(fact, ensure_ascii=False)}\n\n"
                    beat = loop.time()
            if loop.time() - beat > _BEAT_SECONDS:
                yield f": {position}\n\n"
                beat = loop.time()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _LOOK_SECONDS)

    async def _streamed(id: str, read: ReadRequest) -> bool:
        try:
            await card_for(cards, id, read)
        except NotFound:
            return False
        return True

    return router
