"""Award dockets over HTTP: open, score from a workbook, decide, read, ask what-if, export."""

import asyncio
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from math import ceil
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, File, Query, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from services.incentive_scoring.api import shown
from services.incentive_scoring.api.instants import Instant
from services.incentive_scoring.domain import AwardDocket, DocketNotDecided, TiltDecision
from services.incentive_scoring.handlers import AwardDockets, WhatIf
from services.incentive_scoring.handlers.dockets import (
    CANDIDATES_PER_CHUNK,
    SCORES_PER_CHUNK,
    SHEET,
    BaseScoreRow,
    OpenAwardDocket,
    docket_number,
)
from services.incentive_scoring.handlers.whatif import Question, Vary
from shared.codes.rounding import half_even
from shared.contracts.evaluation import SubjectKind
from shared.doors.doors import CommandRequest, Doors, ReadRequest
from shared.doors.sheets import Column, Sheet, download, read_workbook, write_workbook
from shared.kernel import CIVIL, NATIONAL, FieldError, InvalidInput, NotFound
from shared.log.store import Documents, Rows

BASE_SCORES = Sheet(
    SHEET,
    (
        Column(
            "评价对象代码", "subject", "code", help="统一社会信用代码;地区填 6 位行政区划代码 USCC, or division code"
        ),
        Column("名称", "name", "text"),
        Column("所在地区", "region", "code", help="6 位行政区划代码 division code (GB/T 2260)"),
        Column("基础得分", "base", "decimal", help="企业、机构、个人 0–1000,地区 0–100,至多两位小数"),
        Column("受理日期", "accepted_on", "date", help="正式受理的日期,同分时先受理者在前"),
    ),
)
"""The workbook an award's own jury hands in."""

_RANKING = Sheet(
    "排名",
    (
        Column("名次", "rank", "integer"),
        Column("评价对象代码", "subject", "code"),
        Column("名称", "name", "text"),
        Column("所在地区", "region", "code"),
        Column("基础得分", "base", "decimal"),
        Column("倾斜分", "tilt", "decimal"),
        Column("总分", "total", "decimal"),
        Column("名次依据", "decided_by", "text"),
        Column("入选", "in_places", "text"),
        Column("因倾斜入选", "tilt_decided", "text"),
        Column("一票否决不得入选", "ineligible", "text"),
    ),
)
_DECISIONS = Sheet(
    "倾斜决定",
    (
        Column("评价对象代码", "subject", "code"),
        Column("名称", "name", "text"),
        Column("结果", "state", "text"),
        Column("基础得分", "base", "decimal"),
        Column("分项合计", "raw", "decimal", help="修约前,四位小数;精确值见倾斜说明 before rounding, at 4 decimals"),
        Column("倾斜分", "final", "decimal"),
        Column("不予倾斜的原因", "reasons", "text", required=False),
        Column("政策版本", "policy_version", "text"),
        Column("记分卡", "scorecard_id", "text"),
        Column("记分卡版次", "scorecard_revision", "integer"),
        Column("说明校验值", "explanation_hash", "text"),
    ),
)
_STATES = {"decided": "给予倾斜 decided", "withheld": "不予倾斜 withheld", "reversed": "已撤销 reversed"}
_DECIDED_BY = {
    "first": "居首 first", "total": "总分 total", "base": "基础得分 base", "tilt": "倾斜分 tilt",
    "acceptance": "受理先后 acceptance", "code": "代码顺序 code",
}  # fmt: skip
_YES = {True: "是 yes", False: "否 no"}

DocketId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")]


Figure = Annotated[Decimal, Field(max_digits=20, decimal_places=12)]
"""A number somebody asks about. Exact fractions of 1E-30000 would be computed with for minutes, hence the limit."""


class OpenInput(BaseModel):
    """A docket to open; without a number it gets one."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "docket_id": "AD-2026-enterprise", "award": "中国质量奖(制造业)", "level": "national",
                    "subject_kind": "enterprise", "cycle": "2026", "policy_version": "TP-2026.1", "places": 10,
                    "cycle_start": "2026-01-01T00:00:00+08:00", "cycle_end": "2027-01-01T00:00:00+08:00",
                }
            ]
        },
    )  # fmt: skip

    docket_id: DocketId | None = None
    award: str = Field(min_length=1, max_length=100)
    level: str = Field(min_length=1, max_length=20, description="national, provincial, municipal, supervision")
    subject_kind: SubjectKind
    cycle: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,39}$")
    policy_version: str = Field(min_length=1, max_length=20)
    places: int = Field(ge=1, le=1000)
    cycle_start: Instant
    cycle_end: Instant


class SimulateInput(BaseModel):
    """What to change. Numbers as text, exact; `vary` with `low` and `high` asks for the values where ranks swap."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"cap": "20", "vary": "cap"}]})

    policy_version: str | None = Field(default=None, max_length=20)
    cap: Figure | None = Field(default=None, description="points of the award's scale")
    base_floor: Figure | None = Field(default=None, description="points of the award's scale")
    completeness_floor: Figure | None = Field(default=None, description="fraction 0 to 1")
    without_evidence: str | None = Field(default=None, max_length=64, description="id of one fact")
    vary: Vary | None = None
    low: Figure | None = None
    high: Figure | None = None


def routes(  # noqa: PLR0915 - one statement per route and its parts
    award_dockets: AwardDockets,
    what_if: WhatIf,
    doors: Doors,
    *,
    dockets: Documents[AwardDocket],
    decisions: Documents[TiltDecision],
    imports: Rows,
) -> APIRouter:
    """All routes of dockets."""
    router = APIRouter(tags=["award-dockets"])

    @router.post("/award-dockets", status_code=201)
    async def open_docket(
        body: OpenInput, request: Annotated[CommandRequest, Depends(doors.command("award-docket.open"))]
    ) -> JSONResponse:
        given = body.model_dump()
        docket_id = given.pop("docket_id") or docket_number(given)
        command = OpenAwardDocket(docket_id=docket_id, **given)
        answer = await request.execute(lock=_lock(docket_id), call=lambda: award_dockets.open(command, at=request.at))
        return doors.accepted(answer, status=201)

    @router.get("/award-dockets")
    async def list_dockets(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("award-docket.read"))],
        state: Annotated[str | None, Query(pattern="^(opened|scored|closed|ranked)$")] = None,
        cycle: Annotated[str | None, Query(max_length=40)] = None,
        subject_kind: SubjectKind | None = None,
    ) -> JSONResponse:
        where = {"state": state, "cycle": cycle, "subject_kind": subject_kind.value if subject_kind else None}
        wanted = {name: value for name, value in where.items() if value is not None}
        page = await dockets.page(read.scope, wanted, after=read.after, limit=read.limit)
        return doors.page(request, [shown.docket(docket, read.scope) for docket in page.items], page.after)

    @router.get("/award-dockets/{docket_id}")
    async def read_docket(
        docket_id: str, read: Annotated[ReadRequest, Depends(doors.reader("award-docket.read"))]
    ) -> JSONResponse:
        docket = await dockets.read(docket_id, read.scope)
        body = shown.docket(docket, read.scope) | {"base_scores": shown.candidates(docket, read.scope)}
        return JSONResponse(body, headers={"ETag": f'"{docket.version}"'})

    # --- base scores ---

    @router.get("/workbooks/base-scores.xlsx")
    async def template(read: Annotated[ReadRequest, Depends(doors.reader("award-docket.read"))]) -> Response:
        return download(await asyncio.to_thread(write_workbook, [(BASE_SCORES, [])]), "基础得分模板.xlsx")

    @router.post("/award-dockets/{docket_id}/imports", status_code=201)
    async def preview_scores(
        docket_id: str,
        file: Annotated[UploadFile, File(description=".xlsx; 模板见 /workbooks/base-scores.xlsx")],
        request: Annotated[CommandRequest, Depends(doors.command("award-docket.import"))],
    ) -> JSONResponse:
        """Judges the workbook and shows new, changed, unchanged and absent candidates; writes only the preview."""
        await dockets.read(docket_id, request.actor.scope)
        workbook = await read_workbook(await file.read(), [BASE_SCORES])
        workbook.check()
        rows = [BaseScoreRow(row.number, **_typed(row.values)) for row in workbook.rows.get(SHEET, [])]
        answer = await request.execute(
            lock=_lock(docket_id), call=lambda: award_dockets.preview(docket_id, rows, at=request.at)
        )
        return doors.accepted(answer, status=201)

    @router.get("/award-dockets/{docket_id}/imports/{import_id}")
    async def read_import(
        docket_id: str, import_id: str, read: Annotated[ReadRequest, Depends(doors.reader("award-docket.read"))]
    ) -> JSONResponse:
        found = await imports.get(import_id)
        if found is None or found["docket_id"] != docket_id or not read.scope.national:
            raise NotFound
        return JSONResponse(
            {"id": import_id, "state": found["state"], "done": found["done"], "total": found["total"]}
            | {"details": {SHEET: found["preview"]}}
        )

    @router.post("/award-dockets/{docket_id}/imports/{import_id}/apply")
    async def apply_scores(
        docket_id: str,
        import_id: str,
        request: Annotated[CommandRequest, Depends(doors.command("award-docket.import"))],
    ) -> JSONResponse:
        """Takes the previewed scores in chunks; an unchanged workbook leaves no fact and no new version."""
        found = await imports.get(import_id)
        if found is None:
            raise NotFound
        answer = await request.execute_in_chunks(
            lock=_lock(docket_id),
            chunks=[
                partial(award_dockets.apply, docket_id, import_id, chunk, at=request.at)
                for chunk in range(ceil(found["total"] / SCORES_PER_CHUNK))
            ],
            last=lambda: award_dockets.applied(docket_id, import_id),
        )
        return doors.accepted(answer)

    # --- the decision ---

    @router.post("/award-dockets/{docket_id}/decide")
    async def decide(
        docket_id: str, request: Annotated[CommandRequest, Depends(doors.command("award-docket.decide"))]
    ) -> JSONResponse:
        """The decision cut, a decision per candidate, the ranking; the same key goes on where it broke off."""
        docket = await dockets.read(docket_id, request.actor.scope)
        # One slice more than counted: scores that come in before the cut are still decided.
        slices = range(ceil(len(docket.candidates) / CANDIDATES_PER_CHUNK) + 1)
        answer = await request.execute_in_chunks(
            lock=_lock(docket_id),
            chunks=[
                lambda: award_dockets.close(docket_id, at=request.at),
                *(partial(award_dockets.decide_slice, docket_id, chunk) for chunk in slices),
            ],
            last=lambda: award_dockets.finish(docket_id, at=request.at),
        )
        return doors.accepted(answer)

    @router.get("/award-dockets/{docket_id}/ranking")
    async def read_ranking(
        docket_id: str, read: Annotated[ReadRequest, Depends(doors.reader("award-docket.read"))]
    ) -> JSONResponse:
        docket = await dockets.read(docket_id, read.scope)
        if docket.state != "ranked":
            raise DocketNotDecided(docket=docket_id)
        return JSONResponse(shown.ranking(docket, read.scope), headers={"ETag": f'"{docket.version}"'})

    @router.get("/award-dockets/{docket_id}/would-change")
    async def would_change(
        docket_id: str, read: Annotated[ReadRequest, Depends(doors.reader("award-docket.read"))]
    ) -> JSONResponse:
        """What later facts or policies would give; nothing recomputes by itself (rule 21)."""
        docket = await dockets.read(docket_id, read.scope)
        changes = await what_if.would_change(docket, at=read.at)
        seen = [change for change in changes if read.scope.covers(docket.candidates[change["subject"]].region)]
        return JSONResponse({"docket_id": docket_id, "items": seen, "next": None})

    @router.post("/award-dockets/{docket_id}/simulate")
    async def simulate(
        docket_id: str,
        body: SimulateInput,
        read: Annotated[ReadRequest, Depends(doors.reader("award-docket.simulate"))],
    ) -> JSONResponse:
        """A question, not a command: it needs no Idempotency-Key and writes nothing (rule 13).

        A region is answered with its own lines, as in the ranking.
        """
        docket = await dockets.read(docket_id, read.scope)
        _finite(body)
        answer = await what_if.simulate(docket, Question(**body.model_dump()), at=read.at)
        return JSONResponse(shown.simulation(answer, docket, read.scope))

    @router.get("/award-dockets/{docket_id}/export.xlsx")
    async def export(
        docket_id: str, read: Annotated[ReadRequest, Depends(doors.reader("award-docket.read"))]
    ) -> Response:
        """Ranking, decisions and base scores as a workbook."""
        docket = await dockets.read(docket_id, read.scope)
        taken = await _every(decisions, docket_id)
        names = {subject: candidate.name for subject, candidate in docket.candidates.items()}
        ranked = [
            place.model_dump(exclude={"in_places", "tilt_decided", "ineligible"})
            | {"name": names[place.subject], "in_places": _YES[place.in_places]}
            | {"tilt_decided": _YES[place.tilt_decided], "ineligible": _YES[place.ineligible]}
            | {"decided_by": _DECIDED_BY[place.decided_by]}
            for place in docket.ranking
            if read.scope.covers(place.region)
        ]
        lines = [_exported(one) for one in taken if read.scope.covers(one.regions[0])]
        scores = [
            candidate.model_dump()
            | {"accepted_on": candidate.accepted_at.astimezone(CIVIL).date() if candidate.accepted_at else None}
            for candidate in docket.candidates.values()
            if read.scope.covers(candidate.region)
        ]
        sheets: list[tuple[Sheet, Any]] = [(_RANKING, ranked), (_DECISIONS, lines), (BASE_SCORES, scores)]
        data = await asyncio.to_thread(write_workbook, sheets, title=f"{docket.award} {docket.cycle}")
        return download(data, f"{docket.award}-{docket.cycle}.xlsx")

    return router


def _lock(docket_id: str) -> str:
    return f"award-docket:{docket_id}"


async def _every(decisions: Documents[TiltDecision], docket_id: str) -> Sequence[TiltDecision]:
    found: list[TiltDecision] = []
    after: str | None = None
    while True:
        page = await decisions.page(NATIONAL, {"docket_id": docket_id}, after=after, limit=200)
        found += page.items
        after = page.after
        if after is None:
            return found


def _exported(one: TiltDecision) -> dict[str, object]:
    line = shown.decision(one)
    return line | {
        "state": _STATES[one.state],
        "base": one.fact.base,
        "raw": half_even(one.fact.raw, 4),
        "final": one.tilt,
        "reasons": "、".join(line["reasons"]),
    }


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a row as the sheet has declared them; a workbook that passed its check has them all."""
    return {
        "subject": cast(str, values["subject"]),
        "name": cast(str, values["name"]),
        "region": cast(str, values["region"]),
        "base": cast(Decimal, values["base"]),
        "accepted_on": cast(date, values["accepted_on"]),
    }


def _finite(body: SimulateInput) -> None:
    wrong = [
        FieldError(name, "finite", "须为有限的数", "A finite number is expected")
        for name in ("cap", "base_floor", "completeness_floor", "low", "high")
        if (value := getattr(body, name)) is not None and not value.is_finite()
    ]
    if wrong:
        raise InvalidInput(errors=wrong)
