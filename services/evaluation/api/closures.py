"""Closure claims: the evaluators' work list, and their decisions."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from services.evaluation.handlers import Closures
from services.evaluation.handlers.closures import visible
from shared.doors.doors import CommandRequest, Doors, ReadRequest
from shared.kernel import NotFound, instant, iso
from shared.log.store import Rows

_PAGES_MAX = 20


class VerifyInput(BaseModel):
    """The claim that was examined; a newer one needs a new look."""

    model_config = ConfigDict(extra="forbid")
    claim_fact: str = Field(min_length=1, max_length=64, description="销号声明的事实编号 (id of the claim's fact)")


class RejectInput(VerifyInput):
    """The claim that was examined, and why it does not hold."""

    reason: str = Field(min_length=1, max_length=1000)


def routes(closures: Closures, doors: Doors, *, known_issues: Rows, claims: Rows) -> APIRouter:
    """A claim is worked on where its issue lies."""
    router = APIRouter()

    @router.get("/closures", tags=["closures"])
    async def list_closures(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("closure.read"))],
        state: Annotated[Literal["claimed", "verified", "rejected"] | None, Query()] = None,
        pilot_id: Annotated[str | None, Query(max_length=64)] = None,
    ) -> JSONResponse:
        """Claims in scope; an undecided one that a newer claim has replaced is left out."""
        where: dict[str, Any] = ({"state": state} if state else {}) | ({"pilot_id": pilot_id} if pilot_id else {})
        items: list[dict[str, Any]] = []
        after, size = read.after, read.limit + 1
        for _ in range(_PAGES_MAX):
            rows = await claims.find(where | ({"_id": {"$gt": after}} if after else {}), limit=size)
            issues = await _issues_of(rows)
            for row in rows:
                issue = issues.get(row["issue_id"], {})
                current = row["state"] != "claimed" or issue.get("claim") == row["_id"]
                if current and visible(issue, read.scope):
                    items.append(_shown(row, issue))
                if len(items) == read.limit:
                    more = row is not rows[-1] or len(rows) == size
                    return doors.page(request, items, row["_id"] if more else None)
                after = row["_id"]
            if len(rows) < size:
                return doors.page(request, items, None)
        return doors.page(request, items, after)

    @router.get("/closures/{issue_id}", tags=["closures"])
    async def read_closure(
        issue_id: str, read: Annotated[ReadRequest, Depends(doors.reader("closure.read"))]
    ) -> JSONResponse:
        """One issue with every claim made for it, the newest first."""
        issue = await known_issues.get(issue_id)
        if issue is None or not visible(issue, read.scope):
            raise NotFound
        rows = await claims.find({"issue_id": issue_id}, sort=(("recorded_at", -1), ("_id", 1)))
        if not rows:
            raise NotFound
        newest = next((row for row in rows if row["_id"] == issue.get("claim")), rows[0])
        return JSONResponse(_shown(newest, issue) | {"claims": [_shown(row, issue) for row in rows]})

    @router.post("/closures/{issue_id}/verify", tags=["closures"])
    async def verify_closure(
        issue_id: str, body: VerifyInput, request: Annotated[CommandRequest, Depends(doors.command("closure.verify"))]
    ) -> JSONResponse:
        answer = await request.execute(
            lock=f"closure:{issue_id}",
            call=lambda: closures.verify(issue_id, body.claim_fact, by=request.actor, at=request.at),
        )
        return doors.accepted(answer)

    @router.post("/closures/{issue_id}/reject", tags=["closures"])
    async def reject_closure(
        issue_id: str, body: RejectInput, request: Annotated[CommandRequest, Depends(doors.command("closure.verify"))]
    ) -> JSONResponse:
        answer = await request.execute(
            lock=f"closure:{issue_id}",
            call=lambda: closures.reject(issue_id, body.claim_fact, body.reason, by=request.actor, at=request.at),
        )
        return doors.accepted(answer)

    async def _issues_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        found = await known_issues.find({"_id": {"$in": sorted({row["issue_id"] for row in rows})}})
        return {issue["_id"]: issue for issue in found}

    return router


def _shown(claim: Mapping[str, Any], issue: Mapping[str, Any]) -> dict[str, Any]:
    decision = claim.get("decision")
    return {
        "issue_id": claim["issue_id"],
        "pilot_id": claim["pilot_id"],
        "number": issue.get("number"),
        "title": issue.get("title"),
        "owner": issue.get("owner"),
        "grade": issue.get("grade"),
        "regions": issue.get("regions", []),
        "due_on": issue.get("due_on"),
        "state": claim["state"],
        "claim_fact": claim["_id"],
        "claimant_org": claim["claimant_org"],
        "claimed_at": iso(instant(claim["effective_at"])),
        "baseline": claim["baseline"],
        "after": claim["after"],
        "evidence": claim["evidence"],
        "decision": decision and decision | {"decided_at": iso(instant(decision["decided_at"]))},
    }
