"""A registrar registers a party over HTTP and evaluation knows it: two real services on real Kafka and mongod."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx2
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import ECKey

from deploy.local.doctor import NotReady
from deploy.local.stack import Stack
from shared.codes.uscc import check_character
from shared.log.failpoints import NAMES
from tests.faults.auditor.checks import audit
from tests.faults.auditor.collect import collect

PARTY = {
    "uscc": "91340100MA2T00015G",
    "name": "合肥某某精密制造有限公司",
    "kind": "enterprise",
    "size_class": "small",
    "division_code": "340100",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def province(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The whole stack with two services and the issuer."""
    home = tmp_path_factory.mktemp("province")
    async with Stack(home, services=("pilot_registration", "evaluation"), issuer=True) as running:
        yield running


async def token(stack: Stack, *, roles: str, regions: str) -> dict[str, str]:
    async with httpx2.AsyncClient() as http:
        form = {"sub": f"{roles}-{regions}", "roles": roles, "regions": regions}
        answer = await http.post(f"{stack.issuer_url}/token", data=form)
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def register(
    stack: Stack, who: dict[str, str], party: dict[str, str], *, key: str | None = None, **headers: str
) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30) as http:
        given = who | {"Idempotency-Key": key or str(uuid.uuid4())} | headers
        return await http.post(f"{stack.url('pilot_registration')}/parties", json=party, headers=given)


async def read(stack: Stack, service: str, path: str, who: dict[str, str]) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30) as http:
        return await http.get(f"{stack.url(service)}{path}", headers=who)


async def subject(stack: Stack, uscc: str, who: dict[str, str]) -> httpx2.Response:
    deadline = asyncio.get_running_loop().time() + 40
    while (answer := await read(stack, "evaluation", f"/subjects/{uscc}", who)).status_code == 404:
        assert asyncio.get_running_loop().time() < deadline, "evaluation never heard of it"
        await asyncio.sleep(0.05)
    return answer


async def test_a_registered_party_becomes_a_subject(province: Stack) -> None:
    anhui = await token(province, roles="registrar", regions="34")

    answer = await register(province, anhui, PARTY)

    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1"'
    [fact] = answer.json()["facts"]
    heard = await subject(province, PARTY["uscc"], anhui)
    assert heard.json()["registered"]["fact"] == fact
    assert (await register(province, anhui, PARTY)).json()["code"] == "party-already-registered"


async def test_twenty_equal_requests_get_twenty_equal_answers_and_one_fact(province: Stack) -> None:
    anhui = await token(province, roles="registrar", regions="34")
    party = PARTY | {"uscc": "91340100MA2T00023B"}

    answers = await asyncio.gather(*(register(province, anhui, party, key="twenty") for _ in range(20)))

    assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}
    assert len(answers[0].json()["facts"]) == 1


async def test_a_region_does_not_see_anothers_party_and_cannot_tell_it_from_a_missing_one(province: Stack) -> None:
    await register(province, await token(province, roles="registrar", regions="34"), PARTY)
    jiangsu = await token(province, roles="registrar", regions="32")

    foreign = await read(province, "pilot_registration", f"/parties/{PARTY['uscc']}", jiangsu)
    missing = await read(province, "pilot_registration", "/parties/91320500MA1X00017L", jiangsu)

    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"uscc": "91340100MA2T00015H"}, "uscc", "uscc-check"),
        ({"uscc": "9134"}, "uscc", "uscc-length"),
        ({"kind": "ministry"}, "kind", "enum"),
        ({"surprise": "1"}, "surprise", "extra_forbidden"),
        ({"division_code": "34"}, "division_code", "string_pattern_mismatch"),
    ],
)
async def test_bad_input_names_field_and_rule_in_both_languages(
    province: Stack, change: dict[str, str], field: str, rule: str
) -> None:
    anhui = await token(province, roles="registrar", regions="34")

    answer = await register(province, anhui, PARTY | change)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    [error] = answer.json()["errors"]
    assert (error["field"], error["rule"]) == (field, rule)
    assert error["zh"]
    assert error["en"]


async def test_who_may_not_come_in_does_not(province: Stack) -> None:
    auditor = await token(province, roles="auditor", regions="*")
    anhui = await token(province, roles="registrar", regions="34")
    head, claims, signature = anhui["Authorization"].removeprefix("Bearer ").split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "at+jwt"}).encode()).decode().rstrip("=")
    now = int(time.time())
    stranger = ECKey.generate_key("P-256", {"kid": "development"})
    forged = jwt.encode(
        {"alg": "ES256", "typ": "at+jwt", "kid": "development"},
        {"iss": province.issuer_url, "aud": "liandong", "sub": "x", "iat": now, "exp": now + 60,
         "roles": ["office"], "regions": ["*"]},
        stranger,
    )  # fmt: skip

    assert (await register(province, auditor, PARTY)).json()["code"] == "forbidden"
    for bad in (
        "x",
        f"{none}.{claims}.",
        f"{none}.{claims}.{signature}",
        f"{head}.{claims}.{signature[:-4]}AAAA",
        forged,
    ):
        answer = await register(province, {"Authorization": f"Bearer {bad}"}, PARTY)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert (await register(province, anhui, PARTY, key="a b")).json()["code"] == "idempotency-key-missing"


async def test_pages_hold_every_party_once_and_a_forged_cursor_is_refused(province: Stack) -> None:
    office = await token(province, roles="office", regions="*")
    for uscc in ("91340100MA2T00015G", "91340100MA2T00023B", "91320500MA1X00017L"):
        await register(province, office, PARTY | {"uscc": uscc})

    seen, cursor = [], ""
    while cursor is not None:
        page = (
            await read(province, "pilot_registration", f"/parties?limit=1{cursor and '&cursor=' + cursor}", office)
        ).json()
        seen += [item["uscc"] for item in page["items"]]
        cursor = page["next"]

    assert seen == sorted(set(seen))
    assert len(seen) >= 3
    forged = await read(province, "pilot_registration", "/parties?cursor=WyJhIiwgImIiXQ==", office)
    assert forged.json()["code"] == "cursor-invalid"


async def until_answered(stack: Stack, who: dict[str, str], uscc: str) -> httpx2.Response:
    """Registers under one key until there is an answer, as a client does whose service is away for a while."""
    deadline = asyncio.get_running_loop().time() + 90
    while True:
        try:
            answer = await register(stack, who, PARTY | {"uscc": uscc}, key=uscc)
            if answer.status_code != 503:
                return answer
        except httpx2.HTTPError:
            pass
        assert asyncio.get_running_loop().time() < deadline, "the service never came back"
        await asyncio.sleep(0.1)


async def test_services_killed_in_the_middle_lose_and_double_nothing(province: Stack) -> None:
    office = await token(province, roles="office", regions="*")
    codes = [_uscc(i) for i in range(60)]

    load = asyncio.gather(*(until_answered(province, office, uscc) for uscc in codes))
    await province.kill("pilot-registration-0")
    await province.kill("evaluation-0")
    await asyncio.gather(province.start("pilot-registration-0"), province.start("evaluation-0"))
    answers = await load

    assert {answer.status_code for answer in answers} == {201}
    heard = [(await subject(province, uscc, office)).json()["registered"]["fact"] for uscc in codes]
    assert heard == [answer.json()["facts"][0] for answer in answers]
    figures = (await read(province, "evaluation", "/operations/figures", office)).json()
    assert figures["dead_letters"] == 0


@pytest.mark.parametrize("window", sorted(NAMES))
async def test_a_process_that_dies_at_this_window_loses_and_doubles_nothing(province: Stack, window: str) -> None:
    office = await token(province, roles="office", regions="*")
    codes = [_uscc(1000 + 10 * sorted(NAMES).index(window) + i) for i in range(8)]
    name = "evaluation-0" if window.startswith("consume") else "pilot-registration-0"
    await province.terminate(name)
    with suppress(NotReady):  # some windows lie before the service is ready
        await province.start(name, LIANDONG_FAILPOINTS=f"{window}=kill@1")

    load = asyncio.gather(*(until_answered(province, office, uscc) for uscc in codes))
    await asyncio.wait_for(province.wait_exit(name), 60)
    await province.start(name)
    answers = await load

    assert {answer.status_code for answer in answers} == {201}
    heard = [(await subject(province, uscc, office)).json()["registered"]["fact"] for uscc in codes]
    assert heard == [answer.json()["facts"][0] for answer in answers]


async def test_after_all_of_this_the_auditor_finds_nothing(province: Stack) -> None:
    services = ("pilot-registration", "evaluation")
    states = {"pilot-registration": {"parties": "pilot-registration.parties"}}
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        dump = await collect(
            mongo=province.mongo, replica_set="rs0", password=province.secret("auditor"), kafka=province.kafka,
            services=services,
        )  # fmt: skip
        findings = [str(finding) for finding in audit(dump, states)]
        if not findings or asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.5)  # the last batch may still be on its way

    assert findings == []
    assert len(list(dump.events("pilot-registration"))) > 160


def _uscc(serial: int) -> str:
    seventeen = f"91440300{serial:09d}"
    return seventeen + check_character(seventeen)
