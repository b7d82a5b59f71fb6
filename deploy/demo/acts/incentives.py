"""November and December: dockets under TP-2026.1, tilts decided, a veto raised, confirmed, and whom it moves."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from deploy.demo.programme import CYCLE, Days, Docket
from deploy.demo.stage import APPROVER, INCENTIVES, SECRETARIAT, SUPERVISION, SUPERVISION_OTHER, Stage
from deploy.demo.workbooks import XLSX, base_scores
from shared.kernel import CIVIL

POLICIES = ("TP-2025.1", "TP-2026.1")
POLICY = POLICIES[-1]


async def dockets(stage: Stage) -> None:
    """The secretariat opens a docket per award under the policy in force and imports the base scores."""
    await stage.move_to(Days.DOCKET)
    await stage.all_heard()

    async def approve(version: str) -> None:
        await stage.client.command(
            APPROVER, INCENTIVES, f"/tilt-policies/{version}/approve", {}, key=f"policy-{version}"
        )

    with stage.telling.act("批准倾斜政策 tilt policies approved", len(POLICIES)) as act:
        for version in POLICIES:
            await approve(version)
            act.done()
    form = (await stage.client.raw(SECRETARIAT, INCENTIVES, "/workbooks/base-scores.xlsx")).content

    async def one(docket: Docket) -> None:
        body = {
            "docket_id": docket_id(docket),
            "award": docket.award,
            "level": docket.level,
            "subject_kind": docket.kind,
            "cycle": CYCLE,
            "policy_version": POLICY,
            "places": docket.places,
            "cycle_start": _midnight(Days.WINDOW_START),
            "cycle_end": _midnight(Days.WINDOW_END + timedelta(days=1)),
        }
        await stage.client.command(SECRETARIAT, INCENTIVES, "/award-dockets", body, key=f"docket-{docket.kind}")
        path = f"/award-dockets/{docket_id(docket)}/imports"
        sent = (f"base-{docket.kind}.xlsx", base_scores(docket, form), XLSX)
        preview = await stage.client.command(SECRETARIAT, INCENTIVES, path, key=f"base-{docket.kind}", file=sent)
        apply = f"{path}/{preview['id']}/apply"
        await stage.client.command(SECRETARIAT, INCENTIVES, apply, {}, key=f"base-apply-{docket.kind}")

    await stage.each("奖励档案、基础得分 dockets opened, base scores imported", stage.programme.dockets, one)


async def decide(stage: Stage) -> None:
    """One decision per candidate, then the ranking."""

    async def one(docket: Docket) -> None:
        path = f"/award-dockets/{docket_id(docket)}/decide"
        answer = await stage.client.command(SECRETARIAT, INCENTIVES, path, {}, key=f"decide-{docket.kind}")
        stage.notes[f"decided {docket.kind}"] = answer["details"]

    await stage.each("倾斜决定与排名 tilts decided, rankings computed", stage.programme.dockets, one)


async def veto(stage: Stage) -> None:
    """An accident before the decision becomes known after it: supervision raises a veto, a second person confirms."""
    docket = next(docket for docket in stage.programme.dockets if docket.kind == "enterprise")
    ranking = await stage.client.read(SECRETARIAT, INCENTIVES, f"/award-dockets/{docket_id(docket)}/ranking")
    holders = [place for place in ranking["ranking"] if place["in_places"]]
    tilted = [place for place in holders if Decimal(place["tilt"])]
    chosen = next((place for place in tilted if place["tilt_decided"]), (tilted or holders)[0])
    await stage.move_to(Days.VETO)

    async def one(place: dict[str, Any]) -> None:
        body = {
            "ground": "V2",
            "subject_kind": docket.kind,
            "subject": place["subject"],
            "effective_from": _midnight(Days.ACCIDENT),
            "reason": "发生较大生产安全责任事故,经调查认定",
        }
        raised = await stage.client.command(SUPERVISION, INCENTIVES, "/vetoes", body, key="veto")
        path = f"/vetoes/{raised['id']}/confirm"
        await stage.client.refusal(SUPERVISION, INCENTIVES, path, {}, key="veto-alone", code="veto-own")
        confirmed = await stage.client.command(SUPERVISION_OTHER, INCENTIVES, path, {}, key="veto-confirm")
        stage.notes["moved"] = confirmed["details"]["moved"]
        stage.notes["veto"] = raised["id"]

    await stage.each("一票否决 veto raised and confirmed by another", [chosen], one)
    await stage.all_heard()


def docket_id(docket: Docket) -> str:
    """The docket's own number."""
    return f"AD-{CYCLE}-{docket.kind}"


def _midnight(day: date) -> str:
    return datetime.combine(day, time(), CIVIL).isoformat()
