"""March to October: issues assigned, solved and verified, key projects reported, pilots accepted in time or late."""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial

from deploy.demo.catalogue import MILESTONES
from deploy.demo.programme import Closure, Days, Issue, PilotFile, Project
from deploy.demo.stage import EVALUATION, OFFICE, REGISTRATION, Stage

Claim = tuple[PilotFile, Issue, Closure]


async def assign(stage: Stage) -> None:
    """Provinces assign every issue of a running pilot: owner, confirmed grade, due day."""
    await stage.move_to(Days.ASSIGN)
    listed = [(pilot, issue) for pilot, issue in stage.programme.issues() if pilot.started]

    async def one(item: tuple[PilotFile, Issue]) -> None:
        pilot, issue = item
        id = stage.issue_id(pilot, issue.number)
        body = {"owner": issue.owner.uscc, "grade": issue.confirmed_grade, "due_on": issue.due_on.isoformat()}
        who = stage.province(pilot.lead_region)
        key = f"assign-{pilot.key}-{issue.number}"
        await stage.client.command(who, REGISTRATION, f"/quality-issues/{id}/assign", body, key=key)

    await stage.each("分派质量问题 issues assigned", listed, one)


async def rounds(stage: Stage) -> None:
    """Four times a year owners claim closures with evidence, evaluators decide, key projects report."""
    for turn, day in enumerate(Days.ROUNDS):
        if day > Days.ACCEPT and not any(before > Days.ACCEPT for before in Days.ROUNDS[:turn]):
            await accept(stage, "accepted", Days.ACCEPT, "按期验收 accepted in time")
        await stage.move_to(day)
        claims = [(pilot, issue, closure) for pilot, issue, closure, n in claims_of(stage) if n == turn]
        await stage.each(
            f"第 {turn + 1} 轮销号申请 closures claimed with evidence", claims, partial(_claim, stage, turn)
        )
        if turn == len(Days.ROUNDS) - 1:
            await _projects(stage)
        await stage.move_to(day + timedelta(days=7))
        await stage.all_heard()
        await stage.each(
            f"第 {turn + 1} 轮核验 verified or rejected by another party",
            claims,
            partial(_verify, stage, turn),
        )
        await _reopen(stage, turn)


def claims_of(stage: Stage) -> list[tuple[PilotFile, Issue, Closure, int]]:
    """Every claim of the year with the round it is made in; a corrected one is made twice."""
    claims: list[tuple[PilotFile, Issue, Closure, int]] = []
    for pilot, issue in stage.programme.issues():
        if pilot.started and issue.closure is not None:
            claims.append((pilot, issue, issue.closure, issue.closure.round))
            if issue.closure.verdict == "corrected":
                claims.append((pilot, issue, issue.closure, issue.closure.round + 1))
    return claims


async def _claim(stage: Stage, turn: int, item: Claim) -> None:
    pilot, issue, closure = item
    who, id = stage.firm(issue.owner), stage.issue_id(pilot, issue.number)
    name = f"{pilot.key}-{issue.number}-{turn}"
    lines = (issue.owner.name, f"{issue.fault.measure}: {issue.baseline.value} → {closure.after.value}",
             f"样本量 {closure.after.n}", closure.after.on.isoformat())  # fmt: skip
    paper = await stage.upload(who, REGISTRATION, name=name, title=f"{issue.title}整改验证报告", lines=lines)
    after = {"value": str(closure.after.value), "n": closure.after.n, "on": closure.after.on.isoformat()}
    body = {"after": after, "attachment_ids": [paper]}
    answer = await stage.client.command(
        who, REGISTRATION, f"/quality-issues/{id}/claim-closure", body, key=f"claim-{name}"
    )
    stage.notes[f"claim {name}"] = answer["facts"][0]


async def _verify(stage: Stage, turn: int, item: Claim) -> None:
    pilot, issue, closure = item
    evaluators = stage.programme.evaluators
    who = stage.evaluator(evaluators[(int(issue.number) + int(pilot.key[-2:])) % len(evaluators)])
    name, id = f"{pilot.key}-{issue.number}-{turn}", stage.issue_id(pilot, issue.number)
    body = {"claim_fact": stage.notes[f"claim {name}"]}
    if closure.verdict == "rejected" or (closure.verdict == "corrected" and turn == closure.round):
        body |= {"reason": "验证样本与整改前工况不一致,请补充后重报"}
        await stage.client.command(who, EVALUATION, f"/closures/{id}/reject", body, key=f"reject-{name}")
    else:
        await stage.client.command(who, EVALUATION, f"/closures/{id}/verify", body, key=f"verify-{name}")


async def _reopen(stage: Stage, turn: int) -> None:
    back = [(pilot, issue) for pilot, issue, closure, n in claims_of(stage) if n == turn - 1 and closure.reopened]

    async def one(item: tuple[PilotFile, Issue]) -> None:
        pilot, issue = item
        path = f"/quality-issues/{stage.issue_id(pilot, issue.number)}/reopen"
        body = {"reason": "同类质量问题在 180 天内再次出现"}
        who, key = stage.province(pilot.lead_region), f"reopen-{pilot.key}-{issue.number}"
        await stage.client.command(who, REGISTRATION, path, body, key=key)

    if back:
        await stage.all_heard()
        await stage.each("问题反弹、重新打开 issues reopened", back, one)


async def _projects(stage: Stage) -> None:
    """Leaders of key projects report milestones and file their documents (三书一表)."""
    running = [(pilot, project) for pilot in stage.programme.pilots if pilot.started for project in pilot.projects]

    async def one(item: tuple[PilotFile, Project]) -> None:
        pilot, project = item
        who, path = stage.firm(project.leader), f"/key-projects/{stage.project_id(pilot, project.number)}"
        name = f"{pilot.key}-K{project.number}"
        for i, milestone in enumerate(MILESTONES[: project.milestones_reached]):
            body = {"milestone": milestone, "reached_on": (Days.ROUNDS[i] - timedelta(days=10)).isoformat()}
            key = f"milestone-{name}-{i}"
            await stage.client.command(who, REGISTRATION, f"{path}/report-milestone", body, key=key)
        for kind in project.documents:
            paper = await stage.upload(
                who, REGISTRATION, name=f"{name}-{kind.value}", title=f"{project.title} {kind.value}",
                lines=(project.leader.name, project.institution.name),
            )  # fmt: skip
            body = {"document_kind": kind.value, "attachment_id": paper}
            key = f"document-{name}-{kind.value}"
            await stage.client.command(who, REGISTRATION, f"{path}/file-document", body, key=key)

    await stage.each("攻关项目里程碑与三书一表 key projects report", running, one)


async def accept_late(stage: Stage) -> None:
    """The pilots that are accepted after their due day."""
    await accept(stage, "accepted_late", Days.ACCEPT_LATE, "逾期验收 accepted late")


async def accept(stage: Stage, fate: str, day: date, title: str) -> None:
    """The pilots of a fate are accepted on a day."""
    await stage.move_to(day)
    pilots = [pilot for pilot in stage.programme.pilots if pilot.fate == fate]
    await stage.each(title, pilots, lambda pilot: accept_one(stage, pilot))


async def accept_one(stage: Stage, pilot: PilotFile, *, on: str = "") -> None:
    """The region asks for acceptance, the office accepts, today unless it was on another day."""
    path, who = f"/pilots/{stage.id(pilot)}", stage.registrar(pilot.lead_region)
    await stage.client.command(who, REGISTRATION, f"{path}/request-acceptance", {}, key=f"ask-{pilot.key}")
    body = {"accepted_on": on or stage.today().isoformat()}
    await stage.client.command(OFFICE, REGISTRATION, f"{path}/accept", body, key=f"accept-{pilot.key}")
