"""Tilt policies over HTTP: files and what became of them."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from services.incentive_scoring.domain import TiltPolicy, digest
from services.incentive_scoring.handlers import TiltPolicies
from services.incentive_scoring.policies.rules import PolicyDocument
from shared.doors.doors import CommandRequest, Doors, ReadRequest
from shared.kernel import NATIONAL, NotFound
from shared.log.store import Documents


def routes(tilt_policies: TiltPolicies, doors: Doors, *, approved: Documents[TiltPolicy]) -> APIRouter:
    """Read versions, approve one."""
    router = APIRouter(tags=["tilt-policies"])

    @router.get("/tilt-policies")
    async def list_policies(
        request: Request, read: Annotated[ReadRequest, Depends(doors.reader("tilt-policy.read"))]
    ) -> JSONResponse:
        found = await _approved(approved)
        items = [_line(document, found) for _version, document in sorted(tilt_policies.files.items())]
        return doors.page(request, items, None)

    @router.get("/tilt-policies/{version}")
    async def read_policy(
        version: str, read: Annotated[ReadRequest, Depends(doors.reader("tilt-policy.read"))]
    ) -> JSONResponse:
        document = tilt_policies.files.get(version)
        if document is None:
            raise NotFound
        found = await _approved(approved)
        etag = {"ETag": f'"{found[version].version if version in found else 0}"'}
        return JSONResponse(_line(document, found) | {"content": document.content()}, headers=etag)

    @router.post("/tilt-policies/{version}/approve")
    async def approve_policy(
        version: str, request: Annotated[CommandRequest, Depends(doors.command("tilt-policy.approve"))]
    ) -> JSONResponse:
        answer = await request.execute(
            lock=f"tilt-policy:{version}",
            call=lambda: tilt_policies.approve(version, by=request.actor, at=request.at),
        )
        return doors.accepted(answer)

    return router


async def _approved(approved: Documents[TiltPolicy]) -> dict[str, TiltPolicy]:
    page = await approved.page(NATIONAL, {}, limit=200)
    return {policy.id: policy for policy in page.items}


def _line(document: PolicyDocument, approved: Mapping[str, TiltPolicy]) -> dict[str, Any]:
    mine = approved.get(document.version)
    by = next((policy.id for policy in approved.values() if policy.replaces == document.version), "")
    state = "drafted" if mine is None else "superseded" if by else "approved"
    return {
        "version": document.version,
        "title": document.title,
        "state": state,
        "author": document.author,
        "replaces": document.replaces,
        "superseded_by": by,
        "content_hash": digest(document.content()),
        "approved_by": mine.approved_by if mine else "",
        "approved_at": mine.approved_at.isoformat() if mine and mine.approved_at else None,
    }
