"""A pilot over HTTP on the real stack: from its draft to its acceptance, refused where it must be."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

import httpx2


async def test_a_pilot_goes_from_draft_to_accepted_on_the_development_clock(office: Any) -> None:
    registrar, province, national = await office.registrar(), await office.province(), await office.national()
    pilot = await office.draft({"340000": "0.6", "320000": "0.4"})
    jiangsu = await office.registrar("32")
    await office.done(f"/pilots/{pilot}/confirm-share", jiangsu, {"region": "320000"})
    shown = await office.read(f"/pilots/{pilot}", jiangsu)
    assert (shown["state"], shown["next"]["verb"]) == ("draft", "submit")
    assert {lack["what"] for lack in shown["missing"]} >= {"document-plan", "list-issues", "role-chief", "quality-map"}

    await office.submitted(pilot)
    await office.done(f"/pilots/{pilot}/admit", province, {"quota_bucket": "path"})
    unset = await office.post(f"/pilots/{pilot}/select", national, {"run_id": "R1", "reason": "得分靠前"})
    assert (unset.status_code, unset.json()["code"]) == (409, "quota-missing")
    await office.done("/quotas", national, {"call": "path", "national": 3, "per_region": 1})
    await office.done(f"/pilots/{pilot}/select", national, {"run_id": "R1", "reason": "得分靠前"})
    notice = await office.done(f"/pilots/{pilot}/open-notice", national, {"working_days": 5})
    early = await office.post(f"/pilots/{pilot}/approve", national, {"code": "LD-1", "due_on": "2026-12-01"})
    assert (early.status_code, early.json()["code"]) == (409, "illegal-transition")
    assert "in_notice" in early.json()["detail"]
    assert "close-notice" in early.json()["detail_en"]

    await office.move_to(date.fromisoformat(notice["details"]["closes_at"][:10]) + timedelta(days=1))

    async def closed() -> bool:
        return bool((await office.read(f"/pilots/{pilot}", national))["state"] == "notice_closed")

    await office.until(closed)
    same = await office.post(f"/pilots/{pilot}/approve", national, {"code": "LD-1", "due_on": "2026-12-01"})
    assert (same.status_code, same.json()["code"]) == (409, "separation-of-duties")
    await office.done(f"/pilots/{pilot}/approve", await office.national(2), {"code": "LD-1", "due_on": "2026-12-01"})
    await office.done(f"/pilots/{pilot}/start", province)
    await office.done(f"/pilots/{pilot}/request-acceptance", registrar)
    today = (await office.today()).isoformat()
    accepted = await office.done(f"/pilots/{pilot}/accept", national, {"accepted_on": today})

    shown = await office.read(f"/pilots/{pilot}", national)
    assert (shown["state"], shown["accepted_on"], shown["next"]) == ("accepted", today, None)
    assert accepted["version"] == shown["version"]
    figures = await office.read("/operations/figures", national)
    assert figures["dead_letters"] == 0


async def test_duplicate_requests_get_the_same_answer_and_one_fact(office: Any) -> None:
    pilot = await office.admitted("twice")
    national, body = await office.national(), {"run_id": "R1", "reason": "得分靠前"}

    answers = await asyncio.gather(
        *(office.post(f"/pilots/{pilot}/select", national, body, key="select-twice") for _ in range(8))
    )

    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    other = await office.post(f"/pilots/{pilot}/select", national, body | {"reason": "另一理由"}, key="select-twice")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


async def test_rule_04_shares_that_do_not_sum_to_one_are_refused_in_two_languages(office: Any) -> None:
    body = {
        "title": "试点", "programme": "pilot", "level": "national", "chain_id": "machine-tools",
        "applicant": office.parties[0], "lead_region": "340000",
        "shares": [{"region": "340000", "share": "0.6"}, {"region": "320000", "share": "0.3"}],
    }  # fmt: skip

    answer = await office.post("/pilots", await office.registrar(), body)

    [fault] = answer.json()["errors"]
    assert (answer.status_code, fault["field"], fault["rule"]) == (422, "shares", "share-sum")
    assert "0.9" in fault["zh"]
    assert "exactly 1" in fault["en"]


async def test_a_region_is_refused_at_another_regions_pilot_with_the_bytes_of_a_missing_one(office: Any) -> None:
    pilot = await office.draft()
    zhejiang = await office.registrar("33")

    for path in (f"/pilots/{pilot}", f"/pilots/{pilot}/workbook.xlsx"):
        foreign = await office.get(path, zhejiang)
        missing = await office.get(path.replace(pilot, "PL-20260302-0000000000"), zhejiang)
        assert foreign.status_code == missing.status_code == 404
        assert foreign.content == missing.content
    told = await office.post(f"/pilots/{pilot}/submit", zhejiang)
    assert told.content == foreign.content


async def test_a_province_sees_its_prefectures_pilot_once_it_is_submitted_and_not_as_a_draft(office: Any) -> None:
    registrar = await office.who("registrar-hefei", "registrar", "3401")
    body = {
        "title": "合肥试点", "programme": "pilot", "level": "municipal", "chain_id": "machine-tools",
        "applicant": office.parties[0], "lead_region": "340100", "shares": [{"region": "340100", "share": "1"}],
    }  # fmt: skip
    pilot = (await office.done("/pilots", registrar, body))["id"]
    province = await office.province()

    async def listed(who: dict[str, str]) -> bool:
        found, cursor = [], ""
        while True:
            page = await office.read(f"/pilots?limit=200{cursor}", who)
            found += [item["id"] for item in page["items"]]
            if page["next"] is None:
                return pilot in found
            cursor = f"&cursor={page['next']}"

    assert (await office.get(f"/pilots/{pilot}", province)).status_code == 404
    assert not await listed(province)
    assert await listed(registrar)
    await office.submitted(pilot)
    assert (await office.get(f"/pilots/{pilot}", province)).status_code == 200
    assert await listed(province)


async def test_a_submission_names_everything_that_is_missing_and_who_has_to_see_to_it(office: Any) -> None:
    pilot = await office.draft({"340000": "0.5", "320000": "0.5"})

    answer = await office.post(f"/pilots/{pilot}/submit", await office.registrar(), {"attachments": []})

    assert (answer.status_code, answer.json()["code"]) == (409, "not-complete")
    faults = {fault["field"]: fault for fault in answer.json()["errors"]}
    assert {"share-320000", "document-plan", "document-initiation", "list-roles", "role-member", "quality-map"} <= set(
        faults
    )
    assert "320000" in faults["share-320000"]["en"]


async def test_a_return_names_reasons_and_missing_documents_and_a_fourth_is_a_refusal(office: Any) -> None:
    pilot = await office.submitted()
    registrar, province = await office.registrar(), await office.province()
    reason = {"reasons": ["立项书缺盖章"], "missing_documents": ["initiation"]}
    for _ in range(3):
        await office.done(f"/pilots/{pilot}/return", province, reason)
        shown = await office.read(f"/pilots/{pilot}", registrar)
        assert (shown["state"], shown["reasons"]) == ("returned", ["立项书缺盖章"])
        assert [lack["what"] for lack in shown["missing"]] == ["document-initiation"]
        paper = {"kind": "initiation", "attachment_id": await office.upload(registrar, "立项书")}
        await office.done(f"/pilots/{pilot}/submit", registrar, {"attachments": [paper]})

    await office.done(f"/pilots/{pilot}/return", province, reason)

    assert (await office.read(f"/pilots/{pilot}", registrar))["state"] == "refused"


async def test_rule_02_an_objection_stops_the_notice_and_one_not_sustained_changes_nothing_else(office: Any) -> None:
    pilot = await office.in_notice(bucket="objection")
    national = await office.national()
    before = await office.read(f"/pilots/{pilot}", national)
    objector = await office.firm(office.parties[4])
    proof = await office.upload(objector, "异议证据")
    bare = await office.post(f"/pilots/{pilot}/object", objector, {"reason": "数据不实", "attachment_ids": []})
    assert bare.status_code == 422

    filed = await office.done(f"/pilots/{pilot}/object", objector, {"reason": "数据不实", "attachment_ids": [proof]})

    assert (await office.read(f"/pilots/{pilot}", national))["state"] == "objection_hold"
    decision = {"objection_id": filed["details"]["objection_id"], "sustained": False, "reason": "经核查不成立"}
    await office.done(f"/pilots/{pilot}/decide-objection", national, decision)
    after = await office.read(f"/pilots/{pilot}", national)
    assert (after["state"], after["notice"]["closes_at"]) == ("in_notice", before["notice"]["closes_at"])
    read = await office.get(f"/attachments/{proof}", national)
    assert (read.status_code, read.headers["content-type"]) == (200, "application/pdf")
    zhejiang = await office.registrar("33")
    assert (await office.get(f"/attachments/{proof}", zhejiang)).status_code == 404


async def test_rule_03_twenty_selections_for_the_last_place_give_exactly_one(office: Any) -> None:
    office_ = await office.national()
    pilots = [await office.admitted("last-place", issues=2) for _ in range(20)]
    await office.done("/quotas", office_, {"call": "last-place", "national": 1, "per_region": 1})
    body = {"run_id": "R1", "reason": "得分靠前"}

    answers: list[httpx2.Response] = await asyncio.gather(
        *(office.post(f"/pilots/{pilot}/select", office_, body) for pilot in pilots)
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"quota-full"}
    [winner] = [pilot for pilot, answer in zip(pilots, answers, strict=True) if answer.status_code == 200]
    await office.done(f"/pilots/{winner}/withdraw", await office.registrar(), {"reason": "撤回"})
    other = next(pilot for pilot in pilots if pilot != winner)
    assert (await office.post(f"/pilots/{other}/select", office_, body)).status_code == 200
