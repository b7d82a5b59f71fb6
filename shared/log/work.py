"""The unit of work: what one command, or one batch of reactions, wants to write, before anything is written."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.kernel import Actor, Aggregate, Recording


@dataclass(frozen=True, slots=True)
class Save:
    """An aggregate to store at `expected` version or not at all; its recorded facts go into the commit document."""

    collection: str
    aggregate: Aggregate
    expected: int


@dataclass(slots=True)
class Row:
    """A write of a row without a version: what is set and pushed is folded here, so one row is written once a batch.

    `mode`: `set` merges fields and creates; `insert` must not exist; `replace` is a delete and what came after it;
    `delete` removes. `where`, when there is one, must hold of the stored row or the commit fails.
    """

    collection: str
    key: str
    mode: str
    fields: dict[str, Any] = field(default_factory=dict)
    push: dict[str, list[Any]] = field(default_factory=dict)
    where: dict[str, Any] = field(default_factory=dict)

    def put(self, path: str, value: Any) -> None:
        """Sets a dotted path; what was set or pushed at it or below it before is gone."""
        below = f"{path}."
        for known in [k for k in self.fields if k == path or k.startswith(below)]:
            del self.fields[known]
        for known in [k for k in self.push if k == path or k.startswith(below)]:
            del self.push[known]
        holder, name = self._holder(path)
        holder[name] = copy.deepcopy(value)

    def append(self, path: str, items: tuple[Any, ...]) -> None:
        """Pushes to the array at a dotted path, to the one set just before when there is one."""
        holder, name = self._holder(path)
        if holder is self.fields and self.mode == "set" and name not in holder:
            self.push.setdefault(path, []).extend(copy.deepcopy(items))
        else:
            holder.setdefault(name, []).extend(copy.deepcopy(items))

    def over(self, stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The row as it will be: what is stored with this write applied; None when there is none."""
        if self.mode == "delete":
            return None
        row = copy.deepcopy(dict(stored)) if stored and self.mode == "set" else {"_id": self.key}
        for path, value in self.fields.items():
            holder, name = _inside(row, path.split("."))
            holder[name] = copy.deepcopy(value)
        for path, items in self.push.items():
            holder, name = _inside(row, path.split("."))
            holder[name] = [*holder.get(name, []), *copy.deepcopy(items)]
        return row

    def _holder(self, path: str) -> tuple[dict[str, Any], str]:
        """What a path is written into: the fields, or a document that was set before at a shorter path."""
        parts = path.split(".")
        for i in range(1, len(parts)):
            above = ".".join(parts[:i])
            if above in self.fields:
                return _inside(self.fields[above], parts[i:])
        return (self.fields, path) if self.mode == "set" else _inside(self.fields, parts)


@dataclass(frozen=True, slots=True)
class Due:
    """Something that must happen at an instant: fires once as a command under key `due:<id>:<version>` (rule 23)."""

    kind: str
    ref: str
    due_at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class Cause:
    """What a recording belongs to: the request or trace it serves, the fact and the reaction that led to it.

    `index` counts the recordings of one reaction to one fact: with the others it makes an id that a re-run repeats.
    """

    correlation_id: str
    causation_id: str | None
    reaction: tuple[str, str] | None
    traceparent: str | None
    index: int


class Split(Exception):
    """A reaction asks a question whose answer the facts before it in the batch change: commit those first."""


class Work:
    """Collects saves, rows, guards and due items of one command or batch; the log commits it as a whole.

    `actor`, `correlation_id` and `traceparent` go into every fact's envelope; `causation_id` is the id of the fact that
    led to it. Reads of a batch go through `session`, its transaction.
    """

    def __init__(
        self,
        *,
        actor: Actor,
        correlation_id: str,
        causation_id: str | None = None,
        traceparent: str | None = None,
        session: Any = None,
    ) -> None:
        self.actor = actor
        self.correlation_id = correlation_id
        self.causation_id = causation_id
        self.traceparent = traceparent
        self.session = session
        self.saves: dict[tuple[str, str], Save] = {}
        self.rows: dict[tuple[str, str], Row] = {}
        self.guards: dict[tuple[str, str], int] = {}
        self.dues: list[Due] = []
        self.cancelled_dues: set[str] = set()
        self.seen: dict[tuple[str, str], Aggregate | None] = {}
        self.read_at = 0
        self.reaction: tuple[str, str] | None = None
        self._causes: dict[int, Cause] = {}
        self._recordings: Counter[tuple[tuple[str, str] | None, str | None]] = Counter()
        self._changed_before: frozenset[str] = frozenset()

    def hears(
        self, *, causation_id: str, correlation_id: str, traceparent: str | None, reaction: tuple[str, str]
    ) -> None:
        """Turns to the next fact of a batch: what is recorded from here on is caused by it."""
        self.causation_id, self.correlation_id = causation_id, correlation_id
        self.traceparent, self.reaction = traceparent, reaction
        self._changed_before = frozenset(collection for collection, _key in [*self.saves, *self.rows])

    def asks(self, collection: str) -> None:
        """A query is about to be sent; raises Split when earlier facts of the batch have changed what it looks at."""
        if collection in self._changed_before:
            raise Split(collection)

    def save(self, collection: str, aggregate: Aggregate) -> None:
        """Stores the aggregate with the facts it recorded; without facts it has not changed: saving it is a bug."""
        if not aggregate.recorded:
            raise ValueError(f"{collection}/{aggregate.id} is saved without a fact")
        first = self.saves.get((collection, aggregate.id))
        expected = aggregate.version if first is None else first.expected
        self.saves[collection, aggregate.id] = Save(collection, aggregate, expected)
        self.seen[collection, aggregate.id] = aggregate
        origin = (self.reaction, self.causation_id)
        for recording in aggregate.recorded:
            if id(recording) not in self._causes:
                self._causes[id(recording)] = Cause(
                    self.correlation_id, self.causation_id, self.reaction, self.traceparent, self._recordings[origin]
                )
                self._recordings[origin] += 1

    def cause_of(self, recording: Recording) -> Cause:
        """What a recording was saved under; in a batch each keeps its own."""
        return self._causes[id(recording)]

    def guard(self, collection: str, aggregate: Aggregate) -> None:
        """Puts a read that matters into the transaction: the commit fails if it changed meanwhile (rule 1)."""
        self.guards[collection, aggregate.id] = aggregate.version

    def set(self, collection: str, key: str, fields: Mapping[str, Any]) -> None:
        """Merges fields (dotted paths allowed) into a row, creating it when missing; later calls win by field."""
        row = self._row(collection, key)
        for path, value in fields.items():
            row.put(path, value)

    def set_where(self, collection: str, key: str, where: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """Merges fields into a row that must exist and match `where` at the commit, or nothing is committed."""
        self.set(collection, key, fields)
        self.rows[collection, key].where.update(where)

    def push(self, collection: str, key: str, path: str, *items: Any) -> None:
        """Appends items to an array field of a row, creating it when it is missing."""
        self._row(collection, key).append(path, items)

    def insert(self, collection: str, key: str, fields: Mapping[str, Any]) -> None:
        """Inserts a row that must not exist yet (a natural key)."""
        before = self.rows.get((collection, key))
        if before is not None and before.mode != "delete":
            raise ValueError(f"{collection}/{key} is written before it is inserted")
        row = self.rows[collection, key] = Row(collection, key, "insert" if before is None else "replace")
        for path, value in fields.items():
            row.put(path, value)

    def delete(self, collection: str, key: str) -> None:
        """Removes a row; a missing one is fine."""
        self.rows[collection, key] = Row(collection, key, "delete")

    def row(self, collection: str, key: str, stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """A row as this work leaves it, from what is stored."""
        pending = self.rows.get((collection, key))
        return pending.over(stored) if pending else dict(stored) if stored else None

    def _row(self, collection: str, key: str) -> Row:
        row = self.rows.get((collection, key))
        if row is None:
            row = self.rows[collection, key] = Row(collection, key, "set")
        elif row.mode == "delete":
            row.mode = "replace"
        return row

    def due(self, kind: str, ref: str, *, due_at: datetime, version: int = 1) -> None:
        """Schedules `kind` for `ref` at an instant; a later version of the same (kind, ref) replaces this one."""
        self.dues.append(Due(kind, ref, due_at, version))

    def cancel_due(self, kind: str, ref: str) -> None:
        """Takes back what was scheduled for (kind, ref)."""
        self.cancelled_dues.add(f"{kind}:{ref}")


_current: ContextVar[Work] = ContextVar("work")


def current_work() -> Work:
    """The work in progress; stores write into it. There is none outside a command or a reaction."""
    return _current.get()


def work_or_none() -> Work | None:
    """The work in progress, or None where somebody only reads."""
    return _current.get(None)


@contextmanager
def working(work: Work) -> Iterator[Work]:
    """Makes `work` the current one for the body."""
    token = _current.set(work)
    try:
        yield work
    finally:
        _current.reset(token)


def _inside(document: dict[str, Any], parts: list[str]) -> tuple[dict[str, Any], str]:
    for part in parts[:-1]:
        document = document.setdefault(part, {})
    return document, parts[-1]
