"""Everything a run has left: each service's store, each topic, and what the clients were told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]


@dataclass(slots=True)
class Record:
    """One Kafka record."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    def header(self, name: str) -> str | None:
        """A header as text, or None when it is missing or no text."""
        for found, value in self.headers:
            if found == name:
                try:
                    return value.decode()
                except UnicodeDecodeError:
                    return None
        return None

    @property
    def seq(self) -> int | None:
        """The place in the publisher's log, when the record carries a valid head of ours."""
        try:
            seq, prev = int(self.header("ce_seq") or ""), int(self.header("ce_prev") or "")
        except ValueError:
            return None
        ours = self.header("ce_specversion") == "1.0" and self.header("ce_type") and self.header("ce_subject")
        return seq if ours and self.header("ce_logid") and 0 <= prev < seq else None


@dataclass(slots=True)
class Partition:
    """The records of one partition, from `begin` to `end` (the offset after the last one)."""

    begin: int = 0
    end: int = 0
    records: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class Told:
    """What a client was told about one command in the end: `ok` with the ids of its facts, or `refused`."""

    service: str
    key: str
    outcome: str
    facts: tuple[str, ...] = ()


@dataclass(slots=True)
class Dump:
    """A run after it has come to rest. `poison` names the records planted as poison: topic|partition|offset -> code."""

    stores: dict[str, dict[str, list[Document]]]
    topics: dict[str, dict[int, Partition]]
    journal: list[Told] = field(default_factory=list)
    poison: dict[str, str] = field(default_factory=dict)

    def commits(self, service: str) -> list[Document]:
        """The service's log in order of its places; what has none comes last."""
        found = self.stores[service].get("commits", [])
        # Commits without facts share the place of the next one that has some, over as many rounds as it takes.
        return sorted(
            found, key=lambda c: (c.get("seq", 2**62), c.get("sequenced_at", 0), bool(c.get("events")), c["at"])
        )

    def events(self, service: str) -> Iterator[tuple[Document, Document, int | None]]:
        """(commit, event, its seq) in order of the log."""
        for commit in self.commits(service):
            for i, event in enumerate(commit.get("events", ())):
                yield commit, event, commit["seq"] + i if "seq" in commit else None
