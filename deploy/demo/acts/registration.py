"""January: regions register who takes part, draft their pilots, confirm shares and send in their workbooks."""

from __future__ import annotations

from deploy.demo.programme import Days, Party, PilotFile
from deploy.demo.stage import OFFICE, REGISTRATION, Stage
from deploy.demo.workbooks import XLSX, application


async def register(stage: Stage) -> None:
    """Every region's registrar registers the parties of the region; the office registers the chains."""

    async def party(party: Party) -> None:
        body = {
            "uscc": party.uscc,
            "name": party.name,
            "kind": party.kind.value,
            "size_class": party.size_class.value,
            "division_code": party.division_code,
        }
        who = stage.registrar(party.region)
        await stage.client.command(who, REGISTRATION, "/parties", body, key=f"party-{party.uscc}")

    await stage.each("各地登记参与单位 parties registered", stage.programme.parties, party)
    await stage.each(
        "登记产业链 chains registered",
        stage.programme.chains,
        lambda chain: stage.client.command(
            OFFICE,
            REGISTRATION,
            "/chains",
            {"chain_id": chain.chain_id, "name": chain.name, "industry_codes": list(chain.industry_codes)},
            key=f"chain-{chain.chain_id}",
        ),
    )


async def draft(stage: Stage) -> None:
    """Lead regions draft their pilots, participant regions confirm their shares."""
    await stage.move_to(Days.DRAFT)

    async def one(pilot: PilotFile) -> None:
        body = {
            "title": pilot.title,
            "programme": pilot.programme.value,
            "level": pilot.level.value,
            "chain_id": pilot.chain.chain_id,
            "applicant": pilot.applicant.uscc,
            "lead_region": pilot.lead_region,
            "shares": [{"region": region, "share": str(share)} for region, share in pilot.shares],
        }
        registrar = stage.registrar(pilot.lead_region)
        answer = await stage.client.command(registrar, REGISTRATION, "/pilots", body, key=f"draft-{pilot.key}")
        stage.ids[pilot.key] = answer["id"]
        for region, _share in pilot.shares[1:]:
            path, key = f"/pilots/{answer['id']}/confirm-share", f"share-{pilot.key}-{region}"
            await stage.client.command(stage.registrar(region), REGISTRATION, path, {"region": region}, key=key)

    await stage.each("起草试点、确认份额 pilots drafted, shares confirmed", stage.programme.pilots, one)


async def send_workbooks(stage: Stage) -> None:
    """Each office fills the service's form; a mistyped code comes back with sheet, row and column, and is corrected."""
    form = (await stage.client.raw(OFFICE, REGISTRATION, "/workbooks/application.xlsx")).content

    async def one(pilot: PilotFile) -> None:
        who, path = stage.registrar(pilot.lead_region), f"/pilots/{stage.id(pilot)}/imports"
        if pilot.flaw:
            sent = (f"{pilot.key}.xlsx", application(pilot, form, flawed=True), XLSX)
            problem = await stage.client.refusal(
                who, REGISTRATION, path, key=f"workbook-{pilot.key}-flawed", code="", file=sent
            )
            fault = problem["errors"][0]
            stage.telling.say(
                f"    {pilot.title}: {fault['field']} {fault['zh']} → 更正后重报 corrected and sent again"
            )
        sent = (f"{pilot.key}.xlsx", application(pilot, form), XLSX)
        preview = await stage.client.command(who, REGISTRATION, path, key=f"workbook-{pilot.key}", file=sent)
        stage.notes[f"preview {pilot.key}"] = preview["details"]
        apply = f"{path}/{preview['id']}/apply"
        body = {"remove_absent": False}
        await stage.client.command(who, REGISTRATION, apply, body, key=f"apply-{pilot.key}")

    await stage.each("申报工作簿预览、入库 workbooks previewed and applied", stage.programme.pilots, one)
