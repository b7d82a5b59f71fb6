"""Dead letters: facts a service could not apply, kept in order until somebody replays or discards them (rule 20)."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from shared.kernel import SYSTEM, Actor
from shared.log import wire

WAITING = ("open", "parked")
_LETTERS = uuid.UUID("0d5a6e0e-7c0b-5d3f-8f43-64e5b8b4a9c7")


def letter(record: Any, head: wire.Head | None, *, code: str, state: str) -> dict[str, Any]:
    """The document of a letter: where the record stands and why it lies here, never its payload.

    `code` is the kind of failure; `state` is `open` (failed), `parked` (behind an open one of its stream) or `foreign`.
    """
    place = f"{record.topic}|{record.partition}|{record.offset}"
    return {
        "_id": place,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "hash": hashlib.sha256(record.value or b"").hexdigest(),
        "code": code,
        "state": state,
        "log_id": head.log_id if head else None,
        "seq": head.seq if head else None,
        "type": head.type if head else None,
        "stream": head.stream if head else None,
        "subject": head.stream.partition("/")[2] if head else None,
    }


def letter_event(
    found: Mapping[str, Any], kind: str, version: int, service: str, *, actor: Actor = SYSTEM, reason: str | None = None
) -> dict[str, Any]:
    """What happened to a letter, as an event of this service's own log: it is published on `<service>.dead-letters`.

    Version 1 opens the letter, version 2 settles it; the unique index over streams lets no letter be settled twice.
    """
    topic, id = f"{service}.dead-letters", str(found["_id"])
    data = {name: value for name, value in found.items() if name not in ("_id", "at")}
    if reason is not None:
        data["reason"] = reason
    return {
        "id": event_id(found, version, service),
        "stream": f"{topic}/{id}",
        "version": version,
        "type": kind,
        "topic": topic,
        "subject": id,
        "actor": {"id": actor.id, "role": actor.role, "org": actor.org},
        "correlation_id": id,
        "origin": "live",
        "data": json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
    }


def event_id(found: Mapping[str, Any], version: int, service: str) -> str:
    """The id of a letter's event: the same whichever process settles it."""
    return str(uuid.uuid5(_LETTERS, f"{service}|{found['log_id']}|{found['_id']}|{version}"))


async def waiting_streams(database: Any, streams: set[str], session: Any) -> set[str]:
    """Which of these streams have letters that wait; asked in the transaction that applies, never of a flag."""
    found: list[str] = await database.dead_letters.distinct(
        "stream", {"state": {"$in": list(WAITING)}, "stream": {"$in": list(streams)}}, session=session
    )
    return set(found)


async def waiting_subjects(database: Any, subjects: Iterable[str]) -> set[str]:
    """Which of these subjects have facts that wait: a service publishes nothing about them until they are applied."""
    wanted = {"state": {"$in": list(WAITING)}, "subject": {"$in": sorted(set(subjects))}}
    found: list[str] = await database.dead_letters.distinct("subject", wanted)
    return set(found)
