"""Dead letters over HTTP and from the command line, on the real stack: seen, replayed in order, discarded, verified."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import pytest_asyncio

from deploy.local.children import PROJECT
from deploy.local.stack import Stack
from shared.codes.uscc import check_character

SECONDS = 60


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A registry and an evaluation that hears it."""
    services = ("pilot_registration", "evaluation")
    async with Stack(tmp_path_factory.mktemp("operations"), services=services, issuer=True) as running:
        yield running


async def who(stack: Stack, role: str) -> dict[str, str]:
    async with httpx2.AsyncClient() as http:
        form = {"sub": role, "roles": role, "regions": "*"}
        token = (await http.post(f"{stack.issuer_url}/token", data=form)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


async def plant(stack: Stack, *serials: int) -> list[dict[str, Any]]:
    """Registers parties of whom evaluation cannot take in the fact, and waits for their letters."""
    admin = stack.admin()
    await admin.evaluation.command("collMod", "known_parties", validator={"poison": True})
    admin.close()
    headers = await who(stack, "office")
    async with httpx2.AsyncClient(timeout=SECONDS) as http:
        for serial in serials:
            seventeen = f"91440300{serial:09d}"
            uscc = seventeen + check_character(seventeen)
            party = {"uscc": uscc, "name": f"企业{serial}", "kind": "enterprise", "size_class": "small",
                     "division_code": "440300"}  # fmt: skip
            url = f"{stack.url('pilot_registration')}/parties"
            answer = await http.post(url, json=party, headers=headers | {"Idempotency-Key": uscc})
            assert answer.status_code == 201, answer.text
        deadline = asyncio.get_running_loop().time() + SECONDS
        while True:
            url = f"{stack.url('evaluation')}/operations/dead-letters"
            answer = await http.get(url, headers=await who(stack, "auditor"))
            assert answer.status_code == 200, answer.text
            if len(answer.json()["items"]) >= len(serials):
                break
            assert asyncio.get_running_loop().time() < deadline, "no letter came"
            await asyncio.sleep(0.05)
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def heal(stack: Stack) -> None:
    admin = stack.admin()
    await admin.evaluation.command("collMod", "known_parties", validator={})
    admin.close()


async def liandong(stack: Stack, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        str(PROJECT / "liandong"), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LIANDONG_HOME": str(stack.home)},
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    return process.returncode or 0, out.decode(), err.decode()


async def test_rule_20_a_letter_is_replayed_once_its_fact_can_be_applied_and_the_key_answers_again(pair: Stack) -> None:
    [letter] = await plant(pair, 77)
    assert (letter["state"], letter["type"]) == ("open", "PartyRegistered")
    assert not {"value", "data", "payload", "repair"} & set(letter)
    url = f"{pair.url('evaluation')}/operations/dead-letters/{quote(letter['id'], safe='')}"
    office = await who(pair, "office") | {"Idempotency-Key": "replay-77"}
    async with httpx2.AsyncClient(timeout=SECONDS) as http:
        refused = await http.post(f"{url}/replay", headers=await who(pair, "auditor") | {"Idempotency-Key": "a"})
        assert refused.status_code == 403
        keyless = await http.post(f"{url}/replay", headers=await who(pair, "office"))
        assert keyless.json()["code"] == "idempotency-key-missing"
        failed = await http.post(f"{url}/replay", headers=office)
        assert (failed.status_code, failed.json()["code"]) == (409, "replay-failed")

        await heal(pair)
        replayed, again = [await http.post(f"{url}/replay", headers=office) for _ in range(2)]

        assert replayed.status_code == 200, replayed.text
        assert replayed.json()["details"] == {"letters": [letter["id"]], "state": "replayed"}
        assert again.content == replayed.content
        other = await http.post(f"{url}/replay", headers=office | {"Idempotency-Key": "another"})
        assert (other.status_code, other.json()["code"]) == (409, "letter-settled")
        settled = (await http.get(url, headers=await who(pair, "auditor"))).json()
        assert settled["state"] == "replayed"
        subject = await http.get(f"{pair.url('evaluation')}/subjects/{letter['subject']}", headers=office)
        assert subject.json()["name"] == "企业77"
        missing = await http.get(f"{pair.url('evaluation')}/operations/dead-letters/none", headers=office)
        assert missing.status_code == 404


async def test_rule_20_the_command_line_lists_shows_discards_and_verifies(pair: Stack) -> None:
    [letter] = await plant(pair, 78)
    await heal(pair)
    code, out, err = await liandong(pair, "dead-letters", "list", "evaluation", "--json")
    assert (code, [each["id"] for each in json.loads(out)]) == (0, [letter["id"]]), err
    assert letter["id"] in (await liandong(pair, "dead-letters", "list", "evaluation"))[1]
    code, out, err = await liandong(pair, "dead-letters", "show", "evaluation", letter["id"], "--json")
    assert json.loads(out) == letter, err

    code, out, err = await liandong(
        pair, "dead-letters", "discard", "evaluation", letter["id"], "--reason", "登记有误", "--json"
    )

    assert (code, json.loads(out)["details"]["state"]) == (0, "discarded"), err
    code, out, err = await liandong(pair, "dead-letters", "replay", "evaluation", letter["id"])
    assert code != 0
    assert err.startswith("409 letter-settled")
    assert "没有死信" in (await liandong(pair, "dead-letters", "list", "evaluation"))[1]
    code, out, err = await liandong(pair, "dead-letters", "list", "evaluation", "--state", "discarded", "--json")
    assert [each["reason"] for each in json.loads(out)] == ["登记有误"], err
    code, out, err = await liandong(pair, "log", "verify", "evaluation", "--json")
    verdict = json.loads(out)
    assert (code, verdict["whole"], verdict["faults"]) == (0, True, []), err
    assert verdict["facts"] >= 4  # two letters, each opened and settled
