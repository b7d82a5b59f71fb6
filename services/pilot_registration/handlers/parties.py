"""Parties and chains: register, affiliate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from services.pilot_registration.domain.parties import (
    Chain,
    ChainAlreadyRegistered,
    Party,
    PartyAlreadyRegistered,
)
from services.pilot_registration.domain.shares import civil_day, moment_of
from services.pilot_registration.handlers.checks import Faults
from shared.contracts.pilot_registration import PartyKind, SizeClass
from shared.kernel import Actor, NotFound, RegionScope


class Parties(Protocol):
    """The registered parties."""

    async def find_one(self, id: str) -> Party | None:
        """The party with this code, wherever it is."""
        ...

    async def get(self, id: str, scope: RegionScope) -> Party:
        """The party with this code within a scope."""
        ...

    def save(self, aggregate: Party) -> None:
        """Stores the party and its facts."""
        ...


class Chains(Protocol):
    """The registered chains."""

    async def find_one(self, id: str) -> Chain | None:
        """The chain with this id."""
        ...

    def save(self, aggregate: Chain) -> None:
        """Stores the chain and its facts."""
        ...


@dataclass(frozen=True, slots=True)
class RegisterParty:
    """Enter a party into the registry."""

    uscc: str
    name: str
    kind: PartyKind
    size_class: SizeClass
    division_code: str


@dataclass(frozen=True, slots=True)
class Registry:
    """One method per use case: get, ask, save."""

    parties: Parties
    chains: Chains

    async def register_party(self, command: RegisterParty, *, by: Actor, at: datetime) -> Party:
        """Registers a party inside the caller's scope; outside of it the division does not exist for the caller."""
        if not by.scope.covers(command.division_code):
            raise NotFound
        faults = Faults()
        uscc = faults.uscc("uscc", command.uscc)
        division_code = faults.division("division_code", command.division_code, civil_day(at))
        faults.check()
        if await self.parties.find_one(uscc) is not None:
            raise PartyAlreadyRegistered(uscc=uscc)
        party = Party.register(
            uscc=uscc,
            name=command.name,
            kind=command.kind,
            size_class=command.size_class,
            division_code=division_code,
            at=at,
        )
        self.parties.save(party)
        return party

    async def affiliate(self, uscc: str, *, group_id: str, effective_on: date, by: Actor, at: datetime) -> Party:
        """Puts a party into a group from a day on, or with an empty group into none."""
        party = await self.parties.get(uscc, by.scope)
        if party.affiliate(group_id, effective_at=moment_of(effective_on, at)):
            self.parties.save(party)
        return party

    async def register_chain(
        self, *, chain_id: str, name: str, industry_codes: tuple[str, ...], by: Actor, at: datetime
    ) -> Chain:
        """Registers a chain with its GB/T 4754 codes, in their order, each once."""
        faults = Faults()
        codes = [faults.industry(f"industry_codes.{i}", code) for i, code in enumerate(industry_codes)]
        faults.check()
        if await self.chains.find_one(chain_id) is not None:
            raise ChainAlreadyRegistered(chain_id=chain_id)
        chain = Chain.register(chain_id=chain_id, name=name, industry_codes=tuple(dict.fromkeys(codes)), at=at)
        self.chains.save(chain)
        return chain
