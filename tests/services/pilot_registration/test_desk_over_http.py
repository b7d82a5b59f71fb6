"""待办 over HTTP: each role finds what waits for it, and nothing of others (rule 20)."""

from __future__ import annotations

from typing import Any


async def desk(office: Any, who: dict[str, str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Everything on somebody's desk, by what it is about and what is to be done."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    cursor = ""
    while True:
        page = await office.read(f"/desk?limit=200{cursor}", who)
        found |= {(item["id"], item["verb"]): item for item in page["items"]}
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


async def test_rule_20_what_is_returned_stands_on_the_registrars_desk_with_reasons_and_what_is_missing(
    office: Any,
) -> None:
    pilot = await office.submitted()
    registrar, province = await office.registrar(), await office.province()
    waiting = (await desk(office, province))[pilot, "admit"]
    assert (waiting["held_by"], waiting["working_days_left"]) == (["province", "office"], 5)
    assert (pilot, "submit") not in await desk(office, registrar)

    body = {"reasons": ["立项书缺盖章"], "missing_documents": ["initiation"]}
    await office.done(f"/pilots/{pilot}/return", province, body)

    item = (await desk(office, registrar))[pilot, "submit"]
    assert (item["urgency"], item["reasons"]) == ("returned", ["立项书缺盖章"])
    assert [lack["what"] for lack in item["missing"]] == ["document-initiation"]
    assert (pilot, "admit") not in await desk(office, province)


async def test_rule_20_a_participant_finds_the_share_it_has_to_confirm(office: Any) -> None:
    pilot = await office.draft({"340000": "0.5", "330000": "0.5"})
    zhejiang = await office.registrar("33")

    assert (pilot, "confirm-share") in await desk(office, zhejiang)
    await office.done(f"/pilots/{pilot}/confirm-share", zhejiang, {"region": "330000"})
    assert (pilot, "confirm-share") not in await desk(office, zhejiang)


async def test_rule_20_issues_to_assign_and_to_solve_stand_on_the_desks_of_those_who_hold_them(office: Any) -> None:
    pilot = await office.running(bucket="desk")
    issue, province = f"{pilot}:Q:Q000", await office.province()
    assert (issue, "assign") in await desk(office, province)
    due = (await office.today()).isoformat()
    body = {"owner": office.parties[0], "grade": 2, "due_on": due}
    await office.done(f"/quality-issues/{issue}/assign", province, body)

    owner = await desk(office, await office.firm(office.parties[0]))
    other = await desk(office, await office.firm(office.parties[6]))

    assert (owner[issue, "claim-closure"]["urgency"], owner[issue, "claim-closure"]["due_on"]) == ("due", due)
    assert (issue, "claim-closure") not in other
    assert (f"{pilot}:K:K1", "report-milestone") in owner
    totals = (await office.read("/desk?urgency=due", await office.firm(office.parties[0])))["totals"]
    assert totals["due"] >= 1
