"""What the handlers of evaluation need from outside: kept facts, rows, aggregates, the log's positions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from services.evaluation.policies.facts import KnownFact
from shared.contracts.evaluation import InputRange
from shared.kernel import Aggregate, DomainError


class PositionPending(DomainError):
    """A fact of our own has no place in the log yet; the sequencer is behind."""

    code = "position-pending"
    status = 503
    zh = "日志序号尚未分配,请用同一个 Idempotency-Key 重试"
    en = "The log has not numbered it yet: try again with the same Idempotency-Key"


A = TypeVar("A", bound=Aggregate)


class KeptFacts(Protocol):
    """Every heard fact that a figure can use, append-only, found by what it is about."""

    def keep(self, fact: KnownFact, refs: Iterable[str]) -> None:
        """Keeps a fact under its references, and marks it as not yet followed by the scorecards."""
        ...

    async def about(self, refs: Iterable[str]) -> list[KnownFact]:
        """The facts that carry any of these references."""
        ...

    async def of_types(self, types: Sequence[str]) -> list[KnownFact]:
        """All facts of these types."""
        ...

    async def unfolded(self, limit: int) -> list[KnownFact]:
        """Facts that no revision round has looked at, in order of recorded time; at most `limit`."""
        ...

    async def newest_unfolded_at(self) -> int | None:
        """Recorded time (microseconds) of the newest of them; None when there is none."""
        ...

    def fold(self, ids: Iterable[str]) -> None:
        """A revision round has looked at these."""
        ...


class Rows(Protocol):
    """Rows without a version."""

    def set(self, key: str, fields: Mapping[str, Any]) -> None:
        """Merges fields into a row, creating it when missing."""
        ...

    async def get(self, key: str) -> dict[str, Any] | None:
        """One row, or None."""
        ...

    async def find(
        self, where: Mapping[str, Any], *, sort: Sequence[tuple[str, int]] = (("_id", 1),), limit: int = 0
    ) -> list[dict[str, Any]]:
        """Rows that match, in order."""
        ...


class Documents(Protocol[A]):
    """Aggregates of one type."""

    async def find_one(self, id: str) -> A | None:
        """The aggregate, or None."""
        ...

    def save(self, aggregate: A) -> None:
        """Stores it with the facts it recorded."""
        ...


@dataclass(frozen=True, slots=True)
class ParkedStream:
    """A stream with facts that lie as dead letters: nothing is published for whom they concern (rule 20)."""

    topic: str
    subject: str


class Ledger(Protocol):
    """Positions in this service's own log and what they stand for (rules 11 and 18 of the protocol)."""

    async def closed(self) -> int:
        """The newest position after which no commit can still be numbered."""
        ...

    async def inputs(self, known: int | None) -> tuple[InputRange, ...]:
        """How far into each partition of each publisher this service had heard at a position, or by now."""
        ...

    async def await_place(self, stream: str, version: int) -> int:
        """The position of one fact of our own that is about to be numbered; PositionPending after a while."""
        ...

    async def fact_id(self, stream: str, version: int) -> str | None:
        """The id of one fact of our own."""
        ...

    async def history(self, stream: str) -> list[dict[str, Any]]:
        """The facts of one stream of our own, oldest first, as they stand in the log."""
        ...

    def after(self, position: int, topic: str) -> AsyncIterator[dict[str, Any]]:
        """The facts of one topic of our own after a position, in order."""
        ...

    async def parked(self) -> list[ParkedStream]:
        """The streams with dead letters that wait."""
        ...


class Agenda(Protocol):
    """What must happen at an instant."""

    def due(self, kind: str, ref: str, *, due_at: datetime, version: int = 1) -> None:
        """Lets `kind` fire for `ref` at an instant; a later version replaces an earlier one."""
        ...
