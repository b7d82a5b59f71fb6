"""Scorecards through the doors of the real service: published, superseded with the cause named, read on two clocks."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from deploy.local.doctor import NotReady
from shared.contracts.fact import Evidence, Fact
from shared.contracts.pilot_registration import (
    Direction,
    IssueAssigned,
    IssueClass,
    IssueClosureClaimed,
    IssueListed,
    Level,
    Measure,
    PartyKind,
    PartyRegistered,
    PilotAccepted,
    PilotStarted,
    Share,
    SizeClass,
)

WINDOW = {"window_start": "2026-01-01", "window_end": "2026-10-31"}
PAPER = Evidence(uri="/attachments/1", sha256="a" * 64)


def started(pilot: str, **shares: str) -> PilotStarted:
    parts = tuple(Share(region=name[1:], share=Decimal(share)) for name, share in shares.items())
    return PilotStarted(
        pilot_id=pilot, level=Level.NATIONAL, lead_region=parts[0].region, shares=parts, started_on=date(2026, 3, 1),
        due_on=date(2026, 9, 30),
    )  # fmt: skip


def listed(pilot: str, number: int, owner: str, division: str) -> IssueListed:
    return IssueListed(
        issue_id=f"{pilot}:Q:{number}", pilot_id=pilot, number=str(number), title="不良率偏高",
        issue_class=IssueClass.TECHNIQUE, grade=2, division_code=division, owner=owner, baseline=measure("0.10", 1000),
    )  # fmt: skip


def assigned(pilot: str, number: int, owner: str, division: str, grade: int = 2) -> IssueAssigned:
    return IssueAssigned(
        issue_id=f"{pilot}:Q:{number}", pilot_id=pilot, division_code=division, owner=owner, grade=grade,
        due_on=date(2026, 6, 30), confirmed_by="office",
    )  # fmt: skip


def claimed(pilot: str, number: int, org: str) -> IssueClosureClaimed:
    return IssueClosureClaimed(
        issue_id=f"{pilot}:Q:{number}", pilot_id=pilot, claimed_by="somebody", claimant_org=org,
        baseline=measure("0.10", 1000), after=measure("0.05", 1000),
    )  # fmt: skip


def measure(value: str, n: int) -> Measure:
    return Measure(name="不良率", direction=Direction.LOWER, value=Decimal(value), n=n, on=date(2026, 1, 1))


def party(uscc: str, division: str) -> PartyRegistered:
    return PartyRegistered(
        uscc=uscc,
        name=f"公司{uscc[-4:]}",
        kind=PartyKind.ENTERPRISE,
        size_class=SizeClass.SMALL,
        division_code=division,
    )


async def publish(world: Any, cycle: str, *, key: str | None = None, **more: Any) -> httpx2.Response:
    office = await world.who("office")
    return await world.post("/scorecards/publish", office, key=key, json={"cycle": cycle, **WINDOW, **more})


def figures(card: dict[str, Any]) -> dict[str, str]:
    return {value["indicator"]: value["shown"] for value in card["values"]}


async def a_pilot(world: Any, pilot: str, owner: str, division: str = "340100", issues: int = 3) -> list[str]:
    """A started pilot of one region with issues that are due, heard by evaluation."""
    facts: list[Fact] = [party(owner, division), started(pilot, **{f"r{division}": "1"})]
    for number in range(1, issues + 1):
        facts += [listed(pilot, number, owner, division), assigned(pilot, number, owner, division)]
    ids = await world.say(*facts)
    await world.heard(*ids[1:])
    return list(ids)


async def newest(world: Any, id: str, revision: int) -> dict[str, Any]:
    """The card once it has come to a revision."""
    office = await world.who("office")

    async def there() -> dict[str, Any] | None:
        answer = await world.get(f"/scorecards/{id}", office)
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == 200 and found["revision"] >= revision else None

    return dict(await world.until(there))


async def test_a_cycle_is_published_for_every_region_and_whoever_facts_name(
    world: Any, uscc: Callable[[int], str]
) -> None:
    owner, office = uscc(101), await world.who("office")
    await world.heard(*await world.say(started("PL-A", r350100="0.6", r360100="0.4")))
    await a_pilot(world, "PL-B", owner, "350100")
    accepted = PilotAccepted(pilot_id="PL-B", accepted_on=date(2026, 9, 1))
    await world.heard(*await world.say(accepted, on=datetime(2026, 9, 1, tzinfo=UTC)))

    answer = await publish(world, "happy")

    assert answer.status_code == 201, answer.text
    details = answer.json()["details"]
    assert details["published"] >= 33
    assert details["unchanged"] == 0
    assert details["withheld"] == []
    fujian = (await world.get("/scorecards/region:350000:happy", office)).json()
    assert fujian["name"] == "福建省"
    assert figures(fujian) == {
        "I01": "1.6", "I02": "62.50 %", "I03": "0.00 %", "I04": "0.00 %", "I05": "3", "I06": "0.00 %",
        "I09": "无证据 / no evidence", "I34": "无证据 / no evidence",
    }  # fmt: skip
    assert fujian["known"] == details["known"]
    assert figures((await world.get(f"/scorecards/enterprise:{owner}:happy", office)).json())["I05"] == "3"
    tibet = (await world.get("/scorecards/region:540000:happy", office)).json()
    assert set(figures(tibet).values()) == {"无证据 / no evidence"}
    records = (await world.get("/scorecards/region:350000:happy/records?indicator=I02&limit=1", office)).json()
    assert [record["record"] for record in records["items"]] == ["PL-A"]
    assert records["next"]
    listed_ = (await world.get("/scorecards?cycle=happy&kind=enterprise&region=350000", office)).json()
    assert [item["subject"] for item in listed_["items"]] == [owner]
    assert (await world.get("/scorecards?cycle=none", office)).json() == {"items": [], "next": None}


async def test_the_same_key_repeats_the_answer_and_another_key_changes_nothing(
    world: Any, uscc: Callable[[int], str]
) -> None:
    await a_pilot(world, "PL-C", uscc(102))

    first, again = [await publish(world, "twice", key="twice") for _ in range(2)]
    other = await publish(world, "twice")

    assert first.json() == again.json()
    assert other.json()["details"]["published"] == 0
    assert other.json()["details"]["unchanged"] == first.json()["details"]["published"]
    differing = await publish(world, "thrice", key="twice")
    assert (differing.status_code, differing.json()["code"]) == (422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"cycle": "2026/1", **WINDOW}, "invalid-input", "cycle"),
        (
            {"cycle": "x", "window_start": "2026-01-01T00:00:00", "window_end": "2026-02-01"},
            "invalid-input",
            "window_start",
        ),
        ({"cycle": "x", **WINDOW, "kinds": ["individual"]}, "invalid-input", "kinds"),
        ({"cycle": "x", **WINDOW, "window_start": "0001-01-01T00:00:00+14:00"}, "invalid-input", "window_start"),
        ({"cycle": "x", **WINDOW, "window_end": "9999-12-31T23:59:59-14:00"}, "invalid-input", "window_end"),
        ({"cycle": "x", **WINDOW, "window_end": "2201-01-01"}, "invalid-input", "window_end"),
        ({"cycle": "x", "window_start": "2026-03-01", "window_end": "2026-02-01"}, "window-empty", None),
        ({"cycle": "x", "window_start": "2099-03-01", "window_end": "2099-12-01"}, "window-not-begun", None),
    ],
)
async def test_a_publication_that_makes_no_sense_is_refused(
    world: Any, body: dict[str, Any], code: str, field: str | None
) -> None:
    answer = await world.post("/scorecards/publish", await world.who("office"), json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert [error["field"] for error in answer.json().get("errors", [])] == ([field] if field else [])


async def test_who_may_not_publish_or_see_does_not(world: Any, uscc: Callable[[int], str]) -> None:
    mine, theirs = uscc(103), uscc(104)
    await a_pilot(world, "PL-D", mine)
    await a_pilot(world, "PL-E", theirs)
    assert (await publish(world, "seen")).status_code == 201
    evaluator, auditor = await world.who("evaluator", org=uscc(1)), await world.who("auditor")
    assert (await world.post("/scorecards/publish", evaluator, json={"cycle": "x", **WINDOW})).status_code == 403
    assert (await world.post("/scorecards/publish", auditor, json={"cycle": "x", **WINDOW})).status_code == 403
    jiangsu = await world.who("registrar", regions="32")
    enterprise = await world.who("enterprise", regions="34", org=mine)
    for who, id in ((jiangsu, "region:340000:seen"), (enterprise, f"enterprise:{theirs}:seen")):
        hidden = await world.get(f"/scorecards/{id}", who)
        missing = await world.get("/scorecards/region:999999:seen", who)
        assert hidden.status_code == missing.status_code == 404
        assert hidden.content == missing.content
    seen = (await world.get("/scorecards?cycle=seen", enterprise)).json()["items"]
    assert [item["id"] for item in seen] == [f"enterprise:{mine}:seen", "region:340000:seen"]
    office = await world.who("office")
    ahead = await world.get("/scorecards/region:340000:seen?known=999999999", office)
    assert (ahead.status_code, ahead.json()["errors"][0]["rule"]) == (422, "position-ahead")
    wrong = await world.get(f"/scorecards/enterprise:{mine}:seen/records?indicator=I01", office)
    assert (wrong.status_code, wrong.json()["errors"][0]["rule"]) == (422, "not-on-this-card")


async def test_rule_09_a_late_fact_supersedes_the_card_and_is_named_and_the_earlier_bytes_stay(
    world: Any, uscc: Callable[[int], str]
) -> None:
    owner, office = uscc(105), await world.who("office")
    await a_pilot(world, "PL-F", owner, "450100")
    await publish(world, "late")
    id = "region:450000:late"
    first = await newest(world, id, 1)

    [late] = await world.say(listed("PL-F", 9, owner, "450100"))
    second = await newest(world, id, 2)

    assert (figures(first)["I05"], figures(second)["I05"]) == ("3", "4")
    assert second["previous_hash"] == first["content_hash"]
    revisions = (await world.get(f"/scorecards/{id}/revisions", office)).json()["items"]
    assert [revision["revision"] for revision in revisions] == [1, 2]
    assert revisions[0]["superseded_by"]["causing_fact"] == late
    assert revisions[0]["superseded_by"]["causing_type"] == "IssueListed"
    assert revisions[1]["superseded_by"] is None
    then = (await world.get(f"/scorecards/{id}?known={first['known']}", office)).json()
    again = (await world.get(f"/scorecards/{id}?known={first['known']}", office)).json()
    assert then == again
    assert (then["values"], then["figures_hash"]) == (first["values"], first["figures_hash"])
    assert then["inputs"] == first["inputs"]
    assert (await world.get(f"/scorecards/{id}?revision=1", office)).json() == first | {"newest_revision": 2}
    assert (await world.get(f"/scorecards/{id}?known={second['known']}", office)).json()["values"] == second["values"]
    before = (await world.get(f"/scorecards/{id}?effective=2026-02-28", office)).json()
    assert figures(before)["I05"] == "无证据 / no evidence"
    others = (await world.get("/scorecards/region:540000:late/revisions", office)).json()["items"]
    assert len(others) == 1, "a card that the fact does not reach keeps its revision"
    for revision in revisions:
        fact = await _published(world, id, revision["revision"])
        told = fact.pop("content_hash")
        text = json.dumps(fact, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == told


async def test_a_burst_of_facts_gives_one_new_revision_and_not_one_each(world: Any, uscc: Callable[[int], str]) -> None:
    owner, office = uscc(106), await world.who("office")
    await a_pilot(world, "PL-G", owner, "460100")
    await publish(world, "burst")
    await newest(world, "region:460000:burst", 1)

    await asyncio.gather(*(world.say(listed("PL-G", number, owner, "460100")) for number in range(100, 160)))

    async def all_counted() -> bool:
        card = (await world.get("/scorecards/region:460000:burst", office)).json()
        return figures(card)["I05"] == "63"

    await world.until(all_counted)
    revisions = (await world.get("/scorecards/region:460000:burst/revisions", office)).json()["items"]
    assert len(revisions) <= 10


async def test_rule_20_poison_lies_apart_and_only_its_own_subjects_are_withheld(
    world: Any, uscc: Callable[[int], str]
) -> None:
    owner, office = uscc(107), await world.who("office")
    await a_pilot(world, "PL-H", owner, "530100")
    bad = listed("PL-H", 1, owner, "530100").model_copy(update={"issue_class": "spirits"})
    await world.say(bad)
    letters = world.stack.admin().evaluation.dead_letters

    async def lies() -> bool:
        return bool(await letters.count_documents({"stream": "pilot-registration.issues/PL-H:Q:1", "state": "open"}))

    await world.until(lies)
    answer = await publish(world, "poison")

    withheld = answer.json()["details"]["withheld"]
    assert withheld == [f"enterprise:{owner}:poison", "region:530000:poison"]
    assert (await world.get("/scorecards/region:530000:poison", office)).status_code == 404
    assert (await world.get("/scorecards/region:340000:poison", office)).status_code == 200
    await letters.delete_many({})


@pytest.mark.parametrize("at", [3, 9, 20])
async def test_a_publication_killed_in_the_middle_goes_on_and_doubles_nothing(
    world: Any, uscc: Callable[[int], str], at: int
) -> None:
    owner, cycle = uscc(200 + at), f"killed-{at}"
    await a_pilot(world, f"PL-K{at}", owner)
    await world.stack.terminate("evaluation-0")
    await _start(world, LIANDONG_FAILPOINTS=f"commit.after_writes=kill@{at}")

    async def answered() -> httpx2.Response | None:
        answer = await publish(world, cycle, key=cycle)
        return answer if answer.status_code != 503 else None

    attempt = asyncio.create_task(world.until(answered, 120))
    await asyncio.wait_for(world.stack.wait_exit("evaluation-0"), 90)
    await _start(world)
    answer = await attempt

    assert answer.status_code == 201, answer.text
    await _each_card_once(world, cycle)


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_revision_round_killed_in_the_middle_loses_and_doubles_nothing(world: Any, at: int) -> None:
    cycle, id = f"round-{at}", f"region:510000:round-{at}"
    await publish(world, cycle, kinds=["region"])
    await publish(world, f"other-{at}", kinds=["region"])
    before = await newest(world, id, 1)
    await _nothing_waits(world)
    await world.stack.terminate("evaluation-0")
    with suppress(NotReady):
        await _start(world, LIANDONG_FAILPOINTS=f"commit.after_writes=kill@{at}")
    # One fact that reaches 25 regions in every cycle: more cards than one step of a round takes.
    everywhere = "13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61".split()
    [late] = await world.say(started(f"PL-R{at}", **{f"r{province}0000": "0.04" for province in everywhere}))
    await asyncio.wait_for(world.stack.wait_exit("evaluation-0"), 90)
    await _start(world)

    card = await newest(world, id, 2)

    had = before["values"][0]["numerator"]
    assert Decimal(card["values"][0]["numerator"]) == Decimal(had) + Decimal("0.04")
    await _nothing_waits(world)
    revisions = (await world.get(f"/scorecards/{id}/revisions", await world.who("office"))).json()["items"]
    assert [revision["revision"] for revision in revisions] == [1, 2]
    assert revisions[0]["superseded_by"]["causing_fact"] == late
    await _each_card_once(world, cycle)


async def test_the_stream_resumes_after_the_last_event_seen(world: Any, uscc: Callable[[int], str]) -> None:
    await a_pilot(world, "PL-S", uscc(400), "630100")
    await publish(world, "stream", kinds=["region"])
    qinghai = await world.who("evaluator", regions="63", org=uscc(2))

    first = await _events(world, qinghai, {}, count=1, after=0, cycle="stream")
    await world.say(listed("PL-S", 50, uscc(400), "630100"))
    second = await _events(world, qinghai, {"Last-Event-ID": first[0][0]}, count=1, cycle="stream")

    assert [fact["scorecard_id"] for _id, fact in first + second] == ["region:630000:stream"] * 2
    assert [fact["revision"] for _id, fact in first + second] == [1, 2]
    assert int(second[0][0]) > int(first[0][0])


@pytest.mark.parametrize("after", [-1, 2**63 - 1, 10**30])
async def test_a_stream_from_a_position_that_no_log_reaches_is_refused_before_it_begins(world: Any, after: int) -> None:
    answer = await world.get(f"/scorecards/stream?after={after}", await world.who("evaluator"))

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input"), answer.text


async def _events(
    world: Any, who: dict[str, str], headers: dict[str, str], *, count: int, cycle: str, after: int | None = None
) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    url = f"{world.stack.url('evaluation')}/scorecards/stream" + (f"?after={after}" if after is not None else "")
    async with (
        asyncio.timeout(60),
        httpx2.AsyncClient(timeout=30) as http,
        http.stream("GET", url, headers=who | headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        id = ""
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                id = line[4:]
            elif line.startswith("data: ") and (fact := json.loads(line[6:]))["cycle"] == cycle:
                found.append((id, fact))
                if len(found) == count:
                    break
    return found


async def _start(world: Any, **environment: str) -> None:
    quick = {"LIANDONG_REVISION_QUIET_SECONDS": "0.2", "LIANDONG_DUE_POLL_SECONDS": "0.1"}
    await world.stack.start("evaluation-0", **quick, **environment)


async def _nothing_waits(world: Any) -> None:
    database = world.stack.admin().evaluation

    async def quiet() -> bool:
        return not await database.known_facts.find_one(
            {"unfolded": True}
        ) and not await database.revision_rounds.find_one({"open": True})

    await world.until(quiet)


async def _each_card_once(world: Any, cycle: str) -> None:
    """Every region has its card, and every revision of every card of the cycle stands in the log exactly once."""
    database = world.stack.admin().evaluation
    assert await database.scorecards.count_documents({"cycle": cycle, "subject_kind": "region"}) == 32
    seen: list[tuple[str, int]] = []
    async for commit in database.commits.find({"events.type": "ScorecardPublished"}):
        for event in commit["events"]:
            fact = json.loads(event["data"])
            if event["type"] == "ScorecardPublished" and fact["cycle"] == cycle:
                seen.append((fact["scorecard_id"], fact["revision"]))
    assert len(seen) == len(set(seen))
    cards = {card["_id"]: card["revision"] async for card in database.scorecards.find({"cycle": cycle})}
    assert dict(sorted(seen, key=lambda revision: revision[1])) == cards


async def _published(world: Any, id: str, revision: int) -> dict[str, Any]:
    database = world.stack.admin().evaluation
    async for commit in database.commits.find({"events.stream": f"evaluation.scorecards/{id}"}):
        for event in commit["events"]:
            fact: dict[str, Any] = json.loads(event["data"])
            if event["type"] == "ScorecardPublished" and (fact["scorecard_id"], fact["revision"]) == (id, revision):
                return fact
    raise AssertionError("no such revision")
