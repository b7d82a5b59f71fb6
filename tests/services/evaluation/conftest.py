"""The real service beside a publisher: facts of pilot_registration committed through its own log, on the real stack."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr

from deploy.local.stack import Stack
from shared.codes.uscc import check_character
from shared.contracts.fact import Evidence, Fact
from shared.kernel import SYSTEM, Aggregate
from shared.log.runtime import Log
from shared.log.store import Documents
from shared.platform.mongo import connect
from shared.platform.settings import ServiceSettings

QUICK = {"LIANDONG_REVISION_QUIET_SECONDS": "0.2", "LIANDONG_DUE_POLL_SECONDS": "0.1"}


class Anything(Aggregate):
    """An aggregate of the publisher that says whatever a test wants."""


class World:
    """What a test says and asks: `say` commits facts as pilot_registration, `get` and `post` go through the doors."""

    def __init__(self, stack: Stack, publisher: Log) -> None:
        self.stack, self.publisher = stack, publisher
        self.tokens: dict[str, dict[str, str]] = {}

    async def say(
        self, *facts: Fact, on: datetime = datetime(2026, 3, 1, tzinfo=UTC), evidence: Sequence[Evidence] = ()
    ) -> list[str]:
        """Commits facts as pilot_registration, one command each; returns their ids."""
        documents = Documents(self.publisher.database, "anything", Anything)

        async def commit(fact: Fact) -> str:
            stream = f"{type(fact).topic.name}/{fact.aggregate_id}"

            async def call() -> Anything:
                aggregate = await documents.find_one(stream) or Anything(id=stream)
                aggregate.record(fact, effective_at=on, evidence=evidence)
                documents.save(aggregate)
                return aggregate

            answer = await self.publisher.commands.execute(
                key=str(uuid.uuid4()), body="", lock=stream, actor=SYSTEM, correlation_id="test", call=call
            )
            return answer.facts[0]

        return [await commit(fact) for fact in facts]

    async def who(self, roles: str, *, regions: str = "*", org: str = "") -> dict[str, str]:
        """The headers of somebody with these roles."""
        form = {"sub": f"{roles}-{regions}-{org}", "roles": roles, "regions": regions, "org": org}
        name = repr(form)
        if name not in self.tokens:
            async with httpx2.AsyncClient() as http:
                answer = await http.post(f"{self.stack.issuer_url}/token", data=form)
                self.tokens[name] = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        return self.tokens[name]

    async def get(self, path: str, who: dict[str, str]) -> httpx2.Response:
        """A read."""
        async with httpx2.AsyncClient(timeout=30) as http:
            return await http.get(f"{self.stack.url('evaluation')}{path}", headers=who)

    async def post(self, path: str, who: dict[str, str], *, key: str | None = None, **how: Any) -> httpx2.Response:
        """A command."""
        headers = who | {"Idempotency-Key": key or str(uuid.uuid4())}
        async with httpx2.AsyncClient(timeout=60) as http:
            return await http.post(f"{self.stack.url('evaluation')}{path}", headers=headers, **how)

    async def until(self, condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
        """Looks until a condition holds; the service may be away meanwhile."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            try:
                if found := await condition():
                    return found
            except httpx2.HTTPError:
                pass
            assert loop.time() < deadline, "it did not happen in time"
            await asyncio.sleep(0.05)

    async def heard(self, *facts: str) -> None:
        """Until evaluation keeps these facts."""
        kept = self.stack.admin().evaluation.known_facts

        async def all_of_them() -> bool:
            return bool(await kept.count_documents({"_id": {"$in": list(facts)}}) == len(facts))

        await self.until(all_of_them)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Evaluation on real Kafka and mongod, with the issuer, and a publisher that speaks for pilot_registration."""
    async with Stack(tmp_path_factory.mktemp("evaluation"), issuer=True) as stack:
        await stack.start("evaluation-0", **QUICK)
        password = (stack.home / "secrets" / "pilot_registration" / "mongo_password").read_text()
        settings = ServiceSettings(
            env="test", service="pilot_registration", service_slot="pilot_registration-0", kafka=stack.kafka,
            mongo=stack.mongo, mongo_password=SecretStr(password), hmac_key=SecretStr("h"), cursor_key=SecretStr("c"),
            issuer="http://x",
        )  # fmt: skip
        database = connect(settings)
        log = Log(database, settings)
        await log.start(reactions={}, due={}, extra_indexes=(), collections=("anything",))
        try:
            yield World(stack, log)
        finally:
            await log.stop()
            database.client.close()


@pytest.fixture
def uscc() -> Callable[[int], str]:
    """Valid unified social credit codes by serial number."""

    def code(serial: int, head: str = "91340100") -> str:
        seventeen = f"{head}{serial:09d}"
        return seventeen + check_character(seventeen)

    return code
