"""November: the panels' scores come in, scorecards are published, and a late report supersedes some of them."""

from __future__ import annotations

from typing import Any

from deploy.demo.acts.year import accept_one
from deploy.demo.programme import CYCLE, Days
from deploy.demo.stage import EVALUATION, LEAD_EVALUATOR, OFFICE, Stage
from deploy.demo.workbooks import XLSX, panel


async def panels(stage: Stage) -> None:
    """The lead evaluator hands in the panels' workbook: preview, then apply."""
    await stage.move_to(Days.PUBLISH)
    await stage.all_heard()
    form = (await stage.client.raw(LEAD_EVALUATOR, EVALUATION, "/workbooks/panel.xlsx")).content
    sent = ("panel.xlsx", panel(stage.programme.dockets, form), XLSX)

    async def one(_workbook: str) -> None:
        preview = await stage.client.command(LEAD_EVALUATOR, EVALUATION, "/assessments/imports", key="panel", file=sent)
        path = f"/assessments/imports/{preview['id']}/apply"
        await stage.client.command(LEAD_EVALUATOR, EVALUATION, path, {}, key="panel-apply")

    await stage.each("专家评分工作簿 panel workbook previewed and applied", ["panel"], one)


async def publish(stage: Stage) -> None:
    """The office publishes the year's scorecards of every region, enterprise and institution."""
    body = {
        "cycle": CYCLE,
        "window_start": Days.WINDOW_START.isoformat(),
        "window_end": Days.WINDOW_END.isoformat(),
    }

    async def one(_cycle: str) -> None:
        answer = await stage.client.command(OFFICE, EVALUATION, "/scorecards/publish", body, key="publish")
        stage.notes["published"] = answer["details"]

    await stage.each("发布记分卡 scorecards published", [CYCLE], one)


async def late_fact(stage: Stage) -> None:
    """A pilot's acceptance is reported after the cards are out; the cards it touches are superseded, and say why."""
    await stage.move_to(Days.LATE_FACT)
    await stage.all_heard()
    pilot = next(pilot for pilot in stage.programme.pilots if pilot.key == stage.programme.late)
    id = f"region:{pilot.lead_region}:{CYCLE}"
    before = await stage.client.read(OFFICE, EVALUATION, f"/scorecards/{id}")
    stage.notes["late card"] = id

    async def one(_pilot: object) -> None:
        await accept_one(stage, pilot, on=Days.ACCEPT_REPORTED_LATE.isoformat())

        async def superseded() -> bool:
            now: dict[str, Any] = await stage.client.read(OFFICE, EVALUATION, f"/scorecards/{id}")
            return bool(now["revision"] > before["revision"])

        await stage.until(f"{id} is superseded", superseded)

    await stage.each("迟到事实使记分卡更新 a late fact supersedes a card", [pilot], one)
    await stage.all_heard()
