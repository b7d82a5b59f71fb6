"""Questions and inputs that were meant to harm: answered in time, with a 4xx, and with nothing of other regions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.services.incentive_scoring.conftest import Doors
from tests.services.incentive_scoring.test_over_http import a_decided_docket, people

AGES_AWAY = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1899-12-31T23:59:59+08:00")


@pytest.mark.parametrize(
    "question",
    [
        {"base_floor": "1E+9999999"},
        {"cap": "1E-999999999"},
        {"vary": "cap", "high": "1E-30000"},
        {"vary": "base_floor", "low": "1E-9000", "high": "1"},
        {"completeness_floor": "0." + "3" * 2_000},
    ],
)
async def test_a_question_with_an_endless_number_is_refused_before_anybody_computes_with_it(
    doors: Doors, question: dict[str, Any]
) -> None:
    who = await people(doors)

    answer = await doors.post("/award-dockets/AD-none/simulate", who["secretariat"], json=question)

    assert answer.status_code == 422, answer.text
    assert {fault["field"] for fault in answer.json()["errors"]} <= question.keys()


async def test_a_region_asking_what_if_is_answered_with_its_own_lines(doors: Doors) -> None:
    first, *_others = await a_decided_docket(doors, "AD-asked-by-a-region", 1500, places=1)
    path, question = "/award-dockets/AD-asked-by-a-region/simulate", {"vary": "cap", "high": "30"}

    own = await doors.post(path, await doors.who("author-34", "policy_author", regions="34"), json=question)
    foreign = await doors.post(path, await doors.who("author-54", "policy_author", regions="54"), json=question)

    assert own.status_code == foreign.status_code == 200, own.text + foreign.text
    assert first in {line["subject"] for line in own.json()["ranking"]}
    told = foreign.json()
    assert told["ranking"] == told["released"] == told["differs"] == told["leaves"] == []
    assert [(part["winners"], part["swaps"]) for part in told["breakpoints"]["intervals"]] != []
    assert all(part["winners"] == part["swaps"] == [] for part in told["breakpoints"]["intervals"])
    assert first not in foreign.text


async def test_a_region_is_not_told_of_revocations_proposed_elsewhere(doors: Doors) -> None:
    who = await people(doors)
    first, *_others = await a_decided_docket(doors, "AD-revoked-elsewhere", 1600, places=1)
    body = {
        "ground": "V2", "subject_kind": "enterprise", "subject": first, "reason": "较大生产安全责任事故",
        "effective_from": "2026-01-01T00:00:00+08:00",
    }  # fmt: skip
    raised = (await doors.post("/vetoes", who["supervision"], json=body)).json()
    assert (await doors.post(f"/vetoes/{raised['id']}/confirm", who["other"])).status_code == 200

    path = "/award-dockets/AD-revoked-elsewhere"
    own = await doors.get(path, await doors.who("province-34", "province", regions="34"))
    foreign = await doors.get(path, await doors.who("province-54", "province", regions="54"))
    listed = await doors.get("/award-dockets", await doors.who("province-54", "province", regions="54"))

    assert [proposal["subject"] for proposal in own.json()["revocations"]] == [first]
    assert foreign.json()["revocations"] == []
    assert first not in foreign.text + listed.text


@pytest.mark.parametrize("at", AGES_AWAY)
async def test_a_veto_effective_ages_away_is_refused_naming_the_field(doors: Doors, at: str) -> None:
    who = await people(doors)
    body = {
        "ground": "V2", "subject_kind": "enterprise", "subject": "91340100MA2T00015G", "reason": "事故",
        "effective_from": at,
    }  # fmt: skip

    answer = await doors.post("/vetoes", who["supervision"], json=body)

    assert answer.status_code == 422, answer.text
    assert [(fault["field"], fault["rule"]) for fault in answer.json()["errors"]] == [
        ("effective_from", "instant_range")
    ]
