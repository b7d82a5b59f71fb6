"""Rules 1 to 8: what one command writes, on a real replica set."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deploy.local.stack import Stack
from shared.contracts.pilot_registration import ChainRegistered
from shared.kernel import SYSTEM, Answer, Outcome
from shared.log import sessions
from shared.log.committer import Closing, IdempotencyKeyReused
from shared.log.runtime import Log
from shared.log.store import Documents, Rows
from shared.log.writes import CommandTooLarge, FactTooLarge
from tests.shared.log.support import (
    THEN,
    Chain,
    echo,
    listener,
    names,
    process,
    publisher,
    register,
    settled,
    until,
)


async def execute(log: Log, key: str, call: Any, *, lock: str = "") -> Answer:
    return await log.commands.execute(
        key=key, body="b", lock=lock or key, actor=SYSTEM, correlation_id="test", call=call
    )


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
            chain = Chain(id="guarded")
            chain.rename(quota.name)
            chains.save(chain)
            return chain

        await execute(here, "guarded", use_quota)
        stored = await here.database.chains.find_one({"_id": "guarded"})
        assert seen == ["open", "closed"]
        assert stored["name"] == "closed"


async def test_rule_01_two_commands_that_each_guard_what_the_other_changes_do_not_both_go_through(stack: Stack) -> None:
    async with publisher(stack) as log:
        chains = Documents(log.database, "chains", Chain)
        await register(log, "skew-a", "free")
        await register(log, "skew-b", "free")
        both_have_read = asyncio.Barrier(2)
        tries: list[str] = []

        async def take(mine: str, other: str) -> Chain:
            """Each may be taken only while the other is free."""
            first, second = await chains.find_one(mine), await chains.find_one(other)
            assert first is not None
            assert second is not None
            tries.append(mine)
            if tries.count(mine) == 1:
                await both_have_read.wait()
            if second.name == "free":
                first.rename("taken")
            else:
                first.rename("refused")
            chains.guard(second)
            chains.save(first)
            return first

        await asyncio.gather(
            execute(log, "take-a", lambda: take("skew-a", "skew-b")),
            execute(log, "take-b", lambda: take("skew-b", "skew-a")),
        )
        stored = [(await log.database.chains.find_one({"_id": id}))["name"] for id in ("skew-a", "skew-b")]
        assert sorted(stored) == ["refused", "taken"]


async def test_rule_02_and_16_a_fact_is_committed_published_and_applied_once(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack) as there:
        answers = await asyncio.gather(*(register(here, f"one-{i}", "n") for i in range(50)))
        assert all(answer.version == 1 and len(answer.facts) == 1 for answer in answers)

        async def all_there() -> bool:
            return await there.database.known_chains.count_documents({"_id": {"$regex": "^one-"}}) == 50

        await until(all_there)
        assert [await names(there, f"one-{i}") for i in range(50)] == [["n"]] * 50
        assert there.complaints() == []


async def test_rule_02_the_answer_tells_the_version_of_its_own_aggregate_whatever_else_was_saved(stack: Stack) -> None:
    async with publisher(stack) as log:
        plain, twins = Documents(log.database, "chains", Chain), Documents(log.database, "twins", Chain)

        async def call(*, only_read: bool) -> Outcome:
            chain = await plain.find_one("same-id") or Chain(id="same-id")
            if not only_read:
                chain.rename("first")
                chain.rename("second")
                plain.save(chain)
            twin = Chain(id="other-id" if only_read else "same-id")
            fact = ChainRegistered(chain_id=f"twin-of-{twin.id}", name="t", industry_codes=())
            twin.record(fact, effective_at=THEN)
            twins.save(twin)
            return Outcome(chain, {"told": True})

        await log.database.create_collection("twins")
        saved = await execute(log, "versions", lambda: call(only_read=False))
        read = await execute(log, "versions-again", lambda: call(only_read=True))
        assert (saved.version, len(saved.facts), saved.details) == (2, 3, {"told": True})
        assert (read.version, len(read.facts)) == (2, 1)


async def test_rule_02_who_waits_when_the_process_stops_is_told_to_come_again(stack: Stack) -> None:
    async with publisher(stack) as log:
        await log.committer.drain(5)
        with pytest.raises(Closing):
            await register(log, "closing", "n")


async def test_rule_03_twenty_equal_requests_make_one_fact_and_twenty_equal_answers(stack: Stack) -> None:
    async with publisher(stack) as here, publisher(stack, slot=1) as other:
        answers = await asyncio.gather(
            *(register(log, "three", "n", key="three") for log in [here, other] for _ in range(10))
        )
        assert len(set(map(repr, answers))) == 1
        assert await here.database.commits.count_documents({"events.subject": "three"}) == 1


async def test_rule_03_what_one_command_cannot_write_does_not_fail_the_others_of_its_group(stack: Stack) -> None:
    async with publisher(stack) as log:
        rows = Rows(log.database, "chains")

        async def broken() -> Chain:
            rows.set("no-dollar-here", {"bad": {"$nonsense\0": 1}})
            return Chain(id="broken")

        outcomes = await asyncio.gather(
            execute(log, "broken", broken), *(register(log, f"beside-{i}", "n") for i in range(20)),
            return_exceptions=True,
        )  # fmt: skip
        assert isinstance(outcomes[0], Exception)
        assert all(isinstance(outcome, Answer) for outcome in outcomes[1:])


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


async def test_rule_07_a_process_killed_inside_its_transaction_holds_nothing_up(stack: Stack) -> None:
    admin = stack.admin()

    async def open_transactions() -> int:
        operations = [{"$currentOp": {"allUsers": True, "idleSessions": True}}, {"$match": {"type": "idleSession"}}]
        return len(
            await admin.admin.aggregate([*operations, {"$match": {"transaction": {"$exists": True}}}]).to_list(None)
        )

    async with process(
        stack, "register", "pilot_registration", 0, LIANDONG_FAILPOINTS="commit.after_writes=kill"
    ) as child:
        await child.wait()
    assert await open_transactions() == 1

    session = await sessions.take_slot(
        stack.as_user("pilot_registration").pilot_registration, "pilot_registration-0/committer"
    )
    await session.end_session()
    assert await open_transactions() == 0

    async with publisher(stack) as log:
        answer = await register(log, "seven", "second")
        assert answer.version == 1  # what the killed process wrote was never committed
    admin.close()


async def test_rule_08_chunks_commit_one_by_one_and_a_retry_skips_what_is_committed(stack: Stack) -> None:
    async with publisher(stack) as log:
        decided: list[int] = []

        async def chunk(n: int) -> Answer:
            async def call() -> Chain:
                decided.append(n)
                chain = await Documents(log.database, "chains", Chain).find_one(f"chunk-{n}") or Chain(id=f"chunk-{n}")
                chain.rename("n")
                Documents(log.database, "chains", Chain).save(chain)
                return chain

            return await log.commands.execute(
                key=f"import#{n}", body="b", lock="import", actor=SYSTEM, correlation_id="t", call=call
            )

        first = [await chunk(n) for n in (1, 2)]
        again = [await chunk(n) for n in (1, 2, 3)]
        assert again[:2] == first
        assert await log.database.commits.count_documents({"commands.key": {"$regex": "^import#"}}) == 3
        versions = [(await log.database.chains.find_one({"_id": f"chunk-{n}"}))["version"] for n in (1, 2, 3)]
        assert versions == [1, 1, 1]


async def test_rule_08_what_is_too_large_is_refused_before_it_is_queued(stack: Stack) -> None:
    async with publisher(stack) as log:
        chains = Documents(log.database, "chains", Chain)

        async def large(count: int, size: int) -> Chain:
            chain = Chain(id="large")
            for _ in range(count):
                chain.rename("质" * (size // 3))
            chains.save(chain)
            return chain

        with pytest.raises(FactTooLarge):
            await execute(log, "large-1", lambda: large(1, 256 * 1024))
        with pytest.raises(CommandTooLarge):
            await execute(log, "large-2", lambda: large(21, 200 * 1024))
        assert (await execute(log, "large-3", lambda: large(19, 200 * 1024))).version == 19


async def test_the_thread_of_a_request_runs_through_its_fact_into_what_the_fact_causes(stack: Stack) -> None:
    seen = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with publisher(stack) as here, listener(stack, also=echo) as there:
        await register(here, "traced", "n", traceparent=seen)

        async def echoed() -> bool:
            return await there.database.commits.count_documents({"events.data": {"$regex": "traced"}}) == 1

        await until(echoed)
        [fact] = (await here.database.commits.find_one({"events.subject": "traced"}))["events"]
        commit = await there.database.commits.find_one({"events.data": {"$regex": "traced"}})
        [caused] = [event for event in commit["events"] if "traced" in event["data"]]
        assert fact["traceparent"] == caused["traceparent"] == seen
        assert caused["causation_id"] == fact["id"]
        assert caused["correlation_id"] == "of-traced"
        await until(lambda: settled(here, there))
