"""A service told to stop under load: what is in flight is answered, what is new is refused, nothing is half done."""

import asyncio
import signal
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from shared.codes.uscc import check_character

SLOT = "pilot-registration-0"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The stack with a service that takes commands, one that streams, and the issuer."""
    services = ("pilot_registration", "evaluation")
    async with Stack(tmp_path_factory.mktemp("graceful"), services=services, issuer=True) as running:
        yield running


async def signed_in(stack: Stack) -> dict[str, str]:
    async with httpx2.AsyncClient() as http:
        form = {"sub": "office", "roles": "office", "regions": "*"}
        token = (await http.post(f"{stack.issuer_url}/token", data=form)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def uscc(serial: int) -> str:
    seventeen = f"91440300{serial:09d}"
    return seventeen + check_character(seventeen)


async def register(http: httpx2.AsyncClient, serial: int) -> httpx2.Response | None:
    """Registers a party once; None when the connection was refused or closed without an answer."""
    code = uscc(serial)
    party = {
        "uscc": code,
        "name": f"企业{serial}",
        "kind": "enterprise",
        "size_class": "small",
        "division_code": "440300",
    }
    try:
        return await http.post("/parties", json=party, headers={"Idempotency-Key": code})
    except httpx2.TransportError:
        return None


async def test_told_to_stop_under_load_a_service_answers_what_it_accepts_and_refuses_the_rest(registry: Stack) -> None:
    who = await signed_in(registry)
    process = registry.children[SLOT].process
    assert process is not None
    answers: dict[int, httpx2.Response | None] = {}
    limits = httpx2.Limits(max_connections=16)
    async with httpx2.AsyncClient(base_url=registry.url("pilot_registration"), headers=who, limits=limits) as http:

        async def keep_on(lane: int) -> None:
            serial = lane
            while answers.get(serial - 16, True) is not None:
                answers[serial] = await register(http, serial)
                serial += 16

        lanes = [asyncio.create_task(keep_on(lane)) for lane in range(16)]
        deadline = asyncio.get_running_loop().time() + 60
        while len(answers) < 60:
            assert asyncio.get_running_loop().time() < deadline, "the load never got going"
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(asyncio.gather(*lanes), 60)
        await asyncio.wait_for(process.wait(), 20)

    # It ended by itself: nobody had to kill it, and it did not die of an error.
    assert process.returncode in (0, -signal.SIGTERM)
    given = [answer for answer in answers.values() if answer is not None]
    assert {answer.status_code for answer in given} == {201}
    admin = registry.admin()
    try:
        stored = await admin.pilot_registration.parties.distinct("_id")
        assert sorted(stored) == sorted(answer.json()["id"] for answer in given)
    finally:
        admin.close()

    await registry.start(SLOT)
    unanswered = [serial for serial, answer in answers.items() if answer is None]
    assert unanswered
    async with httpx2.AsyncClient(base_url=registry.url("pilot_registration"), headers=who) as http:
        for serial, answer in answers.items():
            again = await register(http, serial)
            assert again is not None
            assert again.status_code == 201
            assert answer is None or again.json() == answer.json()
        metrics = (await http.get("/metrics")).text
    repeated = len(answers)
    assert f'liandong_commands_total{{action="party.register",outcome="accepted"}} {repeated}.0' in metrics


async def test_an_open_stream_ends_whole_when_its_service_is_told_to_stop(registry: Stack) -> None:
    process = registry.children["evaluation-0"].process
    assert process is not None
    async with (
        httpx2.AsyncClient(base_url=registry.url("evaluation"), headers=await signed_in(registry)) as http,
        http.stream("GET", "/scorecards/stream") as answer,
    ):
        lines = answer.aiter_lines()
        assert await anext(lines) == "retry: 1000"
        process.send_signal(signal.SIGTERM)
        # A stream cut off by the server's patience ends with an error of the transport instead.
        assert [line async for line in lines if line] == []
    await asyncio.wait_for(process.wait(), 30)
    assert process.returncode in (0, -signal.SIGTERM)
    await registry.start("evaluation-0")


async def test_a_fact_carries_the_trace_of_its_request(registry: Stack) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    who = await signed_in(registry) | {"traceparent": trace, "X-Correlation-Id": "walk-from-outside"}
    async with httpx2.AsyncClient(base_url=registry.url("pilot_registration"), headers=who) as http:
        answer = await register(http, 900_001)

    assert answer is not None
    assert answer.headers["x-correlation-id"] == "walk-from-outside"
    admin = registry.admin()
    try:
        commit = await admin.pilot_registration.commits.find_one({"events.id": answer.json()["facts"][0]})
    finally:
        admin.close()
    [event] = [event for event in commit["events"] if event["id"] == answer.json()["facts"][0]]
    assert (event["correlation_id"], event["traceparent"]) == ("walk-from-outside", trace)
