"""The indexes the protocol rests on (rule 3), and those a service asks for besides."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pymongo.errors import CollectionInvalid, OperationFailure


class Index(NamedTuple):
    """An index of a collection: its keys as (field, direction) and further options of MongoDB."""

    collection: str
    keys: tuple[tuple[str, int], ...]
    options: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple default is never written to


PROTOCOL = (
    Index("commits", (("events.stream", 1), ("events.version", 1)), {"unique": True, "sparse": True}),
    Index("commits", (("commands.key", 1),), {"unique": True, "sparse": True}),
    Index("commits", (("at", 1),), {"partialFilterExpression": {"pending": True}}),
    Index("commits", (("seq", 1),), {"sparse": True}),
    Index("commits", (("events.id", 1),), {"sparse": True}),
    Index("commits", (("inputs.topic", 1), ("inputs.partition", 1), ("seq", -1)), {"sparse": True}),
    Index("due", (("state", 1), ("due_at", 1))),
    Index("dead_letters", (("state", 1), ("stream", 1), ("seq", 1))),
    Index("dead_letters", (("state", 1), ("subject", 1))),
)


async def ensure(database: Any, extra: Sequence[Index] = (), *, collections: Sequence[str] = ()) -> None:
    """Creates missing collections and indexes before anything is written: a transaction cannot wait for them."""
    there = set(await database.list_collection_names())
    wanted = {index.collection for index in (*PROTOCOL, *extra)} | set(collections)
    wanted |= {"sequencer", "positions", "sessions"}
    for name in sorted(wanted - there):
        with suppress(CollectionInvalid, OperationFailure):  # another process was quicker
            await database.create_collection(name)
    for index in (*PROTOCOL, *extra):
        await database[index.collection].create_index(list(index.keys), **index.options)
