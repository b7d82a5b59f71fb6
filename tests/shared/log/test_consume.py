"""Rules 13 to 21: every fact of others takes effect once, in order, or something says why not."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from deploy.local.stack import Stack
from shared.contracts.fact import Recorded
from shared.contracts.pilot_registration import ChainRegistered
from shared.kernel import SYSTEM, Actor
from shared.log.consumer import ownership
from shared.log.consumer.replay import LetterForeign, LetterSettled, ReasonMissing, ReplayFailed
from shared.log.store import Rows
from tests.shared.log.support import (
    TOPIC,
    React,
    caught_up,
    echo,
    listener,
    names,
    note,
    process,
    published,
    publisher,
    register,
    settled,
    until,
)  # fmt: skip


async def test_rule_13_a_process_keeps_its_place_in_the_group_by_its_slot_and_commits_by_hand(stack: Stack) -> None:
    async with listener(stack) as there:
        assert there.consumer is not None
        await until(lambda: caught_up(there))
        async with ownership.admin(stack.kafka) as admin:
            [answer] = await admin.describe_consumer_groups(["evaluation"])
        [group] = answer.to_object()["groups"]
        assert {member["client_id"] for member in group["members"]} == {"evaluation-0"}
        kafka = there.consumer._subscriber.consumer
        assert kafka._group_instance_id == "evaluation-0"
        assert kafka._enable_auto_commit is False
        owners = [position["owner"] async for position in there.database.positions.find({})]
        assert set(owners) == {"evaluation-0"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"next": 10**6}, "the topic holds offsets"), ({"tail": "other"}, "is not the one applied last")],
)
async def test_rule_14_a_position_that_contradicts_its_topic_stops_with_a_sentence(
    stack: Stack, change: dict[str, Any], sentence: str
) -> None:
    async with publisher(stack) as here, listener(stack) as there:
        await register(here, "fourteen", "n")
        await until(lambda: settled(here, there))
    database = stack.as_user("evaluation").evaluation
    before = await database.positions.find_one({"next": {"$gt": 0}})
    await database.positions.update_one({"_id": before["_id"]}, {"$set": change})
    async with listener(stack) as there:

        async def says_so() -> bool:
            return any(sentence in c and before["_id"] in c for c in there.complaints())

        await until(says_so)
    await database.positions.update_one({"_id": before["_id"]}, {"$set": {name: before[name] for name in change}})
    async with listener(stack) as there:
        await until(lambda: caught_up(there))
        assert there.complaints() == []
    database.client.close()


async def test_rule_14_facts_of_another_log_stop_with_a_sentence(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack) as there:
        await register(here, "log-id", "n")
        await until(lambda: settled(here, there))
    database = stack.as_user("evaluation").evaluation
    before = {p["_id"]: p["log_id"] async for p in database.positions.find({"log_id": {"$ne": None}})}
    for name in before:
        await database.positions.update_one({"_id": name}, {"$set": {"log_id": "another"}})
    async with publisher(stack) as here, listener(stack) as there:
        await register(here, "log-id", "later")

        async def says_so() -> bool:
            return any("we know another: rebuild" in complaint for complaint in there.complaints())

        await until(says_so)
        assert await names(there, "log-id") == ["n"]
    for name, log_id in before.items():
        await database.positions.update_one({"_id": name}, {"$set": {"log_id": log_id}})
    async with listener(stack) as there:
        await until(lambda: caught_up(there))
        assert await names(there, "log-id") == ["n", "later"]
    database.client.close()


def keeps_notes(database: Any) -> React:
    rows = Rows(database, "notes")

    async def on_chain_noted(fact: Recorded[Any]) -> None:
        rows.push(fact.subject, "notes", fact.fact.note)

    return on_chain_noted


async def test_rule_18_a_newly_heard_type_catches_up_before_anything_else_is_applied(stack: Stack) -> None:
    async with publisher(stack) as here:
        async with listener(stack) as there:
            await register(here, "notes", "n")
            for i in range(5):
                await note(here, "notes", f"before {i}")
            await until(lambda: settled(here, there))
            assert await there.database.notes.find_one({"_id": "notes"}) is None
        async with listener(stack, noted=keeps_notes) as there:
            await note(here, "notes", "after")
            await until(lambda: settled(here, there))
        async with listener(stack) as there:  # an older program for a while
            await note(here, "notes", "meanwhile")
            await until(lambda: settled(here, there))
        async with listener(stack, noted=keeps_notes) as there:
            await note(here, "notes", "at last")
            await until(lambda: settled(here, there))
            told = (await there.database.notes.find_one({"_id": "notes"}))["notes"]
            assert told == [*(f"before {i}" for i in range(5)), "after", "meanwhile", "at last"]
            assert await names(there, "notes") == ["n"]


async def test_rule_15_a_stranger_with_a_huge_seq_loses_nothing(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack) as there:
        producer = AIOKafkaProducer(bootstrap_servers=stack.kafka)
        await producer.start()
        for partition in range(3):
            await producer.send_and_wait(TOPIC, b"{}", headers=[("ce_seq", b"1000000000000")], partition=partition)
            # No text in any encoding of ours: FastStream's parser would fail before we are asked.
            await producer.send_and_wait(
                TOPIC, None, key=b"\xff", headers=[("ce_id", b"\xff\xfe")], partition=partition
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
            await until(lambda: settled(here, there))
        await register(here, "sixteen", "b")
        async with listener(stack) as there:

            async def both() -> bool:
                return await names(there, "sixteen") == ["a", "b"]

            await until(both)


async def until_ready(child: asyncio.subprocess.Process) -> None:
    """Reads past what the child logs until it says that it is ready."""
    assert child.stdout is not None
    async with asyncio.timeout(60):
        while (line := await child.stdout.readline()) != b"ready\n":
            assert line, "the process ended before it was ready"


async def test_rule_16_from_one_process_to_three_and_back_with_one_asleep_nothing_is_lost_or_doubled(
    stack: Stack,
) -> None:
    async with publisher(stack) as here:
        load = asyncio.create_task(_load(here, "group", 240))
        async with (
            process(stack, "listen", "evaluation", 0) as first,
            process(stack, "listen", "evaluation", 1) as second,
        ):
            async with process(stack, "listen", "evaluation", 2) as third:
                for child in (first, second, third):
                    await until_ready(child)
                second.send_signal(signal.SIGSTOP)

                async def nobody_waits_for_it() -> bool:
                    return await _owners(stack) <= {"evaluation-0", "evaluation-2"}

                await until(nobody_waits_for_it, seconds=120)
                second.send_signal(signal.SIGCONT)
                third.kill()
            second.kill()
            await load
            seen = stack.as_user("evaluation").evaluation

            async def all_there() -> bool:
                return await seen.known_chains.count_documents({"_id": {"$regex": "^group-"}}) == 240

            await until(all_there, seconds=120)
            rows = await seen.known_chains.find({"_id": {"$regex": "^group-"}}).to_list(None)
            assert [row["names"] for row in rows] == [["n"]] * 240
            seen.client.close()


async def _load(log: Any, prefix: str, count: int) -> None:
    for i in range(count):
        await register(log, f"{prefix}-{i}", "n")
        await asyncio.sleep(0.1)


async def _owners(stack: Stack) -> set[str]:
    client = stack.as_user("evaluation")
    try:
        return set(await client.evaluation.positions.distinct("owner"))
    finally:
        client.close()


def counts_all(database: Any) -> React:
    """One card fed by every partition: reads what is there and writes one more."""
    cards = Rows(database, "cards")

    async def on_chain_registered(fact: Recorded[ChainRegistered]) -> None:
        if fact.subject.startswith("seventeen"):
            card = await cards.get("nation") or {"count": 0, "weight": 0}
            cards.set("nation", {"count": card["count"] + 1, "weight": card["weight"] + len(fact.subject)})

    return on_chain_registered


async def test_rule_17_a_card_fed_by_several_partitions_counts_every_fact(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack, also=counts_all) as there:
        ids = [f"seventeen-{i}" for i in range(60)]
        await asyncio.gather(*(register(here, id, "n") for id in ids))

        async def all_there() -> bool:
            return await there.database.known_chains.count_documents({"_id": {"$regex": "^seventeen"}}) == 60

        await until(all_there)
        card = await there.database.cards.find_one({"_id": "nation"})
        partitions = {
            event["partition"]
            async for commit in here.database.commits.find({"events.subject": {"$regex": "^seventeen"}})
            for event in commit["events"]
        }
        assert (card["count"], card["weight"]) == (60, sum(map(len, ids)))
        assert len(partitions) > 1


async def test_rule_18_a_reactions_facts_keep_their_cause_and_the_commit_names_what_it_took_in(stack: Stack) -> None:
    async with publisher(stack) as here:
        await asyncio.gather(*(register(here, f"eighteen-{i}", "n") for i in range(12)))
        await until(lambda: published(here))
        causes = {
            event["subject"]: event
            async for commit in here.database.commits.find({"events.subject": {"$regex": "^eighteen"}})
            for event in commit["events"]
        }
        async with listener(stack, also=echo) as there:
            await until(lambda: settled(here, there))
            said = [
                (event, commit)
                async for commit in there.database.commits.find({"events.subject": {"$regex": "^echo-eighteen"}})
                for event in commit["events"]
                if event["subject"].startswith("echo-eighteen")
            ]
        assert len(said) == 12
        for event, commit in said:
            cause = causes[event["subject"].removeprefix("echo-")]
            assert (event["causation_id"], event["correlation_id"]) == (cause["id"], f"of-{cause['subject']}")
            [taken] = commit["inputs"]
            assert taken["partition"] == cause["partition"]
            assert taken["from"] <= taken["to"]
        assert len({event["id"] for event, _commit in said}) == 12


async def test_rule_19_a_fact_that_comes_before_what_it_refers_to_completes_later(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack, noted=keeps_notes) as there:
        await note(here, "nineteen", "first a note")
        await register(here, "nineteen", "then the chain")
        await until(lambda: settled(here, there))
        assert (await there.database.notes.find_one({"_id": "nineteen"}))["notes"] == ["first a note"]
        assert await names(there, "nineteen") == ["then the chain"]
        assert await there.database.dead_letters.count_documents({"subject": "nineteen"}) == 0


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
        await until(lambda: settled(here, there))
        letters = await there.database.dead_letters.find({"stream": {"$regex": "/twenty$"}}).sort("seq", 1).to_list(2)
        assert [(found["state"], found["code"]) for found in letters] == [("open", "ValueError"), ("parked", "waits")]
        assert await names(there, "twenty") == []
        assert await names(there, "twenty-well") == ["n"]


class Moody:
    """Dislikes names that begin with `poison` until it is healed."""

    def __init__(self) -> None:
        self.healed = False

    async def __call__(self, fact: Recorded[ChainRegistered]) -> None:
        if fact.fact.name.startswith("poison") and not self.healed:
            raise ValueError("bad")


async def letters_of(log: Any, id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await log.database.dead_letters.find({"subject": id}).sort("seq", 1).to_list(None)
    return found


async def test_rule_20_replay_goes_lowest_first_and_what_waited_follows_once(stack: Stack) -> None:
    moody = Moody()
    async with publisher(stack) as here, listener(stack, moody, also=echo) as there:
        for name in ("poison 1", "b", "poison 2", "d"):
            await register(here, "replay", name)
        await until(lambda: settled(here, there))
        waiting = await letters_of(there, "replay")
        assert [letter["state"] for letter in waiting] == ["open", "parked", "parked", "parked"]
        assert await there.letters.waiting_subjects(["replay", "other"]) == {"replay"}
        with pytest.raises(ReplayFailed):
            await there.letters.replay(waiting[-1]["_id"])
        assert await names(there, "replay") == []

        moody.healed = True
        done = await asyncio.gather(
            *(there.letters.replay(waiting[0]["_id"]) for _ in range(3)), return_exceptions=True
        )
        assert sum(len(ids) for ids in done if isinstance(ids, tuple)) == 4
        assert await names(there, "replay") == ["poison 1", "b", "poison 2", "d"]
        assert (await there.database.echoes.find_one({"_id": "echo-replay"}))["version"] == 4
        assert await there.letters.waiting_subjects(["replay"]) == set()
        with pytest.raises(LetterSettled):
            await there.letters.replay(waiting[0]["_id"])
        await register(here, "replay", "e")
        await until(lambda: settled(here, there))
        assert (await names(there, "replay"))[-1] == "e"
        await until(lambda: published(there))
        assert (await there.verify()).faults == []


async def test_rule_20_a_letter_is_discarded_with_a_reason_and_those_behind_it_follow(stack: Stack) -> None:
    office = Actor(id="o", roles=frozenset({"office"}), org="", scope=SYSTEM.scope)
    async with publisher(stack) as here, listener(stack, Moody()) as there:
        for name in ("poison", "b", "c"):
            await register(here, "discard", name)
        await until(lambda: settled(here, there))
        first = (await letters_of(there, "discard"))[0]["_id"]
        with pytest.raises(ReasonMissing):
            await there.letters.discard(first, reason=" ", actor=office)
        await there.letters.discard(first, reason="recorded twice by hand", actor=office)

        async def follow() -> bool:
            return await names(there, "discard") == ["b", "c"]

        await until(follow)
        assert [letter["state"] for letter in await letters_of(there, "discard")] == [
            "discarded",
            "replayed",
            "replayed",
        ]
        commit = await there.database.commits.find_one({"events.subject": first, "events.version": 2})
        [event] = [e for e in commit["events"] if e["subject"] == first]
        assert (event["type"], event["actor"]["id"]) == ("DeadLetterDiscarded", "o")
        assert json.loads(event["data"])["reason"] == "recorded twice by hand"
        assert (await there.letters.list(states=("discarded",))).items[0]["_id"] == first


async def test_rule_20_every_letter_is_published_on_the_dead_letters_topic_without_its_payload(stack: Stack) -> None:
    async with publisher(stack) as here, listener(stack, Moody()) as there:
        await register(here, "told", "poison of 合肥")
        await until(lambda: settled(here, there))
        [letter] = await letters_of(there, "told")
        await until(lambda: published(there))
        told = TopicPartition("evaluation.dead-letters", 0)
        async with ownership.reader(stack.kafka) as reader:
            end = (await reader.end_offsets([told]))[told]
            reader.assign([told])
            reader.seek(told, 0)
            records = [await reader.getone(told) for _ in range(end)]
        [record] = [r for r in records if r.key.decode() == letter["_id"]]
        assert json.loads(record.value)["code"] == "ValueError"
        assert dict(record.headers)["ce_type"] == b"liandong.evaluation.DeadLetterOpened.v1"
        assert "合肥" not in record.value.decode()
        await there.letters.discard(letter["_id"], reason="test", actor=SYSTEM)


async def test_rule_20_one_poison_in_a_full_batch_costs_its_neighbours_nothing_but_time(stack: Stack) -> None:
    async with publisher(stack) as here:
        every = [(f"many-{i}", "poison" if i % 20 == 7 else "n") for i in range(120)]
        await asyncio.gather(*(register(here, id, name) for id, name in every))
        await until(lambda: published(here))
        async with listener(stack, Moody()) as there:
            await until(lambda: settled(here, there))
            letters = await there.database.dead_letters.find({"subject": {"$regex": "^many-"}}).to_list(None)
            assert {letter["subject"] for letter in letters} == {id for id, name in every if name == "poison"}
            assert {letter["state"] for letter in letters} == {"open"}
            assert [await names(there, id) for id, _name in every] == [
                [] if name == "poison" else ["n"] for _id, name in every
            ]
            for letter in letters:
                await there.letters.discard(letter["_id"], reason="test", actor=SYSTEM)


async def test_rule_20_a_stranger_can_only_be_discarded(stack: Stack) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka)
    await producer.start()
    await producer.send_and_wait(TOPIC, b"not ours", partition=0)
    await producer.stop()
    async with listener(stack) as there:
        await until(lambda: caught_up(there))
        letter = await there.database.dead_letters.find_one({"hash": hashlib.sha256(b"not ours").hexdigest()})
        assert (letter["state"], letter["seq"]) == ("foreign", None)
        with pytest.raises(LetterForeign):
            await there.letters.replay(letter["_id"])
        await there.letters.discard(letter["_id"], reason="sent by a test", actor=SYSTEM)


@pytest.mark.parametrize("size", [1, 3, 500])
async def test_rule_21_any_size_of_batches_gives_the_same_documents(
    stack: Stack, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folds(database: Any) -> React:
        rows = Rows(database, "cards")

        async def on_chain_registered(fact: Recorded[ChainRegistered]) -> None:
            if not fact.subject.startswith("fold"):
                return
            card = await rows.get(f"{size}/{fact.subject}") or {"sum": 0}
            rows.set(f"{size}/{fact.subject}", {"sum": card["sum"] * 3 + len(fact.fact.name), "deep": {"a": 1}})
            rows.push(f"{size}/{fact.subject}", "deep.all", fact.fact.name)
            seen = len(await rows.find({"_id": {"$regex": f"^{size}/{fact.subject}"}}))
            rows.set(f"{size}/{fact.subject}", {"deep.seen": seen})

        return on_chain_registered

    monkeypatch.setattr("shared.log.consumer.subscriber.BATCH_FACTS_MAX", size)
    monkeypatch.setattr(ownership.Claim, "__init__", _limited(ownership.Claim.__init__, size))
    async with publisher(stack) as here, listener(stack) as there:
        await until(lambda: settled(here, there))
    async with publisher(stack) as here:
        for i in range(30):
            await register(here, f"fold-{i % 3}", f"{size}-{'x' * i}"[:20], key=f"{size}/{i}")
        await until(lambda: published(here))
        async with listener(stack, also=folds) as there:
            await until(lambda: settled(here, there))
            cards = await there.database.cards.find({"_id": {"$regex": f"^{size}/"}}).sort("_id", 1).to_list(None)
    expected = []
    for k in range(3):
        said = [f"{size}-{'x' * i}"[:20] for i in range(30) if i % 3 == k]
        total = 0
        for name in said:
            total = total * 3 + len(name)
        # Setting `deep` anew empties it each time; its last fact then sees the row that the facts before it made.
        expected.append({"_id": f"{size}/fold-{k}", "sum": total, "deep": {"a": 1, "all": said[-1:], "seen": 1}})
    assert cards == expected


def _limited(plain: Any, size: int) -> Any:
    def init(self: Any, *given: Any, **more: Any) -> None:
        plain(self, *given, **more)
        self.limit = size

    return init
