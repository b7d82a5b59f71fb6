"""The registry: who takes part, by unified social credit code, and which chains there are."""

from __future__ import annotations

from datetime import datetime

from shared.contracts.pilot_registration import (
    ChainRegistered,
    PartyAffiliationChanged,
    PartyKind,
    PartyRegistered,
    SizeClass,
)
from shared.kernel import Aggregate, DomainError


class PartyAlreadyRegistered(DomainError):
    """A party is registered once, whoever asks."""

    code = "party-already-registered"
    zh = "{uscc} 已登记"
    en = "{uscc} is registered already"


class ChainAlreadyRegistered(DomainError):
    """A chain is registered once."""

    code = "chain-already-registered"
    zh = "产业链 {chain_id} 已登记"
    en = "The chain {chain_id} is registered already"


class Party(Aggregate):
    """An enterprise, institution or government body; its id is its unified social credit code."""

    name: str = ""
    kind: PartyKind = PartyKind.ENTERPRISE
    size_class: SizeClass = SizeClass.NONE
    division_code: str = ""
    group_id: str = ""

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

    def affiliate(self, group_id: str, *, effective_at: datetime) -> bool:
        """Puts the party into a group from a moment on (empty: into none); False when it is there already."""
        if group_id == self.group_id:
            return False
        self.group_id = group_id
        self.record(PartyAffiliationChanged(uscc=self.id, group_id=group_id), effective_at=effective_at)
        return True


class Chain(Aggregate):
    """An industrial or supply chain (产业链供应链); it belongs to no region."""

    name: str = ""
    industry_codes: tuple[str, ...] = ()

    @classmethod
    def register(cls, *, chain_id: str, name: str, industry_codes: tuple[str, ...], at: datetime) -> Chain:
        """Registers a chain with its GB/T 4754 codes."""
        chain = cls(id=chain_id, name=name, industry_codes=industry_codes)
        chain.record(ChainRegistered(chain_id=chain_id, name=name, industry_codes=industry_codes), effective_at=at)
        return chain
