"""The unit of work: what one command, or one batch of reactions, wants to write, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.contracts.fact import Fact
from shared.kernel import Actor, Aggregate


@dataclass(frozen=True, slots=True)
class Save:
    """An aggregate to store at `expected` version or not at all; its recorded facts go into the commit document."""

    collection: str
    aggregate: Aggregate
    expected: int


@dataclass(slots=True)
class Row:
    """A write of a row without a version: `set` merges fields (and creates), `insert` must not exist, `delete` removes.

    What reactions know of others (`known_*`) and previews: folded in memory, so one row is written once a batch.
    """

    collection: str
    key: str
    mode: str
    fields: dict[str, Any]
    push: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Due:
    """Something that must happen at an instant: fires once as a command under key `due:<id>:<version>` (rule 23)."""

    kind: str
    ref: str
    due_at: datetime
    version: int


class Work:
    """Collects saves, rows, guards and due items of one command or batch; the log commits it as a whole.

    `actor` and `correlation_id` go into every fact's envelope; `causation_id` is the id of the fact that led to it.
    """

    def __init__(self, *, actor: Actor, correlation_id: str, causation_id: str | None = None) -> None:
        self.actor = actor
        self.correlation_id = correlation_id
        self.causation_id = causation_id
        self.saves: dict[tuple[str, str], Save] = {}
        self.rows: dict[tuple[str, str], Row] = {}
        self.guards: dict[tuple[str, str], int] = {}
        self.dues: list[Due] = []
        self.cancelled_dues: set[str] = set()
        self.seen: dict[tuple[str, str], Aggregate | None] = {}
        self.read_at = 0
        self.reaction: tuple[str, str] | None = None
        self._causes: dict[int, str] = {}

    def save(self, collection: str, aggregate: Aggregate) -> None:
        """Stores the aggregate with the facts it recorded; without facts it has not changed: saving it is a bug."""
        if not aggregate.recorded:
            raise ValueError(f"{collection}/{aggregate.id} is saved without a fact")
        first = self.saves.get((collection, aggregate.id))
        expected = aggregate.version if first is None else first.expected
        self.saves[collection, aggregate.id] = Save(collection, aggregate, expected)
        self.seen[collection, aggregate.id] = aggregate
        if self.causation_id is not None:
            for recording in aggregate.recorded:
                self._causes.setdefault(id(recording.fact), self.causation_id)

    def cause_of(self, fact: Fact) -> str | None:
        """The id of the fact that led to this one; in a batch every fact keeps the cause it was saved under."""
        return self._causes.get(id(fact), self.causation_id)

    def guard(self, collection: str, aggregate: Aggregate) -> None:
        """Puts a read that matters into the transaction: the commit fails if it changed meanwhile (rule 1)."""
        self.guards[collection, aggregate.id] = aggregate.version

    def set(self, collection: str, key: str, fields: Mapping[str, Any]) -> None:
        """Merges fields (dotted paths allowed) into a row, creating it when missing; later calls win by field."""
        row = self.rows.get((collection, key))
        if row is None or row.mode == "delete":
            row = self.rows[collection, key] = Row(collection, key, "set", {})
        row.fields.update(fields)

    def push(self, collection: str, key: str, path: str, *items: Any) -> None:
        """Appends items to an array field of a row, creating it when it is missing."""
        self.set(collection, key, {})
        self.rows[collection, key].push.setdefault(path, []).extend(items)

    def insert(self, collection: str, key: str, fields: Mapping[str, Any]) -> None:
        """Inserts a row that must not exist yet (a natural key)."""
        self.rows[collection, key] = Row(collection, key, "insert", dict(fields))

    def delete(self, collection: str, key: str) -> None:
        """Removes a row; a missing one is fine."""
        self.rows[collection, key] = Row(collection, key, "delete", {})

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


@contextmanager
def working(work: Work) -> Iterator[Work]:
    """Makes `work` the current one for the body."""
    token = _current.set(work)
    try:
        yield work
    finally:
        _current.reset(token)
