"""January to March: submitted, some returned, admitted, selected, on notice over the Spring Festival, started."""

from __future__ import annotations

from typing import Any

from deploy.demo.programme import Days, PilotFile
from deploy.demo.stage import OFFICE, OFFICE_HEAD, REGISTRATION, Stage

RUN = "RUN-2026-1"
NATIONAL_CALL = "2026-national"


async def submit(stage: Stage) -> None:
    """Registrars attach plan and initiation and submit; provinces return some once, which come in again."""
    await stage.move_to(Days.SUBMIT)
    pilots = stage.programme.pilots
    papers: dict[str, list[dict[str, str]]] = {}

    async def one(pilot: PilotFile) -> None:
        who = stage.registrar(pilot.lead_region)
        papers[pilot.key] = [
            {
                "kind": kind,
                "attachment_id": await stage.upload(
                    who, REGISTRATION, name=f"{pilot.key}-{kind}", title=f"{pilot.title}{name}",
                    lines=(pilot.applicant.name, pilot.chain.name, f"质量问题 {len(pilot.issues)} 项"),
                ),
            }
            for kind, name in (("plan", "任务书"), ("initiation", "立项书"))
        ]  # fmt: skip
        await _turn(stage, pilot, "submit", who=who, body={"attachments": papers[pilot.key]})

    await stage.each("上传附件、提交 submitted with attachments", pilots, one)
    returned = [pilot for pilot in pilots if pilot.returned]
    await stage.move_to(Days.RETURN)

    async def back(pilot: PilotFile) -> None:
        body = {"reasons": ["质量图谱与问题清单的节点对应关系需补充说明"], "missing_documents": ["initiation"]}
        await _turn(stage, pilot, "return", who=stage.province(pilot.lead_region), body=body)

    await stage.each("省级退回补正 returned by the province", returned, back)
    await stage.move_to(Days.RESUBMIT)

    async def again(pilot: PilotFile) -> None:
        body = {"attachments": papers[pilot.key]}
        await _turn(stage, pilot, "submit", who=stage.registrar(pilot.lead_region), body=body, turn="again")

    await stage.each("补正后重报 submitted again", returned, again)


async def select(stage: Stage) -> None:
    """Provinces admit, one applicant withdraws; the office sets the quota, selects until it is full, opens notices."""
    await stage.move_to(Days.ADMIT)
    pilots = stage.programme.pilots
    going = [pilot for pilot in pilots if pilot.started]

    async def admit(pilot: PilotFile) -> None:
        await _turn(stage, pilot, "admit", who=stage.province(pilot.lead_region), body={"quota_bucket": call_of(pilot)})

    async def decide(pilot: PilotFile) -> None:
        await _turn(stage, pilot, "select", who=OFFICE, body={"run_id": RUN, "reason": "评审得分在名额之内"})

    async def leave(pilot: PilotFile) -> None:
        if pilot.fate == "withdrawn":
            who = stage.registrar(pilot.lead_region)
            await _turn(stage, pilot, "withdraw", who=who, body={"reason": "链主企业重组,申请撤回"})
            return
        body = {"run_id": RUN, "reason": "评审得分在名额之内"}
        path = f"/pilots/{stage.id(pilot)}/select"
        full = await stage.client.refusal(OFFICE, REGISTRATION, path, body, key="over-quota", code="quota-full")
        stage.telling.say(f"    {pilot.title}: {full['detail_zh']}")
        await _turn(stage, pilot, "decline", who=OFFICE, body={"run_id": RUN, "reason": "名额已满"})

    await stage.each("省级受理 admitted", pilots, admit)
    quota = {
        "call": NATIONAL_CALL,
        "national": sum(call_of(pilot) == NATIONAL_CALL for pilot in going),
        "per_region": 3,
    }
    await stage.client.command(OFFICE, REGISTRATION, "/quotas", quota, key="quota")
    await stage.each("遴选 selected within the quota", going, decide)
    rest = [pilot for pilot in pilots if not pilot.started]
    await stage.each("撤回、名额已满未入选 withdrawn or declined", rest, leave)
    await stage.move_to(Days.NOTICE)
    await stage.each(
        "公示 5 个工作日 public notices opened",
        going,
        lambda pilot: _turn(stage, pilot, "open-notice", who=OFFICE, body={"working_days": 5}),
    )


def call_of(pilot: PilotFile) -> str:
    """The call whose places a pilot competes for."""
    return f"2026-{pilot.level.value}"


async def approve(stage: Stage) -> None:
    """The notices close by themselves on the working-day clock; then the office approves and the pilots start."""
    going = [pilot for pilot in stage.programme.pilots if pilot.started]
    shown = await stage.client.read(OFFICE, REGISTRATION, f"/pilots/{stage.id(going[0])}")
    early = {"code": "LD-TOO-EARLY", "due_on": str(going[0].due_on)}
    path = f"/pilots/{stage.id(going[0])}/approve"
    refused = await stage.client.refusal(
        OFFICE_HEAD, REGISTRATION, path, early, key="approve-too-early", code="illegal-transition"
    )
    stage.telling.say(f"    公示未满即批准被拒 approval before the close: {refused['code']} ({shown['state']})")
    await stage.move_to(Days.APPROVE)

    async def closed(pilot: PilotFile) -> None:
        async def ask() -> bool:
            now = await stage.client.read(OFFICE, REGISTRATION, f"/pilots/{stage.id(pilot)}")
            return bool(now["state"] == "notice_closed")

        await stage.until(f"the notice of {pilot.title} closes", ask)

    async def one(pilot: PilotFile) -> None:
        body = {"code": f"LD-{pilot.key[-2:]}-{pilot.lead_region}", "due_on": pilot.due_on.isoformat()}
        await _turn(stage, pilot, "approve", who=OFFICE_HEAD, body=body)

    await stage.each("公示期满 notices closed by the due queue", going, closed)
    await stage.each("立项 approved", going, one)
    await stage.move_to(Days.START)
    await stage.each(
        "启动 started",
        going,
        lambda pilot: _turn(stage, pilot, "start", who=stage.province(pilot.lead_region), body={}),
    )


async def _turn(stage: Stage, pilot: PilotFile, verb: str, *, who: Any, body: dict[str, Any], turn: str = "") -> None:
    path = f"/pilots/{stage.id(pilot)}/{verb}"
    await stage.client.command(who, REGISTRATION, path, body, key=f"{verb}{turn and '-' + turn}-{pilot.key}")
