"""Issues and key projects over HTTP, and what evaluation says of a claim, heard from its topic."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest_asyncio

from shared.contracts.evaluation import IssueClosureRejected, IssueClosureVerified


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pilot(office: Any) -> str:
    """A running pilot with twelve issues."""
    return str(await office.running(bucket="issues", issues=12))


async def assigned(office: Any, pilot: str, number: str, owner: int = 0) -> str:
    issue = f"{pilot}:Q:{number}"
    body = {"owner": office.parties[owner], "grade": 2, "due_on": "2026-10-30"}
    await office.done(f"/quality-issues/{issue}/assign", await office.province(), body)
    return issue


async def claimed(office: Any, issue: str, owner: int = 0) -> Any:
    firm = await office.firm(office.parties[owner])
    paper = await office.upload(firm, "整改报告")
    today = (await office.today()).isoformat()
    body = {"after": {"value": "0.012", "n": 400, "on": today}, "attachment_ids": [paper]}
    return await office.done(f"/quality-issues/{issue}/claim-closure", firm, body)


async def until_state(office: Any, issue: str, state: str) -> Any:
    registrar = await office.registrar()

    async def there() -> Any:
        shown = await office.read(f"/quality-issues/{issue}", registrar)
        return shown if shown["state"] == state else None

    return await office.until(there)


async def test_an_issue_is_assigned_claimed_rejected_claimed_again_verified_and_reopened(
    office: Any, pilot: str
) -> None:
    issue = await assigned(office, pilot, "Q000")
    first = await claimed(office, issue)
    reject = IssueClosureRejected(issue_id=issue, claim_fact=first["facts"][0], verifier_org="V", reason="样本不足")
    await office.say(reject)
    back = await until_state(office, issue, "in_progress")
    assert (back["rejections"], back["reason"]) == (1, "样本不足")

    second = await claimed(office, issue)
    await office.say(IssueClosureVerified(issue_id=issue, claim_fact=second["facts"][0], verifier_org="V"))
    await until_state(office, issue, "verified")

    await office.done(f"/quality-issues/{issue}/reopen", await office.province(), {"reason": "再次出现"})
    assert (await office.read(f"/quality-issues/{issue}", await office.registrar()))["reopenings"] == 1


async def test_a_poison_fact_becomes_a_dead_letter_while_the_others_go_on(office: Any, pilot: str) -> None:
    issue = await assigned(office, pilot, "Q001", owner=1)
    claim = await claimed(office, issue, owner=1)
    national = await office.national()
    before = (await office.read("/operations/figures", national))["dead_letters"]

    await office.say(IssueClosureVerified(issue_id="PL-none:Q:1", claim_fact="none", verifier_org="V"))
    await office.say(IssueClosureVerified(issue_id=issue, claim_fact=claim["facts"][0], verifier_org="V"))

    await until_state(office, issue, "verified")

    async def lettered() -> bool:
        return bool((await office.read("/operations/figures", national))["dead_letters"] == before + 1)

    await office.until(lettered)
    letter = await office.stack.admin().pilot_registration.dead_letters.find_one({"code": "UnknownIssue"})
    assert letter["state"] == "open"


async def test_rule_06_who_listed_an_issue_does_not_confirm_its_grade(office: Any, pilot: str) -> None:
    both = await office.who("registrar-34", "registrar province", "34")
    body = {"owner": office.parties[0], "grade": 1, "due_on": "2026-10-30"}

    answer = await office.post(f"/quality-issues/{pilot}:Q:Q002/assign", both, body)

    assert (answer.status_code, answer.json()["code"]) == (409, "separation-of-duties")
    assert answer.json()["detail_en"].startswith("Separation of duties")


async def test_an_enterprise_claims_only_its_own_issues_and_only_with_documents(office: Any, pilot: str) -> None:
    issue = await assigned(office, pilot, "Q003")
    stranger = await office.firm(office.parties[5])
    paper = await office.upload(stranger)
    today = (await office.today()).isoformat()
    body = {"after": {"value": "0.012", "n": 400, "on": today}, "attachment_ids": [paper]}

    foreign = await office.post(f"/quality-issues/{issue}/claim-closure", stranger, body)
    bare = await office.post(
        f"/quality-issues/{issue}/claim-closure", await office.firm(office.parties[0]), body | {"attachment_ids": []}
    )
    stolen = await office.post(f"/quality-issues/{issue}/claim-closure", await office.firm(office.parties[0]), body)

    assert (foreign.status_code, foreign.json()["code"]) == (403, "not-the-owner")
    assert bare.status_code == 422
    assert (stolen.status_code, stolen.json()["code"]) == (422, "attachment-missing")


async def test_rule_19_an_assigned_issue_is_not_changed_by_an_import(office: Any, pilot: str) -> None:
    await assigned(office, pilot, "Q004")
    rows = office.rows(issues=12)
    rows["issues"][4]["title"] = "悄悄改掉"

    answer = await office.send(pilot, rows)

    [fault] = answer.json()["errors"]
    assert (answer.status_code, fault["rule"], fault["row"]) == (422, "row-frozen", 7)


async def test_a_key_project_reports_milestones_and_files_its_four_documents_once_each(office: Any, pilot: str) -> None:
    leader, path = await office.firm(office.parties[0]), f"/key-projects/{pilot}:K:K1"
    today = (await office.today()).isoformat()
    await office.done(f"{path}/report-milestone", leader, {"milestone": "方案", "reached_on": today})
    twice = await office.post(f"{path}/report-milestone", leader, {"milestone": "方案", "reached_on": today})
    assert twice.json()["code"] == "milestone-already-reported"
    paper = await office.upload(leader, "结题书")
    for kind in ("plan", "initiation", "completion", "settlement"):
        await office.done(f"{path}/file-document", leader, {"document_kind": kind, "attachment_id": paper})
    same = await office.done(f"{path}/file-document", leader, {"document_kind": "plan", "attachment_id": paper})

    assert same["facts"] == []
    shown = await office.read(path, leader)
    assert (shown["missing_documents"], shown["missing_milestones"]) == ([], ["样件", "批产"])


async def test_many_issues_are_assigned_and_claimed_at_once(office: Any, pilot: str) -> None:
    numbers = [f"Q{i:03d}" for i in range(5, 12)]

    issues = await asyncio.gather(*(assigned(office, pilot, number) for number in numbers))
    claims = await asyncio.gather(*(claimed(office, issue) for issue in issues))

    assert len({claim["facts"][0] for claim in claims}) == len(numbers)
    open_ = await office.read(
        f"/quality-issues?pilot_id={pilot}&state=closure_claimed&limit=200", await office.registrar()
    )
    assert {issue["id"] for issue in open_["items"]} >= set(issues)
