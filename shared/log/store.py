"""Stores over MongoDB: aggregates by id within a region scope, and rows without a version."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pymongo.read_concern import ReadConcern

from shared.kernel import NATIONAL, Aggregate, NotFound, RegionScope
from shared.log.work import current_work, work_or_none

A = TypeVar("A", bound=Aggregate)
T = TypeVar("T")
PAGE_MAX = 200

Upcast = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of aggregates or rows; `after` continues it, or is None at the end."""

    items: tuple[T, ...]
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
            document = await self._documents.find_one({"_id": id}, session=work.session)
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
        self,
        scope: RegionScope,
        where: Mapping[str, Any],
        *,
        after: str | None = None,
        limit: int = 50,
        sort: str = "",
        descending: bool = False,
    ) -> Page[A]:
        """Aggregates that match and lie in scope, in order of a field (text or integer, indexed), equal ones by id.

        Without `sort` in order of id. `after` is the page before's; it holds its place when others come or go between.
        """
        session = _asking(self.collection)
        documents, after = await _page(
            self._documents, session, where, scope, after=after, limit=limit, sort=sort, descending=descending
        )
        return Page(tuple(self._load(document) for document in documents), after)

    async def count(self, scope: RegionScope, where: Mapping[str, Any]) -> int:
        """How many aggregates match and lie in scope."""
        return int(await self._documents.count_documents(_within(where, scope), session=_asking(self.collection)))

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
        """One row, or None; within a work as the work leaves it."""
        return (await self.find_many([key])).get(key)

    async def find(
        self, where: Mapping[str, Any], *, sort: Sequence[tuple[str, int]] = (("_id", 1),), limit: int = 0
    ) -> list[dict[str, Any]]:
        """Rows that match, in order; `limit` 0 means all of them. What this work has yet to write is not among them."""
        cursor = self._rows.find(dict(where), session=_asking(self.collection))
        found: list[dict[str, Any]] = await cursor.sort(list(sort)).limit(limit).to_list(None)
        return found

    async def find_many(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The rows of these keys that exist, by key, read in one go; within a work as the work leaves them."""
        work, wanted = work_or_none(), sorted(set(keys))
        query, session = {"_id": {"$in": wanted}}, work.session if work else None
        stored = await self._rows.find(query, session=session).to_list(None) if wanted else []
        found: dict[str, dict[str, Any]] = {row["_id"]: row for row in stored}
        if work is not None:
            for key in wanted:
                row = work.row(self.collection, key, found.pop(key, None))
                if row is not None:
                    found[key] = row
        return found

    async def page(
        self,
        where: Mapping[str, Any],
        scope: RegionScope,
        after: str | None = None,
        limit: int = 50,
        *,
        sort: str = "",
        descending: bool = False,
    ) -> Page[dict[str, Any]]:
        """Rows that match and lie in scope (their field `regions`), ordered and continued as `Documents.page` does.

        A row that does not know its regions yet (the fact that tells them has not come) is seen nationally only.
        """
        session = _asking(self.collection)
        rows, after = await _page(
            self._rows, session, where, scope, after=after, limit=limit, sort=sort, descending=descending
        )
        return Page(tuple(rows), after)

    async def count(self, where: Mapping[str, Any], scope: RegionScope = NATIONAL) -> int:
        """How many rows match and lie in scope."""
        return int(await self._rows.count_documents(_within(where, scope), session=_asking(self.collection)))


def scope_filter(scope: RegionScope) -> dict[str, Any]:
    """The part of a query that keeps it inside a scope; a document without regions belongs to everybody."""
    if scope.national:
        return {}
    prefixes = "|".join(sorted(re.escape(prefix) for prefix in scope.prefixes)) or "(?!)"
    return {"$or": [{"regions": {"$size": 0}}, {"regions": {"$regex": f"^(?:{prefixes})"}}]}


def _within(where: Mapping[str, Any], scope: RegionScope, *more: Mapping[str, Any]) -> dict[str, Any]:
    """All conditions at once: none may hide another that happens to use the same operator or field."""
    conditions = [dict(condition) for condition in (where, scope_filter(scope), *more) if condition]
    return conditions[0] if len(conditions) == 1 else {"$and": conditions} if conditions else {}


def _asking(collection: str) -> Any:
    """The session a query belongs to: the transaction of the batch in progress, else none."""
    work = work_or_none()
    if work is None:
        return None
    work.asks(collection)
    return work.session


async def _page(
    collection: Any,
    session: Any,
    where: Mapping[str, Any],
    scope: RegionScope,
    *,
    after: str | None,
    limit: int,
    sort: str,
    descending: bool,
) -> tuple[list[dict[str, Any]], str | None]:
    limit, way = max(1, min(limit, PAGE_MAX)), -1 if descending else 1
    query = _within(where, scope, _behind(after, sort, descending) if after is not None else {})
    order = [(sort, way), ("_id", way)] if sort else [("_id", way)]
    found = await collection.find(query, session=session).sort(order).limit(limit + 1).to_list(None)
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], json.dumps([_at(last, sort), last["_id"]], ensure_ascii=False) if sort else str(last["_id"])


def _behind(after: str, sort: str, descending: bool) -> dict[str, Any]:
    """What lies behind a place in the order; MongoDB puts a missing value first and compares within one type only."""
    beyond = "$lt" if descending else "$gt"
    if not sort:
        return {"_id": {beyond: after}}
    value, id = json.loads(after)
    same = {sort: value, "_id": {beyond: id}}
    if value is None:
        return same if descending else {"$or": [same, {sort: {"$ne": None}}]}
    others: list[dict[str, Any]] = [{sort: None}] if descending else []
    return {"$or": [same, {sort: {beyond: value}}, *others]}


def _at(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
