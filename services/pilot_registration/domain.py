"""The registry: who takes part, by unified social credit code."""

from __future__ import annotations

from datetime import datetime

from shared.contracts.pilot_registration import PartyKind, PartyRegistered, SizeClass
from shared.kernel import Aggregate, DomainError


class PartyAlreadyRegistered(DomainError):
    """A party is registered once, whoever asks."""

    code = "party-already-registered"
    zh = "{uscc} 已登记"
    en = "{uscc} is registered already"


class Party(Aggregate):
    """An enterprise, institution or government body; its id is its unified social credit code."""

    name: str = ""
    kind: PartyKind = PartyKind.ENTERPRISE
    size_class: SizeClass = SizeClass.NONE
    division_code: str = ""

    @classmethod
    def register(
        cls, *, uscc: str, name: str, kind: PartyKind, size_class: SizeClass, division_code: str, at: datetime
    ) -> Party:
        """Enters a party into the registry; true in the world from the moment it is recorded."""
        party = cls(
            id=uscc, name=name, kind=kind, size_class=size_class, division_code=division_code, regions=(division_code,)
        )
        party.record(
            PartyRegistered(uscc=uscc, name=name, kind=kind, size_class=size_class, division_code=division_code),
            effective_at=at,
        )
        return party
