"""Panels' results over HTTP: the workbook, its preview and application, and what the panels came to."""

import asyncio
import hashlib
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Query, Request, UploadFile
from fastapi.responses import JSONResponse, Response

from services.evaluation.domain import Assessment
from services.evaluation.handlers import Assessments
from services.evaluation.handlers.assessments import SHEET, PanelRow
from services.evaluation.policies.panels import RUBRIC
from shared.contracts.evaluation import SubjectKind
from shared.doors.doors import CommandRequest, Doors, ReadRequest
from shared.doors.sheets import Column, Row, Sheet, download, read_workbook, write_workbook
from shared.kernel import iso
from shared.log.store import Documents

_KINDS = {"地区": "region", "企业": "enterprise", "机构": "institution"}
_YES_NO = {"否": "no", "是": "yes"}

PANEL = Sheet(
    SHEET,
    (
        Column("评价对象类型", "kind", "choice", choices=_KINDS),
        Column("评价对象代码", "subject", "code", help="地区填省级行政区划代码,企业和机构填统一社会信用代码"),
        Column("评价周期", "cycle", "text", max_length=40, help="与记分卡的周期一致,例如 2026"),
        Column("评价员编号", "evaluator", "text", max_length=40, help="系统编号,不得填写姓名、身份证号或手机号"),
        Column("评价员单位", "org", "code", help="统一社会信用代码"),
        Column("是否申明回避", "declared", "choice", choices=_YES_NO, help="申明回避的评价不计入"),
        *(
            Column(f"{item.id} {item.zh}", f"item_{item.id}", "decimal", required=False,
                   help=f"满分 {item.points},按 5 % 计分;六项全填或全不填")
            for item in RUBRIC
        ),
        Column("得分", "score", "decimal", required=False, help="0 至 100,0.25 的整数倍;申明回避的可不填"),
        Column("引用证据", "evidence", "text", required=False, help="分项得分不低于 80 % 或不高于 30 % 时必填"),
        Column("共识得分", "consensus", "decimal", required=False, help="极差超过 15 分而经合议达成一致时填写"),
    ),
)  # fmt: skip
"""One row per appraisal."""


def routes(assessments: Assessments, doors: Doors, *, stored: Documents[Assessment]) -> APIRouter:
    """Scores of single evaluators are never shown (rule 15): only what the panel came to."""
    router = APIRouter()

    @router.get("/workbooks/panel.xlsx", tags=["assessments"])
    async def template(_read: Annotated[ReadRequest, Depends(doors.reader("assessment.read"))]) -> Response:
        """The empty workbook."""
        data: bytes = await asyncio.to_thread(write_workbook, [(PANEL, [])])
        return download(data, "专家评分.xlsx")

    @router.post("/assessments/imports", status_code=201, tags=["assessments"])
    async def preview(
        request: Annotated[CommandRequest, Depends(doors.command("assessment.import"))],
        file: Annotated[UploadFile, File(description="the workbook 专家评分 (.xlsx)")],
    ) -> JSONResponse:
        """Reads the workbook and says what it would change; every fault by row, or nothing but the preview is kept."""
        data = await file.read()
        workbook = await read_workbook(data, [PANEL])
        workbook.check()
        rows = [_row(row) for row in workbook.rows[SHEET]]
        columns = {column.field: column.header for column in PANEL.columns}
        import_id = f"PI-{hashlib.sha256(data).hexdigest()[:24]}"
        answer = await request.execute(
            lock=f"panel-import:{import_id}",
            call=lambda: assessments.preview(import_id, rows, columns=columns, at=request.at),
        )
        return doors.accepted(answer, status=201)

    @router.get("/assessments/imports/{import_id}", tags=["assessments"])
    async def read_import(
        import_id: str, _read: Annotated[ReadRequest, Depends(doors.reader("assessment.read"))]
    ) -> JSONResponse:
        return JSONResponse(await assessments.read(import_id))

    @router.post("/assessments/imports/{import_id}/apply", tags=["assessments"])
    async def apply(
        import_id: str, request: Annotated[CommandRequest, Depends(doors.command("assessment.import"))]
    ) -> JSONResponse:
        """Records what is new or changed, in chunks; the same key goes on where it broke off."""
        count = await assessments.chunks(import_id)
        answer = await request.execute_in_chunks(
            lock=f"panel-import:{import_id}",
            chunks=[
                lambda chunk=chunk: assessments.apply(import_id, chunk, at=request.at)  # type: ignore[misc]
                for chunk in range(count)
            ],
            last=lambda: assessments.finish(import_id),
        )
        return doors.accepted(answer)

    @router.get("/assessments", tags=["assessments"])
    async def list_assessments(
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("assessment.read"))],
        cycle: Annotated[str | None, Query(max_length=40)] = None,
        subject: Annotated[str | None, Query(max_length=18)] = None,
    ) -> JSONResponse:
        where = ({"cycle": cycle} if cycle else {}) | ({"subject": subject} if subject else {})
        page = await stored.page(read.scope, where, after=read.after, limit=read.limit)
        return doors.page(request, [_shown(assessment) for assessment in page.items], page.after)

    @router.get("/assessments/{id}", tags=["assessments"])
    async def read_assessment(
        id: str, read: Annotated[ReadRequest, Depends(doors.reader("assessment.read"))]
    ) -> JSONResponse:
        assessment = await stored.read(id, read.scope)
        return JSONResponse(_shown(assessment), headers={"ETag": f'"{assessment.version}"'})

    return router


def _row(row: Row) -> PanelRow:
    values: dict[str, Any] = row.values
    items = {item.id: values[f"item_{item.id}"] for item in RUBRIC if values.get(f"item_{item.id}") is not None}
    subject = str(values["subject"]).upper()
    return PanelRow(
        number=row.number,
        kind=SubjectKind(str(values["kind"])),
        subject=subject,
        cycle=str(values["cycle"]),
        evaluator=str(values["evaluator"]),
        org=str(values["org"]).upper(),
        declared=values["declared"] == "yes",
        score=_decimal(values.get("score")),
        items={id: Decimal(value) for id, value in items.items()},
        consensus=_decimal(values.get("consensus")),
        evidence=str(values.get("evidence") or ""),
    )


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(value)


def _shown(assessment: Assessment) -> dict[str, Any]:
    result = assessment.result
    assert result is not None, "an assessment is stored with what it came to"
    return {
        "id": assessment.id,
        "version": assessment.version,
        "subject_kind": assessment.subject_kind.value,
        "subject": assessment.subject,
        "cycle": assessment.cycle,
        "state": "finalised" if result.total is not None else "consensus_required",
        "decided_at": iso(assessment.decided_at) if assessment.decided_at else None,
        **result.model_dump(mode="json"),
    }
