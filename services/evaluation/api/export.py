"""Scorecards as a workbook: one line a figure, exact parts as text, and the figure as people read it."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from services.evaluation.api import shown
from services.evaluation.api.access import conditions
from services.evaluation.domain import Scorecard
from services.evaluation.policies.indicators import BY_ID
from shared.contracts.evaluation import SubjectKind
from shared.doors.doors import Doors, ReadRequest
from shared.doors.sheets import Column, Sheet, download, write_workbook
from shared.kernel import CIVIL
from shared.log.store import Documents, Rows

KINDS_ZH = {"region": "地区", "enterprise": "企业", "institution": "机构"}
EXPORT = Sheet(
    "记分卡",
    (
        Column("对象类型", "kind", "text"),
        Column("对象代码", "subject", "code"),
        Column("对象名称", "name", "text", required=False),
        Column("评价周期", "cycle", "text"),
        Column("版次", "revision", "integer"),
        Column("指标", "indicator", "text"),
        Column("指标名称", "indicator_name", "text"),
        Column("数值", "shown", "text"),
        Column("分子", "numerator", "text"),
        Column("分母", "denominator", "text"),
        Column("计入记录数", "records", "integer"),
        Column("未计入记录数", "excluded", "integer"),
        Column("公式版本", "formula_version", "text"),
        Column("生效截至", "effective", "text"),
        Column("日志位置", "known", "integer"),
        Column("内容哈希", "content_hash", "text"),
    ),
)
"""One line per figure; exact parts as text, so that no spreadsheet rounds them."""


def routes(doors: Doors, *, cards: Documents[Scorecard], known_parties: Rows) -> APIRouter:
    """One route."""
    router = APIRouter()

    @router.get("/scorecards/export.xlsx", tags=["scorecards"])
    async def export(
        read: Annotated[ReadRequest, Depends(doors.reader("scorecard.read"))],
        kind: Annotated[SubjectKind | None, Query()] = None,
        region: Annotated[str | None, Query(pattern=r"^\d{6}$")] = None,
        cycle: Annotated[str | None, Query(max_length=40)] = None,
    ) -> Response:
        """The newest revision of every card in scope."""
        found: list[Scorecard] = []
        where = conditions(read, kind=kind, region=region, cycle=cycle)
        after: str | None = None
        while True:
            page = await cards.page(read.scope, where, after=after, limit=200)
            found += page.items
            after = page.after
            if after is None:
                break
        names = await shown.names_of(found, known_parties)
        rows = [row for card in found for row in export_rows(card, names)]
        data: bytes = await asyncio.to_thread(
            write_workbook, [(EXPORT, rows)], title=f"质量记分卡 {cycle or ''}".strip()
        )
        return download(data, f"记分卡-{kind or '全部'}-{cycle or '全部'}.xlsx")

    return router


def export_rows(card: Scorecard, names: Mapping[str, str]) -> list[dict[str, object]]:
    """A card as lines of the export."""
    assert card.published is not None
    fact = card.published
    return [
        {
            "kind": KINDS_ZH[card.subject_kind.value],
            "subject": card.subject,
            "name": shown.name_of(card, names),
            "cycle": card.cycle,
            "revision": fact.revision,
            "indicator": value.indicator,
            "indicator_name": BY_ID[value.indicator].zh,
            "shown": shown.text(value),
            "numerator": format(value.numerator, "f"),
            "denominator": format(value.denominator, "f"),
            "records": value.records,
            "excluded": value.excluded,
            "formula_version": value.formula_version,
            "effective": fact.effective.astimezone(CIVIL).isoformat(timespec="seconds"),
            "known": fact.known,
            "content_hash": fact.content_hash,
        }
        for value in fact.values
    ]
