"""Dead letters: facts a service could not apply, kept in order until somebody replays them (rule 20)."""

from __future__ import annotations

import hashlib
from typing import Any

from shared.log import wire


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
    }


async def waiting_streams(database: Any, streams: set[str], session: Any) -> set[str]:
    """Which of these streams have letters that wait; asked in the transaction that applies, never of a flag."""
    found: list[str] = await database.dead_letters.distinct(
        "stream", {"state": {"$in": ["open", "parked"]}, "stream": {"$in": list(streams)}}, session=session
    )
    return set(found)
