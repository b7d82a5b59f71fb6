"""Rules 22 to 25: the transaction runner, time that acts, start-up and liveness, old documents; and nodes killed."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from pymongo.errors import AutoReconnect, OperationFailure

from deploy.local.stack import Stack
from shared.contracts.pilot_registration import ChainRegistered
from shared.kernel import NATIONAL, SYSTEM, Aggregate, Answer
from shared.log import selfcheck, transactions
from shared.log.consumer.liveness import Lasting, dead_tasks
from shared.log.due import DueQueue, MongoAgenda
from shared.log.runtime import Log
from shared.log.store import Documents
from tests.shared.log.support import (
    Chain,
    caught_up,
    listener,
    names,
    publisher,
    register,
    running,
    settings,
    settled,
    until,
)  # fmt: skip


class Session:
    """A MongoDB session whose commits do what a script says: an exception each, then None for success."""

    def __init__(self, *script: Exception | None) -> None:
        self.script, self.commits, self.starts = list(script), 0, 0
        self.in_transaction = False

    def start_transaction(self, **_options: Any) -> None:
        self.starts += 1

    async def commit_transaction(self) -> None:
        self.commits += 1
        outcome = self.script.pop(0)
        if outcome is not None:
            raise outcome


def labelled(label: str) -> OperationFailure:
    return OperationFailure("x", 251, {"errorLabels": [label]})


async def test_rule_22_a_commit_without_an_answer_is_sent_again_alone_and_a_transient_one_with_its_whole_body() -> None:
    bodies: list[int] = []

    async def body(_session: Any) -> str:
        bodies.append(1)
        return "done"

    lost = Session(AutoReconnect("gone"), labelled("UnknownTransactionCommitResult"), None)
    assert await transactions.run(lost, body) == "done"
    assert (lost.starts, lost.commits, len(bodies)) == (1, 3, 1)

    aborted = Session(labelled("TransientTransactionError"), None)
    assert await transactions.run(aborted, body) == "done"
    assert (aborted.starts, len(bodies)) == (2, 3)


async def test_rule_22_a_commit_that_stays_without_an_answer_is_unknown_and_a_refused_body_is_not_run_again() -> None:
    async def body(_session: Any) -> None:
        return None

    with pytest.raises(transactions.OutcomeUnknown):
        await transactions.run(Session(*[AutoReconnect("gone")] * 1000), body, seconds=0.05)

    async def refused(_session: Any) -> None:
        raise ValueError("no")

    session = Session()
    with pytest.raises(ValueError, match="no"):
        await transactions.run(session, refused)
    assert session.starts == 1


async def test_rule_23_a_due_item_fires_once_though_two_processes_look(stack: Stack) -> None:
    fired: list[str] = []

    def queue(log: Log) -> DueQueue:
        async def fire(ref: str, at: datetime) -> Chain:
            fired.append(ref)
            chains = Documents(log.database, "chains", Chain)
            chain = await chains.find_one(ref)
            assert chain is not None
            chain.name = "fired"
            fact = ChainRegistered(chain_id=ref, name="fired", industry_codes=())
            chain.record(fact, effective_at=at)
            chains.save(chain)
            return chain

        return DueQueue(log.database, log.commands, {"chain.fire": fire}, now=log.now, poll_seconds=1)

    async with publisher(stack) as here, publisher(stack, slot=1) as other:

        async def schedule() -> Chain:
            chain = Chain(id="due", name="waits")
            fact = ChainRegistered(chain_id="due", name="waits", industry_codes=())
            chain.record(fact, effective_at=here.now())
            Documents(here.database, "chains", Chain).save(chain)
            MongoAgenda().due("chain.fire", "due", due_at=here.now() + timedelta(days=5))
            return chain

        await here.commands.execute(key="due", body="b", lock="due", actor=SYSTEM, correlation_id="test", call=schedule)
        assert await queue(here).fire_due() == 0
        here.clock.offset_us = other.clock.offset_us = 6 * 24 * 3600 * 1_000_000
        await asyncio.gather(queue(here).fire_due(), queue(other).fire_due())
        assert set(fired) == {"due"}
        assert await here.database.commits.count_documents({"events.subject": "due"}) == 2
        assert await queue(here).fire_due() == 0


def schedules(log: Log, id: str, *, days: int, version: int) -> Any:
    async def call() -> Chain:
        chains = Documents(log.database, "chains", Chain)
        chain = await chains.find_one(id) or Chain(id=id)
        chain.rename(f"waits {version}")
        chains.save(chain)
        MongoAgenda().due("chain.fire", id, due_at=log.now() + timedelta(days=days), version=version)
        return chain

    return log.commands.execute(
        key=f"{id}/{version}", body="b", lock="schedules", actor=SYSTEM, correlation_id="t", call=call
    )


async def test_rule_23_an_item_moved_while_it_fires_is_not_lost(stack: Stack) -> None:
    async with publisher(stack) as log:
        await schedules(log, "moved", days=-1, version=1)
        moved: list[str] = []

        async def fire(ref: str, at: datetime) -> Chain:
            if not moved:
                moved.append(ref)
                await schedules(log, "moved", days=30, version=2)  # somebody gives more time just now
            chains = Documents(log.database, "chains", Chain)
            chain = await chains.find_one(ref)
            assert chain is not None
            chain.rename("fired")
            chains.save(chain)
            return chain

        queue = DueQueue(log.database, log.commands, {"chain.fire": fire}, now=log.now, poll_seconds=1)
        await queue.fire_due()
        item = await log.database.due.find_one({"_id": "chain.fire:moved"})
        assert (item["state"], item["version"]) == ("open", 2)
        assert (await log.database.chains.find_one({"_id": "moved"}))["name"] == "waits 2"


async def test_rule_23_an_item_that_breaks_is_set_aside_and_the_others_fire(stack: Stack) -> None:
    async with publisher(stack) as log:
        await schedules(log, "breaks", days=-2, version=1)
        await schedules(log, "fires", days=-1, version=1)

        async def fire(ref: str, at: datetime) -> Chain:
            if ref == "breaks":
                raise KeyError(ref)
            chains = Documents(log.database, "chains", Chain)
            chain = await chains.find_one(ref)
            assert chain is not None
            chain.rename("fired")
            chains.save(chain)
            return chain

        queue = DueQueue(log.database, log.commands, {"chain.fire": fire}, now=log.now, poll_seconds=1)
        for _ in range(3):
            await queue.fire_due()
        items = {
            item["ref"]: item["state"] async for item in log.database.due.find({"ref": {"$in": ["breaks", "fires"]}})
        }
        assert items == {"breaks": "failed", "fires": "done"}
        assert (await log.figures())["due_failed"] == 1


async def test_rule_24_the_local_stack_is_safe_and_every_unsafe_setting_is_named_in_both_languages(
    stack: Stack,
) -> None:
    given = settings(stack, "evaluation")
    async with running(given, collections=()) as log:
        assert await selfcheck.check_store(log.database, given, skew_seconds=0.0) == []
        wrong = await selfcheck.check_store(
            log.database.client.get_database("evaluation"), given.model_copy(update={"replica_set": "other"}),
            skew_seconds=-3.5,
        )  # fmt: skip
        assert await selfcheck.check_broker(stack.kafka, log.sequencer.topics, production=False) == []
        topics = {"evaluation.closures": 4, "evaluation.nowhere": 3}
        wrong += await selfcheck.check_broker(stack.kafka, topics, production=True)
    wrong += selfcheck.check_client({"acks": 1, "enable_idempotence": False})
    wrong += selfcheck.check_topic(
        "t",
        {
            "min.insync.replicas": "1", "retention.ms": "604800000", "cleanup.policy": "compact",
            "unclean.leader.election.enable": "true", "max.message.bytes": "1000",
        },
        replicas=3, production=True,
    )  # fmt: skip
    assert [finding.code for finding in wrong] == [
        "replica-set", "clock-skew", "partitions", "replicas", "topic-missing", "acks", "idempotence",
        "min-isr", "retention", "compaction", "unclean-election", "message-bytes",
    ]  # fmt: skip
    assert all(finding.zh and finding.en and finding.zh != finding.en for finding in wrong)


async def test_rule_24_a_service_refuses_to_start_while_a_node_holds_transactions_too_long(stack: Stack) -> None:
    admin = stack.admin()
    await admin.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=60)
    try:
        with pytest.raises(selfcheck.UnsafeSettings, match="is 60; it must be 5"):
            async with running(settings(stack, "evaluation"), collections=()):
                pass
    finally:
        await admin.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=5)
        admin.close()


def test_rule_24_liveness_tells_what_lasts_too_long_and_forgets_what_has_passed() -> None:
    lasting = Lasting()
    lasting.observe(100.0, {"paused": "chains|0", "rejoin": ""})
    lasting.observe(110.0, {"paused": "chains|0", "rejoin": ""})
    assert lasting.sentences() == []
    lasting.observe(111.0, {"paused": "chains|0"})
    assert lasting.sentences() == ["chains|0 assigned but not read for 11 s: no claim succeeds"]
    lasting.observe(112.0, {})
    lasting.observe(130.0, {"paused": "chains|0", "empty": "chains"})
    assert lasting.sentences() == []
    lasting.observe(146.0, {"empty": "chains"})
    assert "no partition is assigned for 16 s" in lasting.sentences()[0]


async def test_rule_24_a_consumer_whose_coordinator_has_died_says_so(stack: Stack) -> None:
    async with listener(stack) as there:
        assert there.consumer is not None
        await until(lambda: caught_up(there))
        coordinator = there.consumer._subscriber.consumer._coordinator
        assert dead_tasks(coordinator) == []
        coordinator._heartbeat_task.cancel()

        async def told() -> bool:
            return there.complaints() == ["the group coordinator's heartbeat_task has ended"]

        await until(told)


class OldChain(Aggregate):
    """The third shape of a chain: the first had `title`, the second `name` without kind."""

    schema_version: ClassVar[int] = 3
    name: str
    kind: str


GOLDEN = {
    1: {"_id": "old-1", "version": 2, "at": 5, "schema": 1, "regions": [], "title": "泵阀"},
    2: {"_id": "old-2", "version": 1, "at": 6, "schema": 2, "regions": [], "name": "轴承"},
    3: {"_id": "old-3", "version": 1, "at": 7, "schema": 3, "regions": [], "name": "齿轮", "kind": "supply"},
}


async def test_rule_25_a_document_of_every_past_schema_is_read_as_today_s(stack: Stack) -> None:
    def named(document: dict[str, Any]) -> dict[str, Any]:
        return {**{k: v for k, v in document.items() if k != "title"}, "name": document["title"]}

    def kinded(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "kind": "industry"}

    client = stack.as_user("evaluation")
    await client.evaluation.old_chains.insert_many([dict(document) for document in GOLDEN.values()])
    chains = Documents(client.evaluation, "old_chains", OldChain, upcasters={1: named, 2: kinded})
    read = [await chains.read(f"old-{n}", NATIONAL) for n in GOLDEN]
    client.close()
    assert [(c.id, c.name, c.kind, c.version, c.at) for c in read] == [
        ("old-1", "泵阀", "industry", 2, 5), ("old-2", "轴承", "industry", 1, 6), ("old-3", "齿轮", "supply", 1, 7),
    ]  # fmt: skip


async def test_rule_26_figures_are_exact(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack) as there:
        await until(lambda: settled(here, there))
        before, heard = await here.figures(), await there.figures()
        await asyncio.gather(*(register(here, f"figures-{i}", "n") for i in range(15)))
        await register(here, "figures-0", "n")  # the same command once more: no new one
        await register(here, "figures-0", "again")
        await until(lambda: settled(here, there))

        async def counted() -> bool:
            now = await here.figures()
            return now["pending"] == 0 and now["published"] == now["facts"]

        await until(counted)
        await until(lambda: settled(here, there))
        after, then = await here.figures(), await there.figures()
        assert after["commands"] - before["commands"] == 16
        assert after["facts"] - before["facts"] == 16
        assert then["applied"] - heard["applied"] == 16
        assert then["skipped"] == heard["skipped"]


async def test_a_broker_killed_under_load_loses_and_doubles_nothing(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack) as there:
        load = asyncio.gather(*(register(here, f"broker-{i}", "n") for i in range(100)))
        await stack.kill("kafka-0")
        await load
        await stack.start("kafka-0")

        async def all_there() -> bool:
            return await there.database.known_chains.count_documents({"_id": {"$regex": "^broker-"}}) == 100

        await until(all_there, seconds=90)
        assert [await names(there, f"broker-{i}") for i in range(100)] == [["n"]] * 100


async def test_mongod_killed_under_load_loses_and_doubles_nothing(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack) as there:
        load = asyncio.gather(*(register(here, f"mongod-{i}", "n") for i in range(100)), return_exceptions=True)
        await stack.kill("mongod-0")
        await stack.start("mongod-0")
        outcomes = await load
        again = await asyncio.gather(*(register(here, f"mongod-{i}", "n") for i in range(100)))
        assert all(first == then for first, then in zip(outcomes, again, strict=True) if isinstance(first, Answer))

        async def all_there() -> bool:
            return await there.database.known_chains.count_documents({"_id": {"$regex": "^mongod-"}}) == 100

        await until(all_there, seconds=90)
        assert [await names(there, f"mongod-{i}") for i in range(100)] == [["n"]] * 100
