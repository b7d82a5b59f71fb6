"""The application workbook: template, preview, apply, export."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Request, UploadFile
from fastapi.responses import JSONResponse, Response

from services.pilot_registration.api.pilots import Input
from services.pilot_registration.api.reads import Reads
from services.pilot_registration.handlers.imports import ListImports, Upload
from services.pilot_registration.policies.columns import BY_KEY, SHEETS, ListSheet
from services.pilot_registration.policies.row_checks import GivenRow
from shared.doors import problems
from shared.doors.doors import CommandRequest, Doors, ReadRequest
from shared.doors.sheets import Column, RowError, Sheet, download, error_workbook, read_workbook, write_workbook
from shared.kernel import NATIONAL, DomainError, NotFound


class WorkbookHasErrors(DomainError):
    """Rows of the workbook have faults; nothing of it was taken over."""

    code = "workbook-has-errors"
    status = 422
    zh = "工作簿有 {count} 处错误,未入库;明细可下载 {path}"
    en = "The workbook has {count} errors and was not taken over; the list is at {path}"


class ApplyInput(Input):
    """Whether rows that the workbook does not have are taken off the lists."""

    remove_absent: bool = False


def _sheet(sheet: ListSheet) -> Sheet:
    columns = tuple(
        Column(c.header, c.field, c.kind, c.required, choices=c.choices, max_length=c.max_length, help=c.help)
        for c in sheet.columns
    )
    return Sheet(sheet.name, columns, required=False)


WORKBOOK = {sheet.key: _sheet(sheet) for sheet in SHEETS}
"""The sheets of the application workbook, by their key."""


def import_routes(imports: ListImports, doors: Doors, *, reads: Reads) -> APIRouter:
    """Everything about the workbook."""
    router = APIRouter(tags=["workbooks"])

    @router.get("/workbooks/application.xlsx", response_class=Response)
    async def template(_read: Annotated[ReadRequest, Depends(doors.reader("pilot.read"))]) -> Response:
        data = await asyncio.to_thread(write_workbook, [(sheet, ()) for sheet in WORKBOOK.values()])
        return download(data, "试点申报工作簿.xlsx")

    @router.get("/pilots/{pilot_id}/workbook.xlsx", response_class=Response)
    async def export(pilot_id: str, read: Annotated[ReadRequest, Depends(doors.reader("pilot.read"))]) -> Response:
        pilot = await reads.pilot(pilot_id, read.actor)
        rows = await reads.list_rows.find({"pilot_id": pilot_id, "gone": False}, sort=[("place", 1), ("_id", 1)])
        by_sheet: dict[str, list[dict[str, object]]] = {key: [] for key in WORKBOOK}
        for row in rows:
            by_sheet[row["sheet"]].append(_typed(BY_KEY[row["sheet"]], row["values"]))
        sheets = [(sheet, by_sheet[key]) for key, sheet in WORKBOOK.items()]
        return download(await asyncio.to_thread(write_workbook, sheets), f"{pilot.title}-{pilot_id}.xlsx")

    @router.post("/pilots/{pilot_id}/imports", status_code=201)
    async def preview(
        pilot_id: str,
        file: Annotated[UploadFile, File(description=".xlsx; 工作表见模板 /workbooks/application.xlsx")],
        request: Annotated[CommandRequest, Depends(doors.command("pilot.import"))],
        raw: Request,
    ) -> JSONResponse:
        data = await file.read()
        book = await read_workbook(data, list(WORKBOOK.values()))
        rows = {key: [GivenRow(r.number, r.values) for r in book.rows[sheet.name]] for key, sheet in WORKBOOK.items()}
        name = (file.filename or "")[:200]
        upload = Upload(rows, book.errors, book.warnings, name, hashlib.sha256(data).hexdigest())
        import_id = f"IM-{uuid.uuid4().hex[:16].upper()}"
        answer = await request.execute(
            lock=pilot_id,
            call=lambda: imports.preview(pilot_id, import_id, upload, by=request.actor, at=request.at),
        )
        path = f"/pilots/{pilot_id}/imports/{answer.id}"
        if answer.details["applicable"]:
            shown = doors.accepted(answer, status=201)
            shown.headers["Location"] = path
            return shown
        header = await reads.imports.get(answer.id)
        assert header is not None
        return _refused(raw, header["errors"], answer.id, path)

    @router.get("/pilots/{pilot_id}/imports")
    async def list_imports(
        pilot_id: str, request: Request, read: Annotated[ReadRequest, Depends(doors.reader("pilot.read"))]
    ) -> JSONResponse:
        await reads.pilot(pilot_id, read.actor)
        headers = await reads.imports.find({"pilot_id": pilot_id}, sort=[("previewed_at", -1)], limit=read.limit)
        return doors.page(request, [_progress(header) for header in headers], None)

    @router.get("/pilots/{pilot_id}/imports/{import_id}")
    async def read_import(
        pilot_id: str, import_id: str, read: Annotated[ReadRequest, Depends(doors.reader("pilot.read"))]
    ) -> JSONResponse:
        header = await _header(pilot_id, import_id, read)
        return JSONResponse(_progress(header) | {"preview": header["summary"], "errors": header["errors"]})

    @router.get("/pilots/{pilot_id}/imports/{import_id}/changes")
    async def read_changes(
        pilot_id: str,
        import_id: str,
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("pilot.read"))],
    ) -> JSONResponse:
        await _header(pilot_id, import_id, read)
        page = await reads.chunks.page({"import_id": import_id}, NATIONAL, read.after, 1)
        items = [_change(change) for chunk in page.items for change in chunk["rows"]]
        return doors.page(request, items, page.after)

    @router.get("/pilots/{pilot_id}/imports/{import_id}/errors.xlsx", response_class=Response)
    async def errors(
        pilot_id: str, import_id: str, read: Annotated[ReadRequest, Depends(doors.reader("pilot.read"))]
    ) -> Response:
        header = await _header(pilot_id, import_id, read)
        faults = [
            RowError(e["sheet"], e["row"], e["column"], e["rule"], e["zh"], e["en"], e["value"])
            for e in header["errors"]
        ]
        return download(await asyncio.to_thread(error_workbook, faults), f"错误明细-{import_id}.xlsx")

    @router.post("/pilots/{pilot_id}/imports/{import_id}/apply")
    async def apply(
        pilot_id: str,
        import_id: str,
        body: ApplyInput,
        request: Annotated[CommandRequest, Depends(doors.command("pilot.import"))],
    ) -> JSONResponse:
        who: dict[str, Any] = {"remove_absent": body.remove_absent, "by": request.actor, "at": request.at}
        await reads.pilot(pilot_id, request.actor)
        count = await imports.planned(pilot_id, import_id, remove_absent=body.remove_absent)
        answer = await request.execute_in_chunks(
            lock=pilot_id,
            chunks=[partial(imports.apply_chunk, pilot_id, import_id, number, **who) for number in range(count)],
            last=partial(imports.finish, pilot_id, import_id, **who),
        )
        return doors.accepted(answer)

    async def _header(pilot_id: str, import_id: str, read: ReadRequest) -> dict[str, Any]:
        await reads.pilot(pilot_id, read.actor)
        header = await reads.imports.get(import_id)
        if header is None or header["pilot_id"] != pilot_id:
            raise NotFound
        return header

    return router


def _typed(sheet: ListSheet, values: Mapping[str, Any]) -> dict[str, object]:
    """Kept values as the sheet's columns want them."""
    typed: dict[str, object] = {}
    for column in sheet.columns:
        value = values.get(column.field)
        if value is not None and column.kind == "decimal":
            value = Decimal(value)
        elif value is not None and column.kind == "date":
            value = date.fromisoformat(value)
        typed[column.field] = value
    return typed


def _progress(header: Mapping[str, Any]) -> dict[str, Any]:
    total = header["chunks"] + (header["removals"] if header["remove_absent"] else 0) + 1
    done = total if header["state"] == "applied" else header["done"]
    return {
        "id": header["_id"], "pilot_id": header["pilot_id"], "state": header["state"], "done": done, "total": total,
        "file": header["file"], "sha256": header["sha256"], "previewed_at": header["previewed_at"],
        "applied_at": header.get("applied_at"), "skipped": header.get("skipped", []),
    }  # fmt: skip


def _change(change: Mapping[str, Any]) -> dict[str, Any]:
    before, after = change["before"] or {}, change["values"] or {}
    fields = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return {
        "sheet": BY_KEY[change["sheet"]].name, "number": change["key"], "change": change["change"],
        "fields": [{"field": name, "before": before.get(name), "after": after.get(name)} for name in fields],
    }  # fmt: skip


def _refused(request: Request, errors: list[dict[str, Any]], import_id: str, path: str) -> JSONResponse:
    """The problem of a faulty workbook: every fault with sheet, row, column and rule, and where to fetch the list."""
    error = WorkbookHasErrors(count=len(errors), path=f"{path}/errors.xlsx")
    body = json.loads(bytes(problems.problem(request, error).body)) | {"import_id": import_id, "errors": errors}
    return JSONResponse(body, 422, media_type="application/problem+json", headers={"Location": path})
