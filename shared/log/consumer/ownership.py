"""Who may move a partition's position: claims by epoch, and the checks before anything is applied (rule 14)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from pymongo import ReturnDocument

from shared.log import sessions

BATCH_FACTS_MAX = 500
_TAIL_SECONDS = 10.0


class Fenced(Exception):
    """Another claim owns the partition, or the position stands otherwise than we remember."""


class RebuildNeeded(Exception):
    """The stored position and the topic contradict each other: going on would lose or double facts."""


@dataclass
class Claim:
    """What we hold of one partition: only with this epoch may its position move.

    `types` are the types applied so far: `True` up to `next`, or up to a place behind it ({next, seq}). `given_up` is
    set when the group takes the partition back: whatever still retries stops then.
    """

    partition: TopicPartition
    epoch: int
    next: int
    seq: int
    log_id: str | None
    tail: str | None
    session: Any
    types: dict[str, Any] = field(default_factory=dict)
    limit: int = BATCH_FACTS_MAX
    given_up: bool = False
    sought: int = -1

    @property
    def name(self) -> str:
        """The id of the position document."""
        return name_of(self.partition)


def name_of(partition: TopicPartition) -> str:
    """A partition as documents, logs and figures call it."""
    return f"{partition.topic}|{partition.partition}"


def fingerprint(record: Any) -> str:
    """The SHA-256 of a record's key, value and headers."""
    headers = b"".join(name.encode() + value for name, value in record.headers)
    return hashlib.sha256((record.key or b"") + b"|" + (record.value or b"") + b"|" + headers).hexdigest()


@asynccontextmanager
async def reader(bootstrap: str) -> AsyncIterator[Any]:
    """A consumer outside any group, to look at single records and offsets."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[Any]:
    """An administration client, to ask what the broker knows of groups, topics and settings."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def claim(database: Any, partition: TopicPartition, *, owner: str) -> Claim:
    """Ends the session of whoever owned the partition and takes it over under the next epoch."""
    name = {"_id": name_of(partition)}
    before = await database.positions.find_one(name)
    if before is not None:
        await sessions.kill(database, before.get("session"))
    session = await database.client.start_session()
    document = await database.positions.find_one_and_update(
        name,
        {
            "$inc": {"epoch": 1},
            "$set": {"session": session.session_id, "owner": owner},
            "$setOnInsert": {"next": 0, "seq": 0, "log_id": None, "tail": None, "applied": 0, "skipped": 0},
        },
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return Claim(
        partition, document["epoch"], document["next"], document["seq"], document["log_id"], document["tail"],
        session, document.get("types") or {},
    )  # fmt: skip


async def check(bootstrap: str, claims: Sequence[Claim]) -> dict[TopicPartition, str]:
    """begin <= next <= end, and the record before `next` is the one applied last; else the sentence to stop with."""
    wrong: dict[TopicPartition, str] = {}
    async with reader(bootstrap) as consumer:
        partitions = [claim.partition for claim in claims]
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for held in claims:
            begin, end = begins[held.partition], ends[held.partition]
            if not begin <= held.next <= end:
                wrong[held.partition] = (
                    f"the topic holds offsets {begin} to {end}, the position is {held.next}: "
                    "rebuild this service from the publisher's log"
                )
            elif held.next > begin and held.tail is not None:
                consumer.assign([held.partition])
                consumer.seek(held.partition, held.next - 1)
                record = await asyncio.wait_for(consumer.getone(held.partition), _TAIL_SECONDS)
                if fingerprint(record) != held.tail:
                    wrong[held.partition] = (
                        f"the record at offset {held.next - 1} is not the one applied last: "
                        "rebuild this service from the publisher's log"
                    )
    return wrong


def newly_heard(held: Claim, types: Sequence[str]) -> dict[str, Any]:
    """The types of our table that this position has not heard up to its `next`, with the place each has reached.

    A position without any type is a new one, or as old as this rule: it has heard what the table names.
    """
    if not held.types:
        return {}
    behind = {kind: held.types.get(kind, {"next": 0, "seq": 0}) for kind in types}
    return {kind: place for kind, place in behind.items() if place is not True}


async def remember_types(database: Any, held: Claim, types: Sequence[str]) -> None:
    """Writes that the table's types are heard up to `next`, and where those it no longer names were left."""
    left = {"next": held.next, "seq": held.seq}
    kept: Mapping[str, Any] = {kind: left if place is True else place for kind, place in held.types.items()}
    heard = {**kept, **dict.fromkeys(types, True)}
    result = await database.positions.update_one({"_id": held.name, "epoch": held.epoch}, {"$set": {"types": heard}})
    if not result.matched_count:
        raise Fenced
    held.types = heard
