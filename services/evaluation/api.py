"""The HTTP door of evaluation."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from shared.doors.doors import Doors, ReadRequest
from shared.kernel import NotFound
from shared.log.store import Rows


def routes(doors: Doors, *, known_parties: Rows) -> APIRouter:
    """All routes of evaluation."""
    router = APIRouter()

    @router.get("/subjects/{uscc}", tags=["subjects"])
    async def read_subject(
        uscc: str, read: Annotated[ReadRequest, Depends(doors.reader("subject.read"))]
    ) -> JSONResponse:
        row = await known_parties.get(uscc)
        if row is None or not read.scope.covers_any(row["regions"]):
            raise NotFound
        known = row["registered"]
        shown = {"uscc": uscc, "name": row["name"], "kind": row["kind"], "size_class": row["size_class"]}
        return JSONResponse(shown | {"registered": known})

    return router
