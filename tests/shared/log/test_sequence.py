"""Rules 9 to 12: one order for all facts of a service, and Kafka as its copy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from deploy.local.stack import Stack
from shared.log.publisher import Publisher, PublishFailed
from shared.log.sequencer import PENDING
from tests.shared.log.support import TOPIC, listener, names, published, publisher, register, settled, until


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
        await until(lambda: settled(here, there))
        assert there.consumer is not None
        assert there.consumer.counts["duplicates"] > 0
        assert await names(there, "nine") == ["before", "after"]


async def test_rule_09_what_waits_is_found_by_its_index_however_long_the_log_is(stack: Stack) -> None:
    async with publisher(stack) as log:
        await register(log, "index", "n")
        await until(lambda: published(log))
        commits = log.database.commits
        for cursor in (commits.find(PENDING, {"_id": 1}), commits.find(PENDING).sort("at", 1).limit(500)):
            plan = (await cursor.explain())["executionStats"]
            assert plan["totalDocsExamined"] == 0


async def test_rule_10_a_failed_send_ends_the_session_and_everything_unmarked_is_sent_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Publisher] = []
    plain = Publisher.publish

    async def fails_once(self: Publisher, commits: Any, *, service: str) -> None:
        if commits:
            sessions.append(self)
        await plain(self, commits, service=service)
        if commits and len(sessions) == 1:
            raise PublishFailed("the acknowledgement is lost")

    async with publisher(stack) as here, listener(stack) as there:
        await until(lambda: published(here))
        monkeypatch.setattr(Publisher, "publish", fails_once)
        await register(here, "ten", "before")
        await register(here, "ten", "after")

        async def both() -> bool:
            return await names(there, "ten") == ["before", "after"]

        await until(both)
        await until(lambda: published(here))
        assert sessions[0] is not sessions[-1]
        assert sessions.count(sessions[0]) == 1
        await until(lambda: settled(here, there))
        assert await names(there, "ten") == ["before", "after"]


async def test_rule_11_a_place_in_the_log_tells_for_ever_what_was_known(stack: Stack) -> None:
    async with publisher(stack) as log:

        async def known(place: int) -> list[str]:
            found = log.database.commits.find({"seq": {"$lte": place}}).sort("seq", 1)
            return [e["id"] async for c in found for i, e in enumerate(c.get("events", ())) if c["seq"] + i <= place]

        await register(log, "eleven", "a")
        await until(lambda: published(log))
        place = (await log.database.sequencer.find_one({"_id": "sequencer"}))["next"] - 1
        before = await known(place)
        await asyncio.gather(*(register(log, f"eleven-{i}", "later") for i in range(10)))
        await until(lambda: published(log))
        assert await known(place) == before
        assert len(before) == place


async def test_rule_12_seq_is_dense_and_every_partition_chains_to_the_fact_before(stack: Stack) -> None:
    async with publisher(stack) as here:
        await asyncio.gather(*(register(here, f"twelve-{i}", "n") for i in range(20)))
        await until(lambda: published(here))
        seqs, last = [], {}
        numbered = {"events": {"$exists": True}, "seq": {"$exists": True}}  # others may be committing beside us
        async for commit in here.database.commits.find(numbered).sort("seq", 1):
            for i, event in enumerate(commit["events"]):
                seqs.append(commit["seq"] + i)
                lane = (event["topic"], event["partition"])
                assert event["prev"] == last.get(lane, 0)
                last[lane] = commit["seq"] + i
        assert seqs == list(range(1, len(seqs) + 1))


async def test_rule_12_a_database_older_than_its_topics_is_not_published_from(stack: Stack) -> None:
    async with publisher(stack) as log:
        await register(log, "restored", "n")
        await until(lambda: published(log))
        state = await log.database.sequencer.find_one({"_id": "sequencer"})
    database = stack.as_user("pilot_registration").pilot_registration
    await database.sequencer.update_one({"_id": "sequencer"}, {"$set": {"next": 1, "published": 0}})
    async with publisher(stack) as log:

        async def refused() -> bool:
            return any("the database was restored" in complaint for complaint in log.complaints())

        await until(refused)
    back = {"next": state["next"], "published": state["published"]}
    await database.sequencer.update_one({"_id": "sequencer"}, {"$set": back})
    database.client.close()


async def test_rule_12_and_26_the_whole_log_holds_together_and_says_so(stack: Stack) -> None:
    async with publisher(stack) as log:
        await asyncio.gather(*(register(log, f"whole-{i % 4}", f"n{i}") for i in range(20)))
        await until(lambda: published(log))
        verdict = await log.verify()
        assert verdict.faults == []
        assert verdict.facts == (await log.figures())["facts"]
        admin = stack.admin()
        last = await log.database.commits.find_one(
            {"seq": {"$exists": True}, "events": {"$exists": True}}, sort=[("seq", -1)]
        )
        await admin.pilot_registration.commits.update_one({"_id": last["_id"]}, {"$inc": {"events.0.prev": -1}})
        assert any("follows" in fault for fault in (await log.verify()).faults)
        await admin.pilot_registration.commits.update_one({"_id": last["_id"]}, {"$inc": {"events.0.prev": 1}})
        admin.close()


async def test_what_travels_is_a_cloud_event(stack: Stack) -> None:
    from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
    from cloudevents.core.formats.json import JSONFormat

    async with publisher(stack) as here:
        await register(here, "cloud", "联动")
        await until(lambda: published(here))
        reader = AIOKafkaConsumer(TOPIC, bootstrap_servers=stack.kafka, auto_offset_reset="earliest")
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
