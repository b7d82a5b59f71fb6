"""Turns units of work into the writes of one transaction and the events of one commit document (rules 2, 3, 6, 8)."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from shared.contracts.fact import Fact
from shared.kernel import DomainError, Recording, microseconds
from shared.log.work import Cause, Row, Save, Work

FACT_BYTES_MAX = 256 * 1024
COMMAND_BYTES_MAX = 4 * 1024 * 1024
_REACTIONS = uuid.UUID("6f1c3f0e-5f0a-5c0e-9a53-7b1f5a4f2d11")
_DUPLICATE_KEY = 11000


class Conflict(Exception):
    """Something this commit rests on has changed meanwhile; nothing of it was written."""


class FactTooLarge(DomainError):
    """A fact may be at most 256 KiB; larger content goes in parts or into an attachment."""

    code = "fact-too-large"
    status = 413
    zh = "{fact} 的内容为 {size} 字节,超过上限 {limit} 字节"
    en = "The content of {fact} is {size} bytes; the limit is {limit}"


class CommandTooLarge(DomainError):
    """What one command records may be at most 4 MiB; larger work goes in chunks (rule 8)."""

    code = "command-too-large"
    status = 413
    zh = "一次提交的内容共 {size} 字节,超过上限 {limit} 字节:请分批提交"
    en = "One command records {size} bytes; the limit is {limit}: send it in chunks"


@dataclass
class Prepared:
    """What one transaction writes: states, rows and guards by collection, and the events of its commit document."""

    saves: list[tuple[Save, dict[str, Any]]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    guards: dict[tuple[str, str], int] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    ids: list[tuple[str, ...]] = field(default_factory=list)
    at: int = 0


def canonical(fact: Fact) -> str:
    """A fact's data as canonical JSON: sorted keys, no blanks, UTF-8; the bytes that travel and are hashed."""
    return json.dumps(fact.model_dump(mode="json"), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def check_size(work: Work) -> int:
    """The bytes of all facts of a work; raises FactTooLarge or CommandTooLarge before anything is queued.

    So that one oversized command cannot stop its group, nor one oversized fact the publisher.
    """
    total = 0
    for save in work.saves.values():
        for recording in save.aggregate.recorded:
            size = len(canonical(recording.fact).encode())
            size += sum(len(item.uri) + len(item.sha256) + 24 for item in recording.evidence)
            if size > FACT_BYTES_MAX:
                raise FactTooLarge(fact=type(recording.fact).__name__, size=size, limit=FACT_BYTES_MAX)
            total += size
    if total > COMMAND_BYTES_MAX:
        raise CommandTooLarge(size=total, limit=COMMAND_BYTES_MAX)
    return total


def prepare(works: Sequence[Work], *, not_before: int) -> Prepared:
    """Collects the works into one Prepared; every event gets its own microsecond from `not_before` on.

    Recorded time lies strictly above every aggregate read or touched, so that sorting by it never puts a later version
    first. Ids of facts are UUIDv7 for commands and derived from the cause for reactions, so that a re-run repeats them.
    """
    out = Prepared(at=max([not_before, *(work.read_at + 1 for work in works)]))
    next_at = out.at
    for work in works:
        ids: list[str] = []
        for save in work.saves.values():
            version = save.expected
            for recording in save.aggregate.recorded:
                version += 1
                event = _event(work, recording, version=version, at=next_at)
                next_at += 1
                out.events.append(event)
                ids.append(event["id"])
            out.saves.append((save, _state(save, version=version, at=next_at - 1)))
        for due in work.dues:
            fields = {"kind": due.kind, "ref": due.ref, "version": due.version, "state": "open"}
            work.set("due", f"{due.kind}:{due.ref}", fields | {"due_at": microseconds(due.due_at)})
        for cancelled in work.cancelled_dues:
            work.set("due", cancelled, {"state": "cancelled"})
        out.rows.extend(work.rows.values())
        out.guards.update(work.guards)
        out.ids.append(tuple(ids))
    out.at = max(out.at, next_at - 1)
    streams = [(event["stream"], event["version"]) for event in out.events]
    if len(streams) != len(set(streams)):
        raise ValueError("one commit writes a version of a stream twice")
    return out


async def apply(database: Any, session: Any, prepared: Prepared) -> None:
    """Writes states, rows and guards inside the open transaction; raises Conflict when an expectation does not hold."""
    checked, rows = _operations(prepared)
    try:
        for collection, (operations, inserts, matches) in checked.items():
            result = await database[collection].bulk_write(operations, session=session)
            if (result.inserted_count, result.matched_count) != (inserts, matches):
                raise Conflict(collection)
        for collection, operations in rows.items():
            await database[collection].bulk_write(operations, session=session, ordered=False)
    except DuplicateKeyError as error:
        raise Conflict(str(error.details and error.details.get("keyValue"))) from error
    except BulkWriteError as error:
        if any(fault.get("code") == _DUPLICATE_KEY for fault in error.details.get("writeErrors", ())):
            raise Conflict("duplicate key") from error
        raise


def _operations(prepared: Prepared) -> tuple[dict[str, tuple[list[Any], int, int]], dict[str, list[Any]]]:
    """By collection: writes that rest on something, with how many must insert and how many must match; and the rest."""
    checked: dict[str, tuple[list[Any], int, int]] = {}
    rows: dict[str, list[Any]] = {}

    def check(collection: str, operation: Any, *, insert: bool = False) -> None:
        operations, inserts, matches = checked.get(collection, ([], 0, 0))
        operations.append(operation)
        checked[collection] = (operations, inserts + insert, matches + (not insert))

    for save, document in prepared.saves:
        if save.expected == 0:
            check(save.collection, InsertOne(document), insert=True)
        else:
            check(save.collection, ReplaceOne({"_id": document["_id"], "version": save.expected}, document))
    saved = {(save.collection, save.aggregate.id) for save, _ in prepared.saves}
    for (collection, key), version in prepared.guards.items():
        if (collection, key) not in saved:
            check(collection, UpdateOne({"_id": key, "version": version}, {"$inc": {"touched": 1}}))
    for row in prepared.rows:
        if row.where:
            check(row.collection, _row_write(row))
        else:
            rows.setdefault(row.collection, []).append(_row_write(row))
    return checked, rows


def _event(work: Work, recording: Recording, *, version: int, at: int) -> dict[str, Any]:
    fact = recording.fact
    topic = type(fact).topic.name
    cause = work.cause_of(recording)
    event: dict[str, Any] = {
        "id": _derived_id(cause) if cause.reaction else _uuid7(at),
        "stream": f"{topic}/{fact.aggregate_id}",
        "version": version,
        "type": type(fact).__name__,
        "topic": topic,
        "subject": fact.aggregate_id,
        "at": at,
        "effective_at": microseconds(recording.effective_at),
        "actor": {"id": work.actor.id, "role": work.actor.role, "org": work.actor.org},
        "correlation_id": cause.correlation_id,
        "origin": recording.origin,
        "data": canonical(fact),
    }
    optional = {
        "causation_id": cause.causation_id,
        "supersedes": recording.supersedes,
        "evidence": [item.model_dump() for item in recording.evidence],
        "traceparent": cause.traceparent,
    }
    return event | {name: value for name, value in optional.items() if value}


def _state(save: Save, *, version: int, at: int) -> dict[str, Any]:
    aggregate = save.aggregate
    head = {"_id": aggregate.id, "version": version, "at": at, "schema": type(aggregate).schema_version}
    return head | aggregate.document()


def _row_write(row: Row) -> Any:
    if row.mode == "delete":
        return DeleteOne({"_id": row.key})
    if row.mode == "insert":
        return InsertOne({"_id": row.key, **row.fields})
    if row.mode == "replace":
        return ReplaceOne({"_id": row.key}, row.fields, upsert=True)
    update: dict[str, Any] = {}
    if row.fields:
        update["$set"] = row.fields
    if row.push:
        update["$push"] = {path: {"$each": items} for path, items in row.push.items()}
    return UpdateOne({"_id": row.key, **row.where}, update or {"$setOnInsert": {}}, upsert=not row.where)


def _derived_id(cause: Cause) -> str:
    """The same for the same fact, reaction and place in it, however the batches were cut (rule 18)."""
    assert cause.reaction is not None
    return str(uuid.uuid5(_REACTIONS, "|".join((*cause.reaction, cause.causation_id or "", str(cause.index)))))


def _uuid7(at: int) -> str:
    random = int.from_bytes(os.urandom(10))
    high = ((at // 1000) & (2**48 - 1)) << 16 | 0x7000 | (random >> 68 & 0xFFF)
    return str(uuid.UUID(int=high << 64 | 0b10 << 62 | random & (2**62 - 1)))
