"""The path of a fact on real Kafka and a real replica set, each test named by its rule of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pydantic import SecretStr

from deploy.local.stack import Stack
from shared.contracts.fact import Recorded
from shared.contracts.pilot_registration import ChainRegistered
from shared.kernel import SYSTEM, Aggregate, Answer
from shared.log.committer import IdempotencyKeyReused
from shared.log.due import DueQueue, MongoAgenda
from shared.log.runtime import Log
from shared.log.store import Documents, Rows
from shared.platform.mongo import connect
from shared.platform.settings import ServiceSettings


class Chain(Aggregate):
    name: str = ""


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 40) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def settings(stack: Stack, service: str, slot: int = 0) -> ServiceSettings:
    password = (stack.home / "secrets" / service / "mongo_password").read_text()
    return ServiceSettings(
        env="test", service=service, service_slot=f"{service}-{slot}", kafka=stack.kafka, mongo=stack.mongo,
        mongo_password=SecretStr(password), hmac_key=SecretStr("h"), cursor_key=SecretStr("c"), issuer="http://x",
        sequencer_lease_seconds=1.0,
    )  # fmt: skip


@asynccontextmanager
async def publisher(stack: Stack, slot: int = 0) -> AsyncIterator[Log]:
    database = connect(settings(stack, "pilot_registration", slot))
    log = Log(database, settings(stack, "pilot_registration", slot))
    await log.start(reactions={}, due={}, extra_indexes=(), collections=("chains",))
    try:
        yield log
    finally:
        await log.stop()
        database.client.close()


@asynccontextmanager
async def listener(
    stack: Stack, react: Callable[[Recorded[ChainRegistered]], Awaitable[None]] | None = None
) -> AsyncIterator[Log]:
    database = connect(settings(stack, "evaluation"))
    rows = Rows(database, "known_chains")

    async def on_chain_registered(fact: Recorded[ChainRegistered]) -> None:
        if react is not None:
            await react(fact)
        rows.push(fact.subject, "names", fact.fact.name)

    log = Log(database, settings(stack, "evaluation"))
    table: Any = {ChainRegistered: on_chain_registered}
    await log.start(reactions=table, due={}, extra_indexes=(), collections=("known_chains",))
    try:
        yield log
    finally:
        await log.stop()
        database.client.close()


async def register(log: Log, id: str, name: str, *, key: str | None = None, body: str = "b") -> Answer:
    chains = Documents(log.database, "chains", Chain)

    async def call() -> Chain:
        chain = await chains.find_one(id) or Chain(id=id)
        chain.name = name
        chain.record(
            ChainRegistered(chain_id=id, name=name, industry_codes=()), effective_at=datetime(2026, 1, 1, tzinfo=UTC)
        )
        chains.save(chain)
        return chain

    return await log.commands.execute(
        key=key or f"{id}/{name}", body=body, lock=id, actor=SYSTEM, correlation_id="test", call=call
    )


async def caught_up(log: Log) -> bool:
    figures = await log.figures()
    return not sum(figures["lag"].values())


async def published(log: Log) -> bool:
    state = await log.database.sequencer.find_one({"_id": "sequencer"})
    return state["published"] == state["next"] - 1 and not await log.database.commits.find_one({"pending": True})


async def names(log: Log, id: str) -> list[str]:
    row = await log.database.known_chains.find_one({"_id": id})
    return row["names"] if row else []


async def test_rule_02_and_16_a_fact_is_committed_published_and_applied_once(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack) as there:
        answers = await asyncio.gather(*(register(here, f"one-{i}", "n") for i in range(50)))
        assert all(answer.version == 1 and len(answer.facts) == 1 for answer in answers)

        async def all_there() -> bool:
            return await there.database.known_chains.count_documents({"_id": {"$regex": "^one-"}}) == 50

        await until(all_there)
        assert [await names(there, f"one-{i}") for i in range(50)] == [["n"]] * 50
        assert there.complaints() == []


async def test_rule_03_twenty_equal_requests_make_one_fact_and_twenty_equal_answers(stack: Stack) -> None:
    async with publisher(stack) as here, publisher(stack, slot=1) as other:
        answers = await asyncio.gather(
            *(register(log, "three", "n", key="three") for log in [here, other] for _ in range(10))
        )
        assert len(set(map(repr, answers))) == 1
        assert await here.database.commits.count_documents({"events.subject": "three"}) == 1


async def test_rule_04_another_body_under_the_same_key_is_refused(stack: Stack) -> None:
    async with publisher(stack) as here:
        await register(here, "four", "n", key="four")
        with pytest.raises(IdempotencyKeyReused):
            await register(here, "four", "n", key="four", body="other")


async def test_rule_05_parallel_changes_of_one_aggregate_from_two_processes_all_count(stack: Stack) -> None:
    async with publisher(stack) as here, publisher(stack, slot=1) as other:
        logs = [here, other]
        await asyncio.gather(*(register(logs[i % 2], "five", f"n{i}") for i in range(30)))
        versions = [
            event["version"]
            async for commit in here.database.commits.find({"events.subject": "five"})
            for event in commit["events"]
            if event["subject"] == "five"
        ]
        assert sorted(versions) == list(range(1, 31))


async def test_rule_06_recorded_time_grows_with_every_version_whatever_the_clocks_say(stack: Stack) -> None:
    async with publisher(stack) as here, publisher(stack, slot=1) as other:
        other.clock.offset_us = -700_000
        for i in range(6):
            await register([here, other][i % 2], "six", f"n{i}")
        times = [
            commit["events"][0]["at"]
            async for commit in here.database.commits.find({"events.subject": "six"}).sort("events.version", 1)
        ]
        assert times == sorted(set(times))


async def test_rule_09_a_successor_publishes_again_with_the_same_numbers_and_nobody_doubles(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack) as there:
        await register(here, "nine", "before")
        await until(lambda: published(here))
        # The mark of what was published is lost, as when a leader dies between the acks and its next round.
        await here.database.sequencer.update_one({"_id": "sequencer"}, {"$inc": {"epoch": 1}, "$set": {"published": 0}})
        await register(here, "nine", "after")

        async def both() -> bool:
            return await names(there, "nine") == ["before", "after"]

        await until(both)
        await until(lambda: caught_up(there))
        assert there.consumer is not None
        assert there.consumer.counts["duplicates"] > 0
        assert await names(there, "nine") == ["before", "after"]


async def test_rule_12_seq_is_dense_and_every_partition_chains_to_the_fact_before(stack: Stack) -> None:
    async with publisher(stack) as here:
        await asyncio.gather(*(register(here, f"twelve-{i}", "n") for i in range(20)))
        await until(lambda: published(here))
        seqs, last = [], {}
        async for commit in here.database.commits.find({"events": {"$exists": True}}).sort("seq", 1):
            for i, event in enumerate(commit["events"]):
                seqs.append(commit["seq"] + i)
                lane = (event["topic"], event["partition"])
                assert event["prev"] == last.get(lane, 0)
                last[lane] = commit["seq"] + i
        assert seqs == list(range(1, len(seqs) + 1))


async def test_rule_15_a_stranger_with_a_huge_seq_loses_nothing(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack) as there:
        producer = AIOKafkaProducer(bootstrap_servers=stack.kafka)
        await producer.start()
        for partition in range(3):
            await producer.send_and_wait(
                "pilot-registration.chains", b"{}", headers=[("ce_seq", b"1000000000000")], partition=partition
            )
            # No text in any encoding of ours: FastStream's parser would fail before we are asked.
            await producer.send_and_wait(
                "pilot-registration.chains", None, key=b"\xff", headers=[("ce_id", b"\xff\xfe")], partition=partition
            )
        await producer.stop()
        await register(here, "fifteen", "n")

        async def there_it_is() -> bool:
            return await names(there, "fifteen") == ["n"]

        await until(there_it_is)
        assert await there.database.dead_letters.count_documents({"state": "foreign"}) == 6


async def test_rule_16_a_restarted_consumer_goes_on_where_it_was(stack: Stack) -> None:
    async with publisher(stack) as here:
        async with listener(stack) as there:
            await register(here, "sixteen", "a")
            await until(lambda: caught_up(there))
        await register(here, "sixteen", "b")
        async with listener(stack) as there:

            async def both() -> bool:
                return await names(there, "sixteen") == ["a", "b"]

            await until(both)


async def test_rule_20_poison_becomes_a_letter_and_later_facts_of_its_stream_wait(stack: Stack) -> None:
    async def dislike(fact: Recorded[ChainRegistered]) -> None:
        if fact.fact.name == "poison":
            raise ValueError("bad")

    async with publisher(stack) as here, listener(stack, dislike) as there:
        for id, name in [("twenty", "poison"), ("twenty", "later"), ("twenty-well", "n")]:
            await register(here, id, name)

        async def lies() -> bool:
            return await there.database.dead_letters.count_documents({"stream": {"$regex": "/twenty$"}}) == 2

        await until(lies)
        await until(lambda: caught_up(there))
        letters = await there.database.dead_letters.find({"stream": {"$regex": "/twenty$"}}).sort("seq", 1).to_list(2)
        assert [(found["state"], found["code"]) for found in letters] == [("open", "ValueError"), ("parked", "waits")]
        assert await names(there, "twenty") == []
        assert await names(there, "twenty-well") == ["n"]


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


async def test_what_travels_is_a_cloud_event(stack: Stack) -> None:
    from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
    from cloudevents.core.formats.json import JSONFormat

    async with publisher(stack) as here:
        await register(here, "cloud", "联动")
        await until(lambda: published(here))
        reader = AIOKafkaConsumer(
            "pilot-registration.chains", bootstrap_servers=stack.kafka, auto_offset_reset="earliest"
        )
        await reader.start()
        async for record in reader:
            if record.key == b"cloud":
                break
        await reader.stop()
        event = from_binary_event(
            KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value), JSONFormat()
        )
        assert event.get_type() == "liandong.pilot-registration.ChainRegistered.v1"
        assert event.get_subject() == "cloud"
        assert event.get_data() == {"chain_id": "cloud", "industry_codes": [], "name": "联动"}


async def test_rule_01_a_guarded_read_that_changed_makes_the_command_decide_afresh(stack: Stack) -> None:
    async with publisher(stack) as here, publisher(stack, slot=1) as other:
        await register(here, "quota", "open")
        seen: list[str] = []

        async def use_quota() -> Chain:
            chains = Documents(here.database, "chains", Chain)
            quota = await chains.find_one("quota")
            assert quota is not None
            seen.append(quota.name)
            if len(seen) == 1:
                await register(other, "quota", "closed")  # somebody else changes it between our read and our commit
            chains.guard(quota)
            chain = Chain(id="guarded", name=quota.name)
            fact = ChainRegistered(chain_id="guarded", name=quota.name, industry_codes=())
            chain.record(fact, effective_at=datetime(2026, 1, 1, tzinfo=UTC))
            chains.save(chain)
            return chain

        await here.commands.execute(
            key="guarded", body="b", lock="guarded", actor=SYSTEM, correlation_id="test", call=use_quota
        )
        stored = await here.database.chains.find_one({"_id": "guarded"})
        assert seen == ["open", "closed"]
        assert stored["name"] == "closed"


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
