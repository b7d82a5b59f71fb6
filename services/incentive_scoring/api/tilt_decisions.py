"""Tilt decisions over HTTP, each with its explanation."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from services.incentive_scoring.api import shown
from services.incentive_scoring.domain import TiltDecision, digest
from services.incentive_scoring.handlers import AwardDockets
from services.incentive_scoring.policies.explaining import explanation
from shared.doors.doors import Doors, ReadRequest
from shared.kernel import NotFound
from shared.log.store import Documents


def routes(award_dockets: AwardDockets, doors: Doors, *, decisions: Documents[TiltDecision]) -> APIRouter:
    """Read decisions; they are made in their docket."""
    router = APIRouter(tags=["tilt-decisions"])

    @router.get("/tilt-decisions")
    async def list_decisions(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("tilt-decision.read"))],
        docket_id: Annotated[str | None, Query(max_length=60)] = None,
        subject: Annotated[str | None, Query(max_length=60)] = None,
        state: Annotated[str | None, Query(pattern="^(decided|withheld|reversed)$")] = None,
    ) -> JSONResponse:
        given = {"docket_id": docket_id, "subject": subject, "state": state}
        wanted = [{name: value} for name, value in given.items() if value is not None]
        mine = shown.own(read.actor)
        where = {"$and": [*wanted, *([mine] if mine else [])]} if wanted or mine else {}
        page = await decisions.page(read.scope, where, after=read.after, limit=read.limit)
        return doors.page(request, [shown.decision(found) for found in page.items], page.after)

    @router.get("/tilt-decisions/{decision_id}")
    async def read_decision(
        decision_id: str, read: Annotated[ReadRequest, Depends(doors.reader("tilt-decision.read"))]
    ) -> JSONResponse:
        found = await _mine(decision_id, read)
        body = shown.decision(found) | {"fact": found.fact.model_dump(mode="json")}
        return JSONResponse(body, headers={"ETag": f'"{found.version}"'})

    @router.get("/tilt-decisions/{decision_id}/explanation")
    async def explain(
        decision_id: str, read: Annotated[ReadRequest, Depends(doors.reader("tilt-decision.read"))]
    ) -> JSONResponse:
        """Line by line, recomputed from the pinned inputs while you wait: `recomputed` says whether it still agrees."""
        found = await _mine(decision_id, read)
        policy = await award_dockets.knowledge.policy(found.fact.policy_version)
        told = explanation(found.fact, policy)
        agrees = await award_dockets.recomputed(found) == found.fact.explanation_hash == digest(told)
        more: dict[str, Any] = {
            "name": found.name,
            "state": found.state,
            "explanation_hash": found.fact.explanation_hash,
            "recomputed": agrees,
            "reversal": None,
        }
        if found.state == "reversed":
            more["reversal"] = {
                "veto_id": found.reversed_by,
                "at": found.reversed_at.isoformat() if found.reversed_at else None,
                "zh": "因一票否决撤销,倾斜分计 0",
                "en": "reversed by a veto: the tilt counts 0",
            }
        return JSONResponse(told | more)

    async def _mine(decision_id: str, read: ReadRequest) -> TiltDecision:
        found = await decisions.read(decision_id, read.scope)
        if not shown.may_read(read.actor, found):
            raise NotFound
        return found

    return router
