"""What the tests of the log share: a publisher and a listener as a service runs them, and small things to ask."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from deploy.local.stack import Stack
from shared.contracts.evaluation import IssueClosureRejected
from shared.contracts.fact import Fact, Recorded
from shared.contracts.pilot_registration import ChainFact, ChainRegistered
from shared.kernel import SYSTEM, Aggregate, Answer
from shared.log.runtime import Log
from shared.log.store import Documents, Rows
from shared.platform.mongo import connect
from shared.platform.settings import ServiceSettings

TOPIC = "pilot-registration.chains"
THEN = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[3]
COLLECTIONS = ("known_chains", "echoes", "notes", "cards")
React = Callable[[Recorded[Any]], Awaitable[None]]
Table = Mapping[type[Fact], React]


class ChainNoted(ChainFact):
    """A second type of the same topic, for tests only."""

    note: str


class Chain(Aggregate):
    name: str = ""

    def rename(self, name: str) -> None:
        self.name = name
        self.record(ChainRegistered(chain_id=self.id, name=name, industry_codes=()), effective_at=THEN)


class Echo(Aggregate):
    names: tuple[str, ...] = ()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def settings(stack: Stack, service: str, slot: int = 0) -> ServiceSettings:
    password = (stack.home / "secrets" / service / "mongo_password").read_text()
    return service_settings(service, slot, kafka=stack.kafka, mongo=stack.mongo, password=password)


def service_settings(service: str, slot: int, *, kafka: str, mongo: str, password: str) -> ServiceSettings:
    return ServiceSettings(
        env="test", service=service, service_slot=f"{service}-{slot}", kafka=kafka, mongo=mongo,
        mongo_password=SecretStr(password), hmac_key=SecretStr("h"), cursor_key=SecretStr("c"), issuer="http://x",
        sequencer_lease_seconds=1.0,
    )  # fmt: skip


@asynccontextmanager
async def running(
    given: ServiceSettings, *, table: Callable[[Any], Table] = lambda _database: {}, collections: tuple[str, ...]
) -> AsyncIterator[Log]:
    database = connect(given)
    log = Log(database, given)
    await log.start(reactions=table(database), due={}, extra_indexes=(), collections=collections)
    try:
        yield log
    finally:
        await log.stop()
        database.client.close()


@asynccontextmanager
async def publisher(stack: Stack, slot: int = 0) -> AsyncIterator[Log]:
    async with running(settings(stack, "pilot_registration", slot), collections=("chains",)) as log:
        yield log


@asynccontextmanager
async def listener(
    stack: Stack,
    react: React | None = None,
    *,
    also: Callable[[Any], React] | None = None,
    noted: Callable[[Any], React] | None = None,
    slot: int = 0,
) -> AsyncIterator[Log]:
    """Pushes the name of every registered chain to its row, after what `react` and `also` do; `noted` hears notes."""

    def table(database: Any) -> Table:
        rows, more = Rows(database, "known_chains"), also(database) if also else None

        async def on_chain_registered(fact: Recorded[ChainRegistered]) -> None:
            for extra in (react, more):
                if extra is not None:
                    await extra(fact)
            rows.push(fact.subject, "names", fact.fact.name)

        return {ChainRegistered: on_chain_registered} | ({ChainNoted: noted(database)} if noted else {})

    async with running(settings(stack, "evaluation", slot), table=table, collections=COLLECTIONS) as log:
        yield log


def echo(database: Any) -> React:
    """A reaction that says something itself: for each chain registered, an issue of the same name is rejected."""
    echoes = Documents(database, "echoes", Echo)

    async def on_chain_registered(fact: Recorded[ChainRegistered]) -> None:
        mine = await echoes.find_one(f"echo-{fact.subject}") or Echo(id=f"echo-{fact.subject}")
        mine.names = (*mine.names, fact.fact.name)
        said = IssueClosureRejected(issue_id=mine.id, claim_fact=fact.id, verifier_org="-", reason=fact.fact.name)
        mine.record(said, effective_at=fact.effective_at)
        echoes.save(mine)

    return on_chain_registered


async def note(log: Log, id: str, text: str) -> Answer:
    """Records a fact of another type about a chain."""
    chains = Documents(log.database, "chains", Chain)

    async def call() -> Chain:
        chain = await chains.find_one(id) or Chain(id=id)
        chain.record(ChainNoted(chain_id=id, note=text), effective_at=THEN)
        chains.save(chain)
        return chain

    return await log.commands.execute(
        key=f"note/{id}/{text}", body="b", lock=id, actor=SYSTEM, correlation_id="t", call=call
    )


async def register(
    log: Log, id: str, name: str, *, key: str | None = None, body: str = "b", traceparent: str | None = None
) -> Answer:
    chains = Documents(log.database, "chains", Chain)

    async def call() -> Chain:
        chain = await chains.find_one(id) or Chain(id=id)
        chain.rename(name)
        chains.save(chain)
        return chain

    return await log.commands.execute(
        key=key or f"{id}/{name}", body=body, lock=id, actor=SYSTEM, correlation_id=f"of-{id}", call=call,
        traceparent=traceparent,
    )  # fmt: skip


async def caught_up(log: Log) -> bool:
    figures = await log.figures()
    return not sum(figures["lag"].values())


async def published(log: Log) -> bool:
    state = await log.database.sequencer.find_one({"_id": "sequencer"})
    return state["published"] == state["next"] - 1 and not await log.database.commits.find_one({"pending": True})


async def settled(here: Log, there: Log) -> bool:
    """Whether everything the one has written is published and the other has taken it in."""
    return await published(here) and await caught_up(there)


async def names(log: Log, id: str) -> list[str]:
    row = await log.database.known_chains.find_one({"_id": id})
    return row["names"] if row else []


@asynccontextmanager
async def process(stack: Stack, role: str, service: str, slot: int, **environment: str) -> AsyncIterator[Any]:
    """A real process (see `worker.py`) that publishes or listens; killed at the end when it still runs."""
    password = (stack.home / "secrets" / service / "mongo_password").read_text()
    plan = {"service": service, "slot": slot, "kafka": stack.kafka, "mongo": stack.mongo, "password": password}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.shared.log.worker", role, json.dumps(plan), cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()
