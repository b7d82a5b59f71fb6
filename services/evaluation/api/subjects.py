"""Who can be evaluated, and the catalogue of indicators."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from services.evaluation.policies.indicators import CATALOGUE, REASONS
from shared.doors.doors import Doors, ReadRequest
from shared.kernel import NotFound
from shared.log.store import Rows


def routes(doors: Doors, *, known_parties: Rows) -> APIRouter:
    """Subjects and indicators."""
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

    @router.get("/indicators", tags=["indicators"])
    async def list_indicators(_read: Annotated[ReadRequest, Depends(doors.reader("indicator.read"))]) -> JSONResponse:
        """The indicators this service computes, with formula version, and why a record may be left out."""
        reasons = {reason: {"zh": zh, "en": en} for reason, (zh, en) in REASONS.items()}
        return JSONResponse({"items": [_shown(indicator) for indicator in CATALOGUE], "next": None, "reasons": reasons})

    return router


def _shown(indicator: Any) -> dict[str, Any]:
    return {
        "id": indicator.id,
        "zh": indicator.zh,
        "en": indicator.en,
        "clause": indicator.clause,
        "unit": indicator.unit,
        "direction": indicator.direction,
        "kinds": list(indicator.kinds),
        "formula_version": indicator.formula_version,
        "formula_zh": indicator.formula_zh,
        "formula_en": indicator.formula_en,
    }
