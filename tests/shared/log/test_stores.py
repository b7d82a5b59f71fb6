"""One suite for the store in memory and the real one: the fake may not lie."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from shared.contracts.pilot_registration import ChainRegistered
from shared.kernel import NATIONAL, SYSTEM, Aggregate, Answer, NotFound, Outcome, RegionScope
from shared.log.memory import MemoryLog
from shared.log.runtime import Log
from shared.log.store import Documents, Rows
from shared.platform.mongo import connect
from shared.platform.settings import ServiceSettings

ANHUI = RegionScope(frozenset({"34"}))
NOBODY = RegionScope(frozenset())
Execute = Callable[[Callable[[], Awaitable[Aggregate | Outcome]]], Awaitable[Answer]]


class Chain(Aggregate):
    name: str = ""

    @classmethod
    def register(cls, id: str, name: str, *regions: str) -> Chain:
        chain = cls(id=id, name=name, regions=regions)
        chain.rename(name)
        return chain

    def rename(self, name: str) -> None:
        self.name = name
        fact = ChainRegistered(chain_id=self.id, name=name, industry_codes=())
        self.record(fact, effective_at=datetime(2026, 1, 1, tzinfo=UTC))


class Store:
    """Either store, behind the same three things."""

    def __init__(self, database: Any, execute: Execute, suffix: str) -> None:
        self.chains = Documents(database, f"suite_chains_{suffix}", Chain)
        self.rows = Rows(database, f"suite_rows_{suffix}")
        self.execute = execute

    async def add(self, *chains: Chain) -> None:
        for chain in chains:

            async def call(chain: Chain = chain) -> Chain:
                self.chains.save(chain)
                return chain

            await self.execute(call)

    async def write(self, change: Callable[[Rows], None]) -> None:
        async def call() -> Chain:
            change(self.rows)
            return Chain(id="none")

        await self.execute(call)


@pytest_asyncio.fixture(loop_scope="session", params=["memory", "mongo"])
async def store(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[Store]:
    suffix = str(abs(hash(request.node.name)))
    if request.param == "memory":
        memory = MemoryLog()
        yield Store(memory.database, memory.execute, suffix)
        return
    # A service of its own, so that the numbered log of the other suites stays theirs.
    password = (stack.home / "secrets" / "incentive_scoring" / "mongo_password").read_text()
    settings = ServiceSettings(
        env="test", service="incentive_scoring", service_slot="stores-0", kafka=stack.kafka, mongo=stack.mongo,
        mongo_password=password, hmac_key="h", cursor_key="c", issuer="http://x",
    )  # fmt: skip
    database = connect(settings)
    log = Log(database, settings)
    names = (f"suite_chains_{suffix}", f"suite_rows_{suffix}")
    # Chains are another publisher's facts: the test numbers and publishes nothing, so only the committer runs.
    log.sequencer.topics = {"pilot-registration.chains": 3}
    await log.start(reactions={}, due={}, extra_indexes=(), collections=names)
    counter = iter(range(1000))

    async def execute(call: Callable[[], Awaitable[Aggregate | Outcome]]) -> Answer:
        key = f"{suffix}-{next(counter)}"
        return await log.commands.execute(key=key, body="", lock=key, actor=SYSTEM, correlation_id="t", call=call)

    try:
        yield Store(database, execute, suffix)
    finally:
        await log.stop()
        database.client.close()


async def test_a_saved_aggregate_reads_back_with_its_version_and_regions(store: Store) -> None:
    await store.add(Chain.register("a", "first", "340100"))

    read = await store.chains.read("a", ANHUI)

    assert (read.name, read.version, read.regions) == ("first", 1, ("340100",))
    assert read.at > 0
    assert read.recorded == ()


async def test_a_second_save_moves_the_version_by_the_facts_recorded(store: Store) -> None:
    await store.add(Chain.register("second", "first"))

    async def call() -> Chain:
        chain = await store.chains.get("second", NATIONAL)
        chain.rename("second")
        chain.rename("third")
        store.chains.save(chain)
        return chain

    answer = await store.execute(call)

    assert (answer.version, len(answer.facts)) == (3, 2)
    assert (await store.chains.read("second", NATIONAL)).name == "third"


async def test_what_lies_outside_the_scope_is_not_found(store: Store) -> None:
    await store.add(Chain.register("there", "x", "320500"), Chain.register("everywhere", "y"))

    for scope in (ANHUI, NOBODY):
        with pytest.raises(NotFound):
            await store.chains.read("there", scope)
        assert (await store.chains.read("everywhere", scope)).name == "y"
        assert [chain.id for chain in (await store.chains.page(scope, {})).items] == ["everywhere"]


async def test_pages_hold_everything_once_in_order(store: Store) -> None:
    await store.add(*(Chain.register(f"c{i}", "same" if i % 2 else "other", "340100") for i in range(7)))

    seen: list[str] = []
    after = None
    while True:
        page = await store.chains.page(ANHUI, {"name": "same"}, after=after, limit=2)
        seen += [chain.id for chain in page.items]
        after = page.after
        if after is None:
            break

    assert seen == ["c1", "c3", "c5"]


async def test_rows_merge_push_insert_delete(store: Store) -> None:
    await store.write(lambda rows: rows.set("r", {"a": 1, "deep.b": 2}))
    await store.write(lambda rows: rows.push("r", "facts", {"id": 1}, {"id": 2}))
    await store.write(lambda rows: rows.set("r", {"deep.c": 3, "a": 9}))
    await store.write(lambda rows: rows.insert("s", {"a": 1}))

    assert await store.rows.get("r") == {
        "_id": "r", "a": 9, "deep": {"b": 2, "c": 3}, "facts": [{"id": 1}, {"id": 2}],
    }  # fmt: skip
    assert await store.rows.get("missing") is None


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"kind": "x"}, ["1", "2"]),
        ({"n": {"$gt": 1, "$lte": 3}}, ["2", "3"]),
        ({"tags": "red"}, ["1", "3"]),
        ({"tags": {"$in": ["blue"]}}, ["2", "3"]),
        ({"tags": {"$size": 2}}, ["3"]),
        ({"facts.id": "f2"}, ["2"]),
        ({"kind": {"$ne": "x"}}, ["3"]),
        ({"missing": None}, ["1", "2", "3"]),
        ({"kind": {"$exists": False}}, []),
        ({"$or": [{"n": 1}, {"kind": {"$regex": "^y"}}]}, ["1", "3"]),
    ],
)
async def test_rows_answer_the_same_questions(store: Store, where: dict[str, Any], found: list[str]) -> None:
    await store.write(lambda rows: rows.set("1", {"kind": "x", "n": 1, "tags": ["red"], "facts": [{"id": "f1"}]}))
    await store.write(lambda rows: rows.set("2", {"kind": "x", "n": 2, "tags": ["blue"], "facts": [{"id": "f2"}]}))
    await store.write(lambda rows: rows.set("3", {"kind": "y", "n": 3, "tags": ["red", "blue"], "facts": []}))

    assert [row["_id"] for row in await store.rows.find(where)] == found
    assert [row["_id"] for row in await store.rows.find(where, sort=[("n", -1)])] == found[::-1]
