"""`/desk`: 待办, what waits for the caller, the most pressing first."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from services.pilot_registration.api.reads import Reads
from services.pilot_registration.domain.lifecycle import IssueState, PilotState, ProjectState
from services.pilot_registration.domain.shares import civil_day
from services.pilot_registration.policies.desk import AT_WORK, OPEN_PILOTS, DeskItem, of_issue, of_pilot, of_project
from shared.contracts.pilot_registration import ListKind
from shared.doors.doors import Doors, ReadRequest
from shared.kernel import NATIONAL

_WORKED_ON = (PilotState.APPROVED.value, PilotState.RUNNING.value, PilotState.ACCEPTANCE_REQUESTED.value)


def desk_routes(doors: Doors, *, reads: Reads) -> APIRouter:
    """One address."""
    router = APIRouter(tags=["desk"])

    @router.get("/desk")
    async def desk(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("pilot.read"))],
        urgency: Literal["returned", "overdue", "due", "to-do"] | None = None,
    ) -> JSONResponse:
        items = sorted(await _items(reads, read), key=DeskItem.order)
        totals = {name: sum(item.urgency == name for item in items) for name in ("returned", "overdue", "due", "to-do")}
        wanted = [item for item in items if urgency in (None, item.urgency)]
        start = int(read.after or 0)
        end = start + read.limit
        page = doors.page(
            request, [item.shown() for item in wanted[start:end]], str(end) if end < len(wanted) else None
        )
        return JSONResponse(json.loads(bytes(page.body)) | {"totals": totals})

    return router


async def _items(reads: Reads, read: ReadRequest) -> list[DeskItem]:
    by, today = read.actor, civil_day(read.at)
    items: list[DeskItem] = []
    pilots = [pilot async for pilot in reads.every_pilot(by, {"state": {"$in": list(OPEN_PILOTS)}})]
    for pilot in pilots:
        items += of_pilot(pilot, by, today)
    at_work = [pilot.id for pilot in pilots if pilot.state.value in _WORKED_ON and by.scope.covers(pilot.lead_region)]
    conditions: list[dict[str, Any]] = []
    if by.roles & {"province", "office"}:
        conditions.append({"state": IssueState.LISTED.value, "pilot_id": {"$in": at_work}})
    if "registrar" in by.roles:
        conditions.append({"state": {"$in": list(AT_WORK)}, "pilot_id": {"$in": at_work}})
    if by.org:
        conditions.append({"state": {"$in": list(AT_WORK)}, "owner": by.org})
    if conditions:
        hidden = await reads.hidden(by, ListKind.ISSUES)
        async for issue in reads.every(reads.issues, read.scope, {"$and": [{"$or": conditions}, *hidden]}):
            items += of_issue(issue, by, today)
    conditions = [{"pilot_id": {"$in": at_work}}] if "registrar" in by.roles else []
    if by.org:
        running = [{"leader": by.org}, {"institution": by.org}]
        conditions.append({"$or": running})
    if conditions:
        listed = {"state": {"$ne": ProjectState.REMOVED.value}}
        wanted = {"$and": [listed, {"$or": conditions}]}
        projects = [project async for project in reads.every(reads.projects, read.scope, wanted)]
        theirs = {
            "_id": {"$in": sorted({project.pilot_id for project in projects})},
            "state": {"$in": list(_WORKED_ON)},
        }
        running_ids = {pilot.id async for pilot in reads.every(reads.pilots, NATIONAL, theirs)}
        for project in projects:
            items += of_project(project, by, today) if project.pilot_id in running_ids else []
    return items
