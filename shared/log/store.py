"""Stores over MongoDB: aggregates by id within a region scope, and rows without a version."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pymongo.read_concern import ReadConcern

from shared.kernel import Aggregate, NotFound, RegionScope
from shared.log.work import current_work

A = TypeVar("A", bound=Aggregate)
PAGE_MAX = 200

Upcast = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Page(Generic[A]):
    """One page of aggregates in order of id; `after` continues it, or is None at the end."""

    items: tuple[A, ...]
    after: str | None


class Documents(Generic[A]):
    """The aggregates of one type in one collection. Reads are majority reads; `save` writes into the current work.

    `upcasters` turn a stored document of schema n into n + 1, by n (rule 25).
    """

    def __init__(
        self, database: Any, collection: str, model: type[A], *, upcasters: Mapping[int, Upcast] | None = None
    ) -> None:
        self.collection = collection
        self.model = model
        self._documents = database.get_collection(collection, read_concern=ReadConcern("majority"))
        self._upcasters = dict(upcasters or {})

    async def get(self, id: str, scope: RegionScope) -> A:
        """The aggregate, or NotFound when there is none or it lies outside the scope: one and the same answer."""
        found = await self.find_one(id)
        if found is None or (found.regions and not scope.covers_any(found.regions)):
            raise NotFound
        return found

    async def find_one(self, id: str) -> A | None:
        """The aggregate whatever its region, for a handler's own look-ups; within a work each is loaded once."""
        work = current_work()
        key = (self.collection, id)
        if key not in work.seen:
            document = await self._documents.find_one({"_id": id})
            work.seen[key] = self._load(document) if document else None
        seen = work.seen[key]
        if seen is not None:
            work.read_at = max(work.read_at, seen.at)
        return seen  # type: ignore[return-value]  # a collection holds one model

    def save(self, aggregate: A) -> None:
        """Stores the aggregate and its recorded facts with the current work."""
        current_work().save(self.collection, aggregate)

    def guard(self, aggregate: A) -> None:
        """Makes the commit depend on this aggregate staying as it was read."""
        current_work().guard(self.collection, aggregate)

    async def read(self, id: str, scope: RegionScope) -> A:
        """The aggregate for a reader, outside any work; NotFound as in `get`."""
        document = await self._documents.find_one({"_id": id, **scope_filter(scope)})
        if document is None:
            raise NotFound
        return self._load(document)

    async def page(
        self, scope: RegionScope, where: Mapping[str, Any], *, after: str | None = None, limit: int = 50
    ) -> Page[A]:
        """Aggregates that match and lie in scope, in order of id."""
        query: dict[str, Any] = {**where, **scope_filter(scope)}
        if after is not None:
            query["_id"] = {"$gt": after}
        limit = min(limit, PAGE_MAX)
        documents = await self._documents.find(query).sort("_id", 1).limit(limit + 1).to_list(None)
        items = tuple(self._load(document) for document in documents[:limit])
        return Page(items, items[-1].id if len(documents) > limit else None)

    def _load(self, document: dict[str, Any]) -> A:
        document["id"] = document.pop("_id")
        schema = int(document.pop("schema"))
        document.pop("touched", None)
        while schema < self.model.schema_version:
            document, schema = self._upcasters[schema](document), schema + 1
        return self.model.model_validate(document)


class Rows:
    """Rows without a version in one collection: what a service knows of others, previews, work lists."""

    def __init__(self, database: Any, collection: str) -> None:
        self.collection = collection
        self._rows = database.get_collection(collection, read_concern=ReadConcern("majority"))

    def set(self, key: str, fields: Mapping[str, Any]) -> None:
        """Merges fields into a row with the current work, creating it when missing."""
        current_work().set(self.collection, key, fields)

    def push(self, key: str, path: str, *items: Any) -> None:
        """Appends to an array field of a row with the current work."""
        current_work().push(self.collection, key, path, *items)

    def insert(self, key: str, fields: Mapping[str, Any]) -> None:
        """Inserts a row that must not exist yet, with the current work."""
        current_work().insert(self.collection, key, fields)

    async def get(self, key: str) -> dict[str, Any] | None:
        """One row as stored, or None."""
        found: dict[str, Any] | None = await self._rows.find_one({"_id": key})
        return found

    async def find(
        self, where: Mapping[str, Any], *, sort: Sequence[tuple[str, int]] = (("_id", 1),), limit: int = 0
    ) -> list[dict[str, Any]]:
        """Rows that match, in order; `limit` 0 means all of them."""
        found: list[dict[str, Any]] = await self._rows.find(dict(where)).sort(list(sort)).limit(limit).to_list(None)
        return found


def scope_filter(scope: RegionScope) -> dict[str, Any]:
    """The part of a query that keeps it inside a scope; a document without regions belongs to everybody."""
    if scope.national:
        return {}
    prefixes = "|".join(sorted(re.escape(prefix) for prefix in scope.prefixes)) or "(?!)"
    return {"$or": [{"regions": {"$size": 0}}, {"regions": {"$regex": f"^(?:{prefixes})"}}]}
