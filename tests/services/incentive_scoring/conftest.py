"""The real service beside a voice of evaluation and one of pilot_registration, on the real stack."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import date
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr

from deploy.local.stack import Stack
from services.incentive_scoring.api.award_dockets import BASE_SCORES
from shared.contracts.fact import Fact
from shared.doors.sheets import write_workbook
from shared.kernel import SYSTEM, Aggregate
from shared.log.runtime import Log
from shared.log.store import Documents
from shared.platform.mongo import connect
from shared.platform.settings import ServiceSettings
from tests.services.incentive_scoring.world import END, START

SLOT = "incentive-scoring-0"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class Voice(Aggregate):
    """An aggregate of another service that says whatever a test wants."""


class Doors:
    """What a test says as another service and asks through the doors."""

    def __init__(self, stack: Stack, voices: Mapping[str, Log]) -> None:
        self.stack, self.voices = stack, voices
        self.tokens: dict[str, dict[str, str]] = {}

    @property
    def database(self) -> Any:
        """The service's own database, read by a test with all rights."""
        return self.stack.admin().incentive_scoring

    async def say(self, *facts: Fact) -> list[str]:
        """Commits facts as their publisher, in order; returns their ids."""

        async def commit(fact: Fact) -> str:
            log = self.voices[type(fact).topic.service]
            documents = Documents(log.database, "voices", Voice)
            stream = f"{type(fact).topic.name}/{fact.aggregate_id}"

            async def call() -> Voice:
                voice = await documents.find_one(stream) or Voice(id=stream)
                voice.record(fact, effective_at=END)
                documents.save(voice)
                return voice

            answer = await log.commands.execute(
                key=str(uuid.uuid4()), body="", lock=stream, actor=SYSTEM, correlation_id="test", call=call
            )
            return answer.facts[0]

        return [await commit(fact) for fact in facts]

    async def who(self, name: str, roles: str, *, regions: str = "*", org: str = "") -> dict[str, str]:
        """The headers of somebody."""
        if name not in self.tokens:
            form = {"sub": name, "roles": roles, "regions": regions, "org": org}
            async with httpx2.AsyncClient() as http:
                answer = await http.post(f"{self.stack.issuer_url}/token", data=form)
            self.tokens[name] = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        return self.tokens[name]

    async def get(self, path: str, who: dict[str, str], **how: Any) -> httpx2.Response:
        """A read."""
        async with httpx2.AsyncClient(timeout=60) as http:
            return await http.get(f"{self.stack.url('incentive_scoring')}{path}", headers=who, **how)

    async def post(self, path: str, who: dict[str, str], *, key: str | None = None, **how: Any) -> httpx2.Response:
        """A command, or a question."""
        headers = who | {"Idempotency-Key": key or str(uuid.uuid4())} | how.pop("headers", {})
        async with httpx2.AsyncClient(timeout=120) as http:
            return await http.post(f"{self.stack.url('incentive_scoring')}{path}", headers=headers, **how)

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

    async def heard_all(self, who: dict[str, str]) -> None:
        """Until everything said has been published and applied."""

        async def done() -> bool:
            for log in self.voices.values():
                if (await log.figures())["pending"]:
                    return False
            figures = (await self.get("/operations/figures", who)).json()
            return not sum(figures["lag"].values())

        await self.until(done)

    async def open_docket(self, docket_id: str, secretariat: dict[str, str], **changes: Any) -> httpx2.Response:
        """Opens a docket of enterprises; every test has a level-and-cycle of its own to stay out of others' way."""
        body = {
            "docket_id": docket_id, "award": "质量奖", "level": "national", "subject_kind": "enterprise",
            "cycle": "2026", "policy_version": "TP-2026.1", "places": 2, "cycle_start": START.isoformat(),
            "cycle_end": END.isoformat(),
        } | changes  # fmt: skip
        return await self.post("/award-dockets", secretariat, json=body)

    async def import_scores(
        self, docket_id: str, bases: Mapping[str, object], secretariat: dict[str, str]
    ) -> httpx2.Response:
        """Uploads a workbook of base scores and applies it; the answer is that of the step that ended it."""
        preview = await self.upload(docket_id, bases, secretariat)
        if preview.status_code != 201:
            return preview
        path = f"/award-dockets/{docket_id}/imports/{preview.json()['id']}/apply"
        return await self.post(path, secretariat, json={})

    async def upload(
        self, docket_id: str, bases: Mapping[str, object], secretariat: dict[str, str], **changes: Any
    ) -> httpx2.Response:
        """Uploads a workbook of base scores."""
        rows = [
            {"subject": subject, "name": f"企业{number}", "region": "340100", "base": base,
             "accepted_on": date(2026, 10, 1)} | changes
            for number, (subject, base) in enumerate(bases.items())
        ]  # fmt: skip
        file = ("基础得分.xlsx", write_workbook([(BASE_SCORES, rows)], title="基础得分表"), XLSX)
        return await self.post(f"/award-dockets/{docket_id}/imports", secretariat, files={"file": file})

    async def fingerprint(self) -> str:
        """A hash over every collection of the service but what moves by itself (clocks, leases, sessions)."""
        digest = hashlib.sha256()
        moving = {"sequencer", "sessions", "positions", "system.views"}
        for name in sorted(set(await self.database.list_collection_names()) - moving):
            async for document in self.database[name].find({}).sort("_id", 1):
                digest.update(json.dumps([name, document], default=str, sort_keys=True).encode())
        return digest.hexdigest()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def doors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    """incentive_scoring on real Kafka and mongod, both policies approved, and two publishers to speak for."""
    async with AsyncExitStack() as opened:
        stack = await opened.enter_async_context(Stack(tmp_path_factory.mktemp("incentive"), issuer=True))
        voices = {}
        for service in ("evaluation", "pilot_registration"):
            password = (stack.home / "secrets" / service / "mongo_password").read_text()
            settings = ServiceSettings(
                env="test", service=service, service_slot=f"{service}-voice", kafka=stack.kafka, mongo=stack.mongo,
                mongo_password=SecretStr(password), hmac_key=SecretStr("h"), cursor_key=SecretStr("c"),
                issuer="http://x",
            )  # fmt: skip
            database = connect(settings)
            opened.callback(database.client.close)
            log = voices[settings.name] = Log(database, settings)
            await log.start(reactions={}, due={}, extra_indexes=(), collections=("voices",))
            opened.push_async_callback(log.stop)
        await stack.start(SLOT)
        doors = Doors(stack, voices)
        office = await doors.who("office-1", "office")
        for version in ("TP-2025.1", "TP-2026.1"):
            assert (await doors.post(f"/tilt-policies/{version}/approve", office)).status_code == 200
        yield doors
