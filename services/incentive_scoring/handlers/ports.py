"""What the handlers need from outside, as small promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from shared.kernel import Aggregate, RegionScope

A = TypeVar("A", bound=Aggregate)
A_co = TypeVar("A_co", bound=Aggregate, covariant=True)


class Page(Protocol[A_co]):
    """One page of aggregates; `after` continues it."""

    @property
    def items(self) -> tuple[A_co, ...]:
        """The aggregates."""
        ...

    @property
    def after(self) -> str | None:
        """Where the next page begins, or None."""
        ...


class Aggregates(Protocol[A]):
    """Aggregates of one type: `find_one`, `get`, `save` and `guard` within a command, `read` and `page` anywhere."""

    async def find_one(self, id: str) -> A | None:
        """The aggregate wherever it is."""
        ...

    async def get(self, id: str, scope: RegionScope) -> A:
        """The aggregate in scope, or NotFound."""
        ...

    async def read(self, id: str, scope: RegionScope) -> A:
        """The same for a reader."""
        ...

    async def page(
        self, scope: RegionScope, where: Mapping[str, Any], *, after: str | None = None, limit: int = 50
    ) -> Page[A]:
        """Those that match, in order of id."""
        ...

    def save(self, aggregate: A) -> None:
        """Stores the aggregate with its facts."""
        ...

    def guard(self, aggregate: A) -> None:
        """Lets the commit fail when this aggregate has changed meanwhile."""
        ...


class KnownRows(Protocol):
    """Rows without a version: what others said, previews, natural keys."""

    def set(self, key: str, fields: Mapping[str, Any]) -> None:
        """Merges fields into a row."""
        ...

    def insert(self, key: str, fields: Mapping[str, Any]) -> None:
        """Inserts a row that must not exist yet."""
        ...

    async def get(self, key: str) -> dict[str, Any] | None:
        """One row, or None."""
        ...

    async def find(
        self, where: Mapping[str, Any], *, sort: Sequence[tuple[str, int]] = (("_id", 1),), limit: int = 0
    ) -> list[dict[str, Any]]:
        """Rows that match."""
        ...

    async def find_many(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The rows of these keys that exist."""
        ...


class Agenda(Protocol):
    """What must happen at an instant."""

    def due(self, kind: str, ref: str, *, due_at: datetime, version: int = 1) -> None:
        """Lets `kind` fire for `ref`."""
        ...

    def cancel(self, kind: str, ref: str) -> None:
        """Takes it back."""
        ...


async def every(aggregates: Aggregates[A], scope: RegionScope, where: Mapping[str, Any]) -> list[A]:
    """All that match, page after page."""
    found: list[A] = []
    after: str | None = None
    while True:
        page = await aggregates.page(scope, where, after=after, limit=200)
        found += page.items
        after = page.after
        if after is None:
            return found
