"""Closures decided by others than who claims them, panels' workbooks, the export: through the real doors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.evaluation.api.assessments import PANEL
from services.evaluation.api.export import EXPORT
from shared.contracts.fact import Evidence
from shared.contracts.pilot_registration import (
    Direction,
    IssueAssigned,
    IssueClass,
    IssueClosureClaimed,
    IssueListed,
    IssueReopened,
    Measure,
    PartyAffiliationChanged,
)
from shared.doors.sheets import read_workbook, write_workbook

WINDOW = {"window_start": "2026-01-01", "window_end": "2026-10-31"}
PAPER = Evidence(uri="/attachments/1", sha256="a" * 64)


def measure(value: str) -> Measure:
    return Measure(name="不良率", direction=Direction.LOWER, value=Decimal(value), n=1000, on=date(2026, 1, 1))


async def an_issue(world: Any, pilot: str, number: int, owner: str, *, grade: int = 1, division: str = "340100") -> str:
    """A listed and assigned issue."""
    id = f"{pilot}:Q:{number}"
    await world.say(
        IssueListed(
            issue_id=id, pilot_id=pilot, number=str(number), title="不良率偏高", issue_class=IssueClass.TECHNIQUE,
            grade=grade, division_code=division, owner=owner, baseline=measure("0.10"),
        ),
        IssueAssigned(
            issue_id=id, pilot_id=pilot, division_code=division, owner=owner, grade=grade, due_on=date(2026, 6, 30),
            confirmed_by="office",
        ),
    )  # fmt: skip
    return id


async def a_claim(
    world: Any, issue: str, org: str, evidence: Sequence[Evidence] = (PAPER,), after: str = "0.05"
) -> str:
    """A closure claim, heard by evaluation."""
    fact = IssueClosureClaimed(
        issue_id=issue, pilot_id=issue.split(":", maxsplit=1)[0], claimed_by="somebody", claimant_org=org,
        baseline=measure("0.10"), after=measure(after),
    )  # fmt: skip
    [id] = await world.say(fact, on=datetime(2026, 5, 1, tzinfo=UTC), evidence=evidence)
    await world.heard(id)
    return str(id)


async def verify(world: Any, who: Mapping[str, str], issue: str, claim: str, **how: Any) -> Any:
    return await world.post(f"/closures/{issue}/verify", who, json={"claim_fact": claim}, **how)


async def test_a_claim_is_work_for_evaluators_and_verified_once(world: Any, uscc: Callable[[int], str]) -> None:
    owner = uscc(501)
    evaluator = await world.who("evaluator", regions="34", org=uscc(901))
    issue = await an_issue(world, "PL-V", 1, owner)
    claim = await a_claim(world, issue, owner)

    waiting = (await world.get("/closures?state=claimed&pilot_id=PL-V", evaluator)).json()["items"]
    assert [(item["issue_id"], item["claim_fact"], item["owner"]) for item in waiting] == [(issue, claim, owner)]
    first, again = [await verify(world, evaluator, issue, claim, key="v1") for _ in range(2)]
    assert (first.status_code, first.json()) == (200, again.json())
    twice = await verify(world, evaluator, issue, claim)
    assert (twice.status_code, twice.json()["code"]) == (409, "closure-already-decided")
    assert (await world.get("/closures?state=claimed&pilot_id=PL-V", evaluator)).json()["items"] == []
    shown = (await world.get(f"/closures/{issue}", evaluator)).json()
    assert shown["state"] == "verified"
    assert shown["decision"]["verifier_org"] == uscc(901)
    [event] = await _facts(world, "IssueClosureVerified", issue)
    assert event["evidence"] == [PAPER.model_dump()]
    assert json.loads(event["data"])["claim_fact"] == claim


async def test_who_claims_owns_or_is_affiliated_stands_back(world: Any, uscc: Callable[[int], str]) -> None:
    owner, claimant, affiliate = uscc(502), uscc(503), uscc(504)
    issue = await an_issue(world, "PL-W", 1, owner)
    claim = await a_claim(world, issue, claimant)
    groups = await world.say(*(PartyAffiliationChanged(uscc=party, group_id="G-W") for party in (owner, affiliate)))
    await world.heard(*groups)
    for org in (owner, claimant, affiliate):
        answer = await verify(world, await world.who("evaluator", org=org), issue, claim)
        assert (answer.status_code, answer.json()["code"]) == (403, "conflict-of-interest")
    nobody = await verify(world, await world.who("evaluator"), issue, claim)
    assert (nobody.status_code, nobody.json()["code"]) == (403, "organisation-missing")
    registrar = await verify(world, await world.who("registrar", org=uscc(901)), issue, claim)
    assert (registrar.status_code, registrar.json()["code"]) == (403, "forbidden")
    elsewhere = await verify(world, await world.who("evaluator", regions="32", org=uscc(901)), issue, claim)
    missing = await verify(world, await world.who("evaluator", regions="32", org=uscc(901)), "PL-W:Q:99", claim)
    assert elsewhere.status_code == missing.status_code == 404
    assert elsewhere.content == missing.content
    assert await _facts(world, "IssueClosureVerified", issue) == []


async def test_without_a_document_a_claim_is_rejected_and_the_next_one_can_be_verified(
    world: Any, uscc: Callable[[int], str]
) -> None:
    owner, evaluator = uscc(505), await world.who("evaluator", org=uscc(901))
    issue = await an_issue(world, "PL-X", 1, owner)
    bare = await a_claim(world, issue, owner, evidence=())
    refused = await verify(world, evaluator, issue, bare)
    assert (refused.status_code, refused.json()["code"]) == (422, "closure-without-evidence")
    unreasoned = await world.post(f"/closures/{issue}/reject", evaluator, json={"claim_fact": bare, "reason": ""})
    assert (unreasoned.status_code, unreasoned.json()["errors"][0]["field"]) == (422, "reason")
    rejected = await world.post(f"/closures/{issue}/reject", evaluator, json={"claim_fact": bare, "reason": "缺材料"})
    assert rejected.status_code == 200
    claim = await a_claim(world, issue, owner)
    newer = await a_claim(world, issue, owner, after="0.04")
    outdated = await verify(world, evaluator, issue, claim)
    assert (outdated.status_code, outdated.json()["code"]) == (409, "claim-outdated")
    assert (await verify(world, evaluator, issue, newer)).status_code == 200
    await world.heard(*await world.say(IssueReopened(issue_id=issue, reason="复发")))
    again = await a_claim(world, issue, owner, after="0.03")
    assert (await verify(world, evaluator, issue, again)).status_code == 200
    states = {
        item["claim_fact"]: item["state"]
        for item in (await world.get(f"/closures/{issue}", evaluator)).json()["claims"]
    }
    assert states == {bare: "rejected", claim: "claimed", newer: "verified", again: "verified"}


async def test_i06_i09_and_i34_follow_the_verification_into_the_published_card(
    world: Any, uscc: Callable[[int], str]
) -> None:
    owner, office, evaluator = uscc(506), await world.who("office"), await world.who("evaluator", org=uscc(901))
    issues = [await an_issue(world, "PL-Y", number, owner, grade=number, division="640100") for number in (1, 2, 3)]
    claim = await a_claim(world, issues[0], owner)
    answer = await world.post("/scorecards/publish", office, json={"cycle": "closing", **WINDOW})
    assert answer.status_code == 201, answer.text
    id = f"enterprise:{owner}:closing"

    # Verified today, inside a window that reaches up to now.
    verified = await verify(world, evaluator, issues[0], claim)

    async def followed() -> dict[str, Any] | None:
        card: dict[str, Any] = (await world.get(f"/scorecards/{id}", office)).json()
        return card if card["revision"] > 1 else None

    await world.post("/scorecards/publish", office, json={"cycle": "closing", **WINDOW, "window_end": "2030-12-31"})
    card = await world.until(followed)
    shown = {value["indicator"]: (value["numerator"], value["denominator"], value["shown"]) for value in card["values"]}
    if shown["I06"][0] == "0":  # published before the verification came back through its topic: it follows by itself

        async def counted() -> dict[str, Any] | None:
            later: dict[str, Any] = (await world.get(f"/scorecards/{id}", office)).json()
            return later if later["revision"] > card["revision"] else None

        card = await world.until(counted)
        shown = {v["indicator"]: (v["numerator"], v["denominator"], v["shown"]) for v in card["values"]}
    assert shown["I06"] == ("4", "9", "44.44 %")
    assert shown["I09"] == ("250", "500", "50.00 %")
    assert shown["I34"] == ("1", "1", "100.00 %")
    evidence = {value["indicator"]: value["evidence"] for value in card["values"]}
    assert verified.json()["facts"][0] in evidence["I06"]
    assert sorted(evidence["I09"]) == sorted([claim, verified.json()["facts"][0]])


def appraisal(kind: str, subject: str, number: int, org: str, score: str) -> dict[str, object]:
    return {
        "kind": kind, "subject": subject, "cycle": "2026", "evaluator": f"EV-{number}", "org": org, "declared": "no",
        "score": Decimal(score),
    }  # fmt: skip


async def upload(
    world: Any, who: Mapping[str, str], rows: Sequence[Mapping[str, object]], *, key: str | None = None
) -> Any:
    data = await asyncio.to_thread(write_workbook, [(PANEL, rows)], title="2026 年度专家评分表")
    return await world.post("/assessments/imports", who, files={"file": ("专家评分.xlsx", data)})


async def test_a_panel_workbook_is_looked_at_first_then_applied_and_unchanged_changes_nothing(
    world: Any, uscc: Callable[[int], str]
) -> None:
    lead, subject = await world.who("lead_evaluator", org=uscc(901)), uscc(601)
    rows = [
        appraisal("enterprise", subject, n, uscc(910 + n), score) for n, score in ((1, "80"), (2, "84"), (3, "82.25"))
    ]
    rows += [appraisal("region", "340000", n, uscc(910 + n), "75") for n in (1, 2, 3)]

    preview = await upload(world, lead, rows)
    assert preview.status_code == 201, preview.text
    assert (preview.json()["details"]["new"], preview.json()["details"]["applicable"]) == (2, True)
    assert (await world.get(f"/assessments?subject={subject}", lead)).json()["items"] == []
    path = f"/assessments/imports/{preview.json()['id']}"
    applied = await world.post(f"{path}/apply", lead, key="apply")
    assert applied.status_code == 200, applied.text
    assert (await world.post(f"{path}/apply", lead, key="apply")).json() == applied.json()
    other = await world.post(f"{path}/apply", lead)
    assert (other.status_code, other.json()["code"]) == (409, "import-already-applied")
    assert (await world.get(path, lead)).json()["state"] == "applied"
    [shown] = (await world.get(f"/assessments?cycle=2026&subject={subject}", lead)).json()["items"]
    assert (shown["total"], shown["spread"], shown["method"], shown["coi_clean"]) == ("82.08", "4", "mean", True)
    assert "EV-1" not in (await world.get("/assessments", lead)).text

    again = await upload(world, lead, rows)
    assert (again.json()["details"]["new"], again.json()["details"]["unchanged"]) == (0, 2)
    before = await _facts(world, "AssessmentFinalised", f"enterprise:{subject}:2026")
    assert (await world.post(f"{path}/apply", lead)).status_code == 200
    assert await _facts(world, "AssessmentFinalised", f"enterprise:{subject}:2026") == before

    corrected = await upload(world, lead, [rows[0] | {"score": Decimal(83)}, *rows[1:]])
    assert corrected.json()["details"]["changed"] == 1
    await world.post(f"/assessments/imports/{corrected.json()['id']}/apply", lead)
    facts = await _facts(world, "AssessmentFinalised", f"enterprise:{subject}:2026")
    assert len(facts) == 2
    assert facts[1]["supersedes"] == facts[0]["id"]


async def test_a_faulty_panel_workbook_names_sheet_row_column_and_rule(world: Any, uscc: Callable[[int], str]) -> None:
    lead, subject = await world.who("lead_evaluator"), uscc(602)
    rows = [appraisal("enterprise", subject, n, uscc(910 + n), "80.1" if n == 2 else "80") for n in (1, 2, 3)]
    answer = await upload(world, lead, rows)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["rule"], error["field"].split("!")[0]) == ("score-step", "专家评分")
    assert error["field"].endswith(".得分")
    few = await upload(world, lead, [*rows[:1], rows[2], rows[2] | {"evaluator": "EV-9", "declared": "yes"}])
    assert few.json()["errors"][0]["rule"] == "fewer-than-3-valid"
    rubbish = await world.post("/assessments/imports", lead, files={"file": ("a.xlsx", b"no workbook")})
    assert rubbish.status_code == 422
    assert (await world.get("/assessments/imports/PI-none", lead)).status_code == 404
    evaluator = await world.who("evaluator", org=uscc(901))
    assert (await upload(world, evaluator, rows)).status_code == 403


async def test_the_template_reads_back_empty_and_the_export_reads_back_as_shown(
    world: Any, uscc: Callable[[int], str]
) -> None:
    office = await world.who("office")
    template = await world.get("/workbooks/panel.xlsx", office)
    assert (await read_workbook(template.content, [PANEL])).rows["专家评分"] == []
    await world.post("/scorecards/publish", office, json={"cycle": "excel", **WINDOW, "kinds": ["region"]})
    answer = await world.get("/scorecards/export.xlsx?cycle=excel&kind=region", office)
    assert answer.status_code == 200
    workbook = await read_workbook(answer.content, [EXPORT])
    assert workbook.errors == []
    rows = workbook.rows["记分卡"]
    assert len(rows) == 32 * 8
    tibet = [row.values for row in rows if row.values["subject"] == "540000"]
    assert {row["shown"] for row in tibet} == {"无证据 / no evidence"}
    assert tibet[0]["name"] == "西藏自治区"
    anhui = {
        item["id"]: item for item in (await world.get("/scorecards?cycle=excel&region=340000", office)).json()["items"]
    }
    mine = {row.values["indicator"]: row.values["shown"] for row in rows if row.values["subject"] == "340000"}
    assert mine == anhui["region:340000:excel"]["values"]


async def test_the_catalogue_says_how_each_figure_is_made(world: Any) -> None:
    answer = (await world.get("/indicators", await world.who("auditor"))).json()
    assert [item["id"] for item in answer["items"]] == ["I01", "I02", "I03", "I04", "I05", "I06", "I09", "I34"]
    assert all(item["formula_version"] == f"{item['id']}/1" and item["formula_zh"] for item in answer["items"])


@pytest.mark.parametrize("path", ["/closures", "/scorecards", "/indicators", "/workbooks/panel.xlsx", "/assessments"])
async def test_nobody_reads_without_a_token(world: Any, path: str) -> None:
    assert (await world.get(path, {})).status_code == 401


async def _facts(world: Any, type_: str, subject: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for commit in world.stack.admin().evaluation.commits.find({"events.subject": subject}).sort("at", 1):
        found += [event for event in commit["events"] if event["type"] == type_ and event["subject"] == subject]
    return found
