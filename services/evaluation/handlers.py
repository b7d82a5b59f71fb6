"""What evaluation does when others speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from shared.contracts.fact import Recorded
from shared.contracts.pilot_registration import PartyRegistered
from shared.kernel import microseconds


class KnownParties(Protocol):
    """What evaluation knows of parties; a row completes itself in whatever order facts arrive."""

    def set(self, key: str, fields: Mapping[str, Any]) -> None:
        """Merges fields into the row of a party."""
        ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One method per reaction."""

    known_parties: KnownParties

    async def on_party_registered(self, fact: Recorded[PartyRegistered]) -> None:
        """A party can be a subject from now on; the fact's two times and its place are kept with it."""
        party = fact.fact
        self.known_parties.set(
            fact.subject,
            {
                "name": party.name,
                "kind": party.kind.value,
                "size_class": party.size_class.value,
                "regions": [party.division_code],
                "registered": {
                    "fact": fact.id,
                    "effective_at": microseconds(fact.effective_at),
                    "recorded_at": microseconds(fact.recorded_at),
                    "topic": fact.position.topic,
                    "partition": fact.position.partition,
                    "seq": fact.position.seq,
                },
            },
        )
