"""Dockets, decisions and vetoes through the real doors, on real Kafka and mongod."""

from __future__ import annotations

import asyncio
import io
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from python_calamine import CalamineWorkbook

from services.incentive_scoring.api.award_dockets import BASE_SCORES
from shared.contracts.evaluation import AssessmentFinalised, ScorecardPublished
from shared.contracts.pilot_registration import PartyKind, PartyRegistered, SizeClass
from shared.doors.sheets import read_workbook
from tests.services.incentive_scoring.conftest import SLOT, Doors
from tests.services.incentive_scoring.world import END, GOOD, START, figure, finalised, published, superseded, uscc


async def people(doors: Doors) -> dict[str, dict[str, str]]:
    return {
        "secretariat": await doors.who("secretariat-1", "secretariat"),
        "office": await doors.who("office-1", "office"),
        "supervision": await doors.who("supervision-1", "supervision"),
        "other": await doors.who("supervision-2", "supervision"),
        "auditor": await doors.who("auditor-1", "auditor"),
    }


async def a_decided_docket(doors: Doors, docket_id: str, first: int, *, count: int = 3, **changes: Any) -> list[str]:
    """A docket with its own cycle: the first candidate has a tilt of 10.40 and 5 points less than the second."""
    who = await people(doors)
    subjects = [uscc(first + i) for i in range(count)]
    await doors.say(
        PartyRegistered(
            uscc=subjects[0], name="甲", kind=PartyKind.ENTERPRISE, size_class=SizeClass.SMALL, division_code="340100"
        ),
        published(subjects[0], GOOD, cycle=docket_id),
        finalised(subjects[0], cycle=docket_id),
    )
    await doors.heard_all(who["office"])
    assert (await doors.open_docket(docket_id, who["secretariat"], cycle=docket_id, **changes)).status_code == 201
    bases = {subject: 705 - i if i else 700 for i, subject in enumerate(subjects)}
    assert (await doors.import_scores(docket_id, bases, who["secretariat"])).status_code == 200
    answer = await doors.post(f"/award-dockets/{docket_id}/decide", who["secretariat"], key=f"decide-{docket_id}")
    assert answer.status_code == 200, answer.text
    return subjects


async def test_the_secretariat_reads_a_decision_whose_explanation_adds_up_and_can_be_recomputed(doors: Doors) -> None:
    who = await people(doors)
    first, second, third = await a_decided_docket(doors, "AD-happy", 100)

    ranking = (await doors.get("/award-dockets/AD-happy/ranking", who["secretariat"])).json()
    told = (await doors.get(f"/tilt-decisions/AD-happy:{first}/explanation", who["auditor"])).json()
    withheld = (await doors.get(f"/tilt-decisions/AD-happy:{third}/explanation", who["auditor"])).json()

    assert [(line["subject"], line["total"], line["in_places"]) for line in ranking["ranking"]] == [
        (first, "710.40", True), (second, "704", True), (third, "703", False),
    ]  # fmt: skip
    assert told["recomputed"] is True
    assert told["final"] == "10.40"
    assert [(leaf["name"], leaf["points"]) for leaf in told["components"]] == [
        ("closure", "6.4000"), ("helping", "0.0000"), ("effect", "4.0000"), ("people", "0.0000"), ("sharing", "0.0000"),
    ]  # fmt: skip
    assert told["components"][1]["note"]["en"] == "no evidence, counts 0"
    assert told["components"][0]["evidence"] == ["verified-1", "verified-2"]
    parts = told["reconciliation"]
    terms = ("printed", "printing", "cap", "withheld", "rounding")
    assert sum(Decimal(parts[term]) for term in terms) == Decimal(parts["result"]) == Decimal("10.40")
    assert told["policy"]["version"] == "TP-2026.1"
    assert {part["service"] for part in told["scorecard"]["inputs"]} == {"pilot-registration", "evaluation"}
    assert [reason["gate"] for reason in withheld["reasons"]] == ["G2", "G3", "G5"]
    assert all(reason["zh"] and reason["en"] for reason in withheld["reasons"])


async def test_equal_requests_get_equal_answers_and_one_decision_each(doors: Doors) -> None:
    who = await people(doors)
    await a_decided_docket(doors, "AD-twice", 200)

    again = await asyncio.gather(
        *(doors.post("/award-dockets/AD-twice/decide", who["secretariat"], key="decide-AD-twice") for _ in range(10))
    )

    assert {answer.status_code for answer in again} == {200}
    assert len({answer.text for answer in again}) == 1
    assert await doors.database.tilt_decisions.count_documents({"docket_id": "AD-twice"}) == 3
    streams = {"events.stream": {"$regex": "tilt-decisions/AD-twice"}}
    facts = [event async for commit in doors.database.commits.find(streams) for event in commit["events"]]
    assert len([event for event in facts if "AD-twice" in event["stream"] and "tilt-decisions" in event["stream"]]) == 3


async def test_refusals_come_in_both_languages_and_name_field_and_rule(doors: Doors) -> None:
    who = await people(doors)
    await a_decided_docket(doors, "AD-refuse", 300)

    closed = await doors.upload("AD-refuse", {uscc(301): 710}, who["secretariat"])
    english = await doors.post("/award-dockets/AD-refuse/decide", who["secretariat"], headers={"Accept-Language": "en"})
    forbidden = await doors.post("/award-dockets/AD-refuse/decide", who["auditor"])
    wrong = await doors.open_docket("AD-x", who["secretariat"], places=0, subject_kind="ministry")
    missing = await doors.get("/award-dockets/AD-nowhere", who["secretariat"])
    no_key = await doors.post("/award-dockets/AD-refuse/decide", who["secretariat"], key="a b")

    assert (closed.status_code, closed.json()["code"]) == (409, "award-docket-closed")
    assert "截止决定" in closed.json()["detail_zh"]
    assert "was cut for decision" in english.json()["detail"]
    assert (forbidden.status_code, forbidden.json()["code"]) == (403, "forbidden")
    assert wrong.status_code == 422
    assert {error["field"] for error in wrong.json()["errors"]} == {"places", "subject_kind"}
    assert missing.status_code == 404
    assert (no_key.status_code, no_key.json()["code"]) == (400, "idempotency-key-missing")


async def test_a_faulty_workbook_comes_back_row_by_row_and_a_corrected_one_is_taken(doors: Doors) -> None:
    who = await people(doors)
    await doors.open_docket("AD-rows", who["secretariat"], level="provincial")

    refused = await doors.upload("AD-rows", {uscc(400): "1200", uscc(401): 700}, who["secretariat"])
    preview = await doors.upload("AD-rows", {uscc(400): 720, uscc(401): 700}, who["secretariat"])
    path = f"/award-dockets/AD-rows/imports/{preview.json()['id']}"
    applied = await doors.post(f"{path}/apply", who["secretariat"], json={})
    version = (await doors.get("/award-dockets/AD-rows", who["secretariat"])).headers["etag"]
    unchanged = await doors.import_scores("AD-rows", {uscc(400): 720, uscc(401): 700}, who["secretariat"])

    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert (error["rule"], error["field"]) == ("range", "基础得分!3.基础得分")
    assert preview.json()["details"]["new"] == 2
    assert applied.status_code == 200
    assert (await doors.get(path, who["secretariat"])).json()["state"] == "applied"
    assert (unchanged.json()["details"]["unchanged"], unchanged.json()["facts"]) == (2, [])
    assert (await doors.get("/award-dockets/AD-rows", who["secretariat"])).headers["etag"] == version


async def test_the_template_is_empty_and_the_export_can_be_read_and_imported_again(doors: Doors) -> None:
    who = await people(doors)
    subjects = await a_decided_docket(doors, "AD-export", 500)

    template = await doors.get("/workbooks/base-scores.xlsx", who["secretariat"])
    export = await doors.get("/award-dockets/AD-export/export.xlsx", who["secretariat"])
    read = await read_workbook(export.content, [BASE_SCORES])

    assert (await read_workbook(template.content, [BASE_SCORES])).rows["基础得分"] == []
    assert read.errors == []
    assert [row.values["subject"] for row in read.rows["基础得分"]] == subjects
    assert "attachment" in export.headers["content-disposition"]
    ranked = CalamineWorkbook.from_filelike(io.BytesIO(export.content)).get_sheet_by_name("排名").to_python()
    assert [row[7] for row in ranked[2:5]] == ["居首 first", "总分 total", "总分 total"]


async def test_rule_14_a_veto_over_http_names_whom_it_moves_before_and_after_its_confirmation(doors: Doors) -> None:
    who = await people(doors)
    first, second, third = await a_decided_docket(doors, "AD-veto", 600)
    body = {
        "ground": "V2", "subject_kind": "enterprise", "subject": first, "reason": "重大事故",
        "effective_from": "2026-10-20T00:00:00+08:00",
    }  # fmt: skip
    raised = (await doors.post("/vetoes", who["supervision"], json=body)).json()
    path = f"/vetoes/{raised['id']}"

    before = await doors.fingerprint()
    preview = (await doors.get(path, who["supervision"])).json()
    assert await doors.fingerprint() == before
    own = await doors.post(f"{path}/confirm", who["supervision"])
    confirmed = await doors.post(f"{path}/confirm", who["other"])
    after = (await doors.get(path, who["secretariat"])).json()
    ranking = (await doors.get("/award-dockets/AD-veto/ranking", who["secretariat"])).json()
    told = (await doors.get(f"/tilt-decisions/AD-veto:{first}/explanation", who["secretariat"])).json()

    assert (own.status_code, own.json()["code"]) == (403, "veto-own")
    assert confirmed.status_code == 200, confirmed.text
    assert preview["preview"] is True
    assert preview["moves"] == after["moves"]
    assert (after["moves"][0]["displaced"], after["moves"][0]["promoted"]) == ([first], [third])
    assert ranking["reason"] == f"veto:{raised['id']}"
    assert [line["subject"] for line in ranking["ranking"] if line["in_places"]] == [second, third]
    assert [proposal["subject"] for proposal in ranking["revocations"]] == [first]
    assert (told["state"], told["reversal"]["veto_id"], told["recomputed"]) == ("reversed", raised["id"], True)


async def test_rule_13_a_simulation_leaves_every_byte_of_the_store_as_it_was(doors: Doors) -> None:
    who = await people(doors)
    first, second, _third = await a_decided_docket(doors, "AD-what-if", 700, places=1)
    before = await doors.fingerprint()

    question = {"cap": "5", "vary": "cap", "high": "30"}
    answer = await doors.post("/award-dockets/AD-what-if/simulate", who["secretariat"], json=question)
    older = await doors.post("/award-dockets/AD-what-if/simulate", who["office"], json={"policy_version": "TP-2025.1"})

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert {line["subject"]: line["tilt"] for line in told["ranking"]}[first] == "5.00"
    intervals = told["breakpoints"]["intervals"]
    assert [(part["to"], part["winners"]) for part in intervals] == [
        ("3.005", [second]), ("4.005", [second]), ("30", [first]),
    ]  # fmt: skip
    assert older.json()["policy_version"] == "TP-2025.1"
    assert await doors.fingerprint() == before


async def test_rule_21_a_superseded_scorecard_queues_as_would_change(doors: Doors) -> None:
    who = await people(doors)
    first, *_rest = await a_decided_docket(doors, "AD-later", 800)
    gone = superseded(first, revision=1).model_copy(update={"scorecard_id": f"enterprise:{first}:AD-later"})

    await doors.say(gone, published(first, GOOD | {"I06": figure(1, 1, ("v",))}, revision=2, cycle="AD-later"))
    await doors.heard_all(who["office"])
    items = (await doors.get("/award-dockets/AD-later/would-change", who["secretariat"])).json()["items"]

    assert [(item["subject"], item["difference"]) for item in items] == [(first, "1.6")]
    assert items[0]["cause"]["scorecard"]["superseded"]["causing_fact"] == "late-fact"
    decision = (await doors.get(f"/tilt-decisions/AD-later:{first}", who["secretariat"])).json()
    assert decision["final"] == "10.40"


async def test_a_party_reads_its_own_decision_only_and_a_region_its_own_lines(doors: Doors) -> None:
    first, second, _third = await a_decided_docket(doors, "AD-scope", 900)
    firm = await doors.who("firm-900", "enterprise", org=first)
    anhui = await doors.who("anhui", "province", regions="34")
    jiangsu = await doors.who("jiangsu", "province", regions="32")

    own = await doors.get("/tilt-decisions", firm)
    others = await doors.get(f"/tilt-decisions/AD-scope:{second}", firm)
    nothing = await doors.get("/tilt-decisions?docket_id=AD-scope", jiangsu)
    hidden = await doors.get(f"/tilt-decisions/AD-scope:{first}", jiangsu)
    missing = await doors.get("/tilt-decisions/AD-scope:nobody", jiangsu)

    assert {item["subject"] for item in own.json()["items"]} == {first}
    assert others.status_code == 404
    assert nothing.json() == {"items": [], "next": None}
    assert (hidden.status_code, hidden.content) == (404, missing.content)
    assert len((await doors.get("/award-dockets/AD-scope/ranking", anhui)).json()["ranking"]) == 3
    assert (await doors.get("/award-dockets/AD-scope/ranking", jiangsu)).json()["ranking"] == []


async def test_lists_page_through_every_decision_once(doors: Doors) -> None:
    who = await people(doors)
    await a_decided_docket(doors, "AD-pages", 1000, count=7)

    seen, cursor = [], ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        page = (await doors.get(f"/tilt-decisions?docket_id=AD-pages&limit=3{more}", who["auditor"])).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]

    assert len(seen) == 7
    assert seen == sorted(set(seen))


async def test_poison_becomes_a_dead_letter_while_others_go_on(doors: Doors) -> None:
    who = await people(doors)
    [bad, good] = [uscc(1100), uscc(1101)]
    before = await doors.database.dead_letters.count_documents({"state": "open"})
    # The log sends what it is given: a fact whose JSON its own contract does not take, as a broken publisher would.
    broken = ScorecardPublished.model_construct(
        **(published(bad, GOOD, cycle="poison").__dict__ | {"revision": "not a number"})
    )

    await doors.say(broken, published(good, GOOD, cycle="poison"), finalised(good, cycle="poison"))

    async def lies() -> bool:
        return await doors.database.dead_letters.count_documents({"state": "open"}) == before + 1

    await doors.until(lies)
    await doors.heard_all(who["office"])
    kept = doors.database.known_scorecards
    assert await kept.count_documents({"scorecard_id": f"enterprise:{good}:poison"}) == 1
    assert await kept.count_documents({"scorecard_id": f"enterprise:{bad}:poison"}) == 0
    assert (await doors.get("/health/live", {})).status_code == 200


@pytest.mark.parametrize("window", ["commit.after_writes=kill@3", "commit.before_answer=kill@2"])
async def test_killed_in_the_middle_of_a_decision_and_started_again_nothing_is_lost_or_doubled(
    doors: Doors, window: str
) -> None:
    who = await people(doors)
    docket_id = f"AD-kill-{window[-1]}"
    subjects = [uscc(2000 + 100 * int(window[-1]) + i) for i in range(60)]
    for subject in subjects[:5]:
        await doors.say(published(subject, GOOD, cycle=docket_id), finalised(subject, cycle=docket_id))
    await doors.heard_all(who["office"])
    await doors.open_docket(docket_id, who["secretariat"], cycle=docket_id, level="municipal")
    bases = {subject: 700 + i for i, subject in enumerate(subjects)}
    assert (await doors.import_scores(docket_id, bases, who["secretariat"])).status_code == 200
    await doors.stack.terminate(SLOT)
    await doors.stack.start(SLOT, LIANDONG_FAILPOINTS=window)

    async def decided() -> Any:
        answer = await doors.post(f"/award-dockets/{docket_id}/decide", who["secretariat"], key=f"kill-{docket_id}")
        return answer if answer.status_code == 200 else None

    load = asyncio.create_task(doors.until(decided, seconds=120))
    await asyncio.wait_for(doors.stack.wait_exit(SLOT), 60)
    await doors.stack.start(SLOT)
    answer = await load

    assert answer.json()["details"]["decided"] == 5
    facts = [
        event
        async for commit in doors.database.commits.find({"events.stream": {"$regex": docket_id}})
        for event in commit["events"]
    ]
    decisions = [event["subject"] for event in facts if event["topic"] == "incentive-scoring.tilt-decisions"]
    assert sorted(decisions) == sorted(f"{docket_id}:{subject}" for subject in subjects)
    assert [event["type"] for event in facts].count("RankingComputed") == 1

    async def all_published() -> bool:
        figures = (await doors.get("/operations/figures", who["office"])).json()
        return figures["pending"] == 0 and figures["published"] == figures["facts"]

    await doors.until(all_published)


async def test_an_approved_policy_stays_readable_and_is_not_approved_twice(doors: Doors) -> None:
    who = await people(doors)

    listed = (await doors.get("/tilt-policies", who["auditor"])).json()["items"]
    again = await doors.post("/tilt-policies/TP-2026.1/approve", who["office"])

    assert [(item["version"], item["state"], item["superseded_by"]) for item in listed] == [
        ("TP-2025.1", "superseded", "TP-2026.1"), ("TP-2026.1", "approved", ""),
    ]  # fmt: skip
    assert again.json()["code"] == "tilt-policy-already-approved"
    assert (await doors.get("/tilt-policies/TP-2025.1", who["auditor"])).json()["content"]["once"] is False


def test_the_voices_of_these_tests_speak_of_the_cycle() -> None:
    assert START < END
    assert date(2026, 10, 1) < END.date()
    assert AssessmentFinalised.topic.service == "evaluation"
