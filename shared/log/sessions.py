"""Keeps the MongoDB session of each writer where its successor finds and ends it (rule 7).

A process killed inside a transaction otherwise holds its documents until mongod gives up, which was measured at 87 s.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pymongo.errors import PyMongoError


async def kill(database: Any, session_id: Any) -> None:
    """Ends a session of this service's user and aborts what it had open; an unknown one is fine."""
    if session_id is not None:
        with suppress(PyMongoError):
            await database.client.admin.command("killSessions", [session_id])


async def take_slot(database: Any, slot: str) -> Any:
    """Opens the writer session of a slot and ends the one its predecessor left there."""
    before = await database.sessions.find_one({"_id": slot})
    if before is not None:
        await kill(database, before["session"])
    session = await database.client.start_session()
    await database.sessions.update_one({"_id": slot}, {"$set": {"session": session.session_id}}, upsert=True)
    return session
