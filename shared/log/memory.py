"""A log in memory for tests of domains and handlers: the same works, envelopes and stores, without Kafka and MongoDB.

`Documents` and `Rows` run on it unchanged, because it answers the few questions they ask of a MongoDB collection; an
operator it does not know is an error. One suite (`tests/shared/log/test_stores.py`) holds it and the real store to the
same behaviour. It proves nothing about faults: those are tested on the real thing only.
"""

from __future__ import annotations

import copy
import re
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from shared.contracts.fact import Evidence, Fact, Position, Recorded
from shared.kernel import SYSTEM, Actor, Aggregate, Answer, Outcome, instant
from shared.log import writes
from shared.log.due import MongoAgenda
from shared.log.store import Documents, Rows
from shared.log.work import Row, Work, working

A = TypeVar("A", bound=Aggregate)
F = TypeVar("F", bound=Fact)
_FIRST_MICROSECOND = 1_767_225_600_000_000  # 2026-01-01T00:00Z


class MemoryLog:
    """Commits one work after the other; `facts` and `events` are what has been recorded, in order."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.agenda = MongoAgenda()
        self.events: list[dict[str, Any]] = []
        self.facts: list[Fact] = []
        self._at = _FIRST_MICROSECOND
        self._heard = 0

    def documents(self, collection: str, model: type[A]) -> Documents[A]:
        """A store of aggregates."""
        return Documents(self.database, collection, model)

    def rows(self, collection: str) -> Rows:
        """A store of rows."""
        return Rows(self.database, collection)

    async def execute(self, call: Callable[[], Awaitable[Aggregate | Outcome]], *, by: Actor = SYSTEM) -> Answer:
        """Runs a command's call and commits what it saved; a refusal commits nothing."""
        work = Work(actor=by, correlation_id="memory")
        with working(work):
            outcome = await call()
        ids = self._commit(work)
        aggregate = outcome.aggregate if isinstance(outcome, Outcome) else outcome
        details = outcome.details if isinstance(outcome, Outcome) else {}
        saved = [save for save in work.saves.values() if save.aggregate is aggregate]
        version = saved[0].expected + len(aggregate.recorded) if saved else aggregate.version
        return Answer(aggregate.id, version, ids, details)

    async def hear(
        self,
        react: Callable[[Recorded[Any]], Awaitable[None]],
        fact: F,
        *,
        effective_at: datetime,
        id: str | None = None,
        actor: Mapping[str, str] | None = None,
        evidence: Sequence[Evidence] = (),
        supersedes: str | None = None,
    ) -> Recorded[F]:
        """Lets a reaction hear a fact of another service as if it came from its topic, and commits what it saved."""
        self._heard += 1
        topic = type(fact).topic
        recorded = Recorded(
            fact=fact,
            id=id or str(uuid.uuid4()),
            subject=fact.aggregate_id,
            stream_version=self._heard,
            effective_at=effective_at,
            recorded_at=instant(self._tick()),
            actor=dict(actor or {"id": "somebody", "role": "registrar", "org": ""}),
            correlation_id="memory",
            causation_id=None,
            supersedes=supersedes,
            origin="live",
            evidence=tuple(evidence),
            position=Position(topic.service, "memory", topic.name, 0, self._heard),
        )
        await self.hear_again(react, recorded)
        return recorded

    async def hear_again(self, react: Callable[[Recorded[Any]], Awaitable[None]], recorded: Recorded[Any]) -> None:
        """Applies one recorded fact, for tests of another order; the real consumer never applies one twice."""
        work = Work(actor=SYSTEM, correlation_id=recorded.correlation_id, causation_id=recorded.id)
        work.reaction = ("memory", getattr(react, "__name__", "reaction"))
        with working(work):
            await react(recorded)
        self._commit(work)

    def _tick(self) -> int:
        self._at += 1
        return self._at

    def _commit(self, work: Work) -> tuple[str, ...]:
        writes.check_size(work)
        prepared = writes.prepare([work], not_before=self._tick())
        self._at = max(self._at, prepared.at)
        for save, _document in prepared.saves:
            stored = self.database[save.collection].documents.get(save.aggregate.id)
            if (stored["version"] if stored else 0) != save.expected:
                raise writes.Conflict(save.collection)
        for (collection, key), version in prepared.guards.items():
            if self.database[collection].documents[key]["version"] != version:
                raise writes.Conflict(collection)
        for save, document in prepared.saves:
            self.database[save.collection].documents[save.aggregate.id] = copy.deepcopy(document)
            self.facts.extend(recording.fact for recording in save.aggregate.recorded)
        for row in prepared.rows:
            self.database[row.collection].apply(row)
        self.events.extend(prepared.events)
        return prepared.ids[0]


class MemoryDatabase:
    """Collections by name, made on first use."""

    def __init__(self) -> None:
        self._collections: dict[str, MemoryCollection] = defaultdict(MemoryCollection)

    def __getitem__(self, name: str) -> MemoryCollection:
        return self._collections[name]

    def get_collection(self, name: str, **_options: Any) -> MemoryCollection:
        """The collection; read concerns mean nothing here."""
        return self[name]


class MemoryCollection:
    """The reads of a MongoDB collection that the stores use, over copies of plain documents."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}

    def apply(self, row: Row) -> None:
        """Writes a row as `writes.apply` does in a transaction."""
        if row.mode == "delete":
            self.documents.pop(row.key, None)
            return
        if row.mode == "insert":
            if row.key in self.documents:
                raise writes.Conflict(row.key)
            self.documents[row.key] = {"_id": row.key, **copy.deepcopy(row.fields)}
            return
        if row.where and not _matches(self.documents.get(row.key, {}), row.where):
            raise writes.Conflict(row.key)
        if row.mode == "replace":
            self.documents.pop(row.key, None)
        document = self.documents.setdefault(row.key, {"_id": row.key})
        for path, value in row.fields.items():
            parent, name = _parent(document, path)
            parent[name] = copy.deepcopy(value)
        for path, items in row.push.items():
            parent, name = _parent(document, path)
            parent.setdefault(name, []).extend(copy.deepcopy(items))

    async def find_one(self, query: Mapping[str, Any], *_projection: Any, **_options: Any) -> dict[str, Any] | None:
        """The first document that matches, or None."""
        found = await self.find(query).limit(1).to_list(None)
        return found[0] if found else None

    def find(self, query: Mapping[str, Any], *_projection: Any, **_options: Any) -> MemoryCursor:
        """The documents that match; projections are ignored (a caller must not rely on a missing field)."""
        return MemoryCursor([copy.deepcopy(d) for d in self.documents.values() if _matches(d, query)])

    async def count_documents(self, query: Mapping[str, Any], **_options: Any) -> int:
        """How many match."""
        return sum(_matches(document, query) for document in self.documents.values())


class MemoryCursor:
    """Sorting, cutting and listing what was found."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self._found = found

    def sort(self, keys: str | Sequence[tuple[str, int]], direction: int = 1) -> MemoryCursor:
        """Orders by one field or several, the last one first so that earlier ones win."""
        for path, way in reversed([(keys, direction)] if isinstance(keys, str) else list(keys)):
            self._found.sort(key=lambda document: _sortable(_values(document, path)), reverse=way < 0)
        return self

    def limit(self, count: int) -> MemoryCursor:
        """At most `count` of them; 0 means all, as in MongoDB."""
        self._found = self._found[:count] if count else self._found
        return self

    async def to_list(self, _length: int | None) -> list[dict[str, Any]]:
        """All of them."""
        return self._found

    async def __aiter__(self) -> Any:
        for document in self._found:
            yield document


def _parent(document: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    *above, name = path.split(".")
    for part in above:
        document = document.setdefault(part, {})
    return document, name


def _values(document: Any, path: str) -> list[Any]:
    """What a dotted path reaches; an array offers itself and each of its items, as in MongoDB."""
    reached = [document]
    for part in path.split("."):
        below = []
        for value in reached:
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict) and part in item:
                    below.append(item[part])
        reached = below
    return [v for value in reached for v in ([value, *value] if isinstance(value, list) else [value])]


def _sortable(values: list[Any]) -> tuple[int, Any]:
    return (1, values[0]) if values and values[0] is not None else (0, 0)


def _matches(document: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    for path, wanted in query.items():
        if path == "$or":
            if not any(_matches(document, branch) for branch in wanted):
                return False
        elif path == "$and":
            if not all(_matches(document, branch) for branch in wanted):
                return False
        elif isinstance(wanted, Mapping) and any(str(name).startswith("$") for name in wanted):
            values = _values(document, path)
            if not all(_OPERATORS[name](values, operand) for name, operand in wanted.items()):
                return False
        elif wanted is None:
            if any(value is not None for value in _values(document, path)):
                return False
        elif wanted not in _values(document, path):
            return False
    return True


def _compares(test: Callable[[Any, Any], bool]) -> Callable[[list[Any], Any], bool]:
    # MongoDB compares within one type only.
    return lambda values, operand: any(type(v) is type(operand) and test(v, operand) for v in values)


_OPERATORS: dict[str, Callable[[list[Any], Any], bool]] = {
    "$in": lambda values, operand: any(v in operand for v in values) or (None in operand and not values),
    "$nin": lambda values, operand: not any(v in operand for v in values),
    "$ne": lambda values, operand: operand not in values,
    "$gt": _compares(lambda a, b: a > b),
    "$gte": _compares(lambda a, b: a >= b),
    "$lt": _compares(lambda a, b: a < b),
    "$lte": _compares(lambda a, b: a <= b),
    "$exists": lambda values, operand: bool(values) == bool(operand),
    "$size": lambda values, operand: any(isinstance(v, list) and len(v) == operand for v in values),
    "$regex": lambda values, operand: any(isinstance(v, str) and re.search(operand, v) is not None for v in values),
}
