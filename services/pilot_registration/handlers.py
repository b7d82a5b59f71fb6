"""What pilot_registration does when asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.pilot_registration.domain import Party, PartyAlreadyRegistered
from shared.codes.uscc import InvalidUscc, checked_uscc
from shared.contracts.pilot_registration import PartyKind, SizeClass
from shared.kernel import Actor, FieldError, InvalidInput, NotFound


class Parties(Protocol):
    """The registered parties."""

    async def find_one(self, id: str) -> Party | None:
        """The party with this code, wherever it is."""
        ...

    def save(self, aggregate: Party) -> None:
        """Stores the party and its facts."""
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
class PilotRegistration:
    """One method per use case: get, ask, save."""

    parties: Parties

    async def register_party(self, command: RegisterParty, *, by: Actor, at: datetime) -> Party:
        """Registers a party inside the caller's scope; outside of it the division does not exist for the caller."""
        if not by.scope.covers(command.division_code):
            raise NotFound
        uscc = _checked(command.uscc)
        if await self.parties.find_one(uscc) is not None:
            raise PartyAlreadyRegistered(uscc=uscc)
        party = Party.register(
            uscc=uscc,
            name=command.name,
            kind=command.kind,
            size_class=command.size_class,
            division_code=command.division_code,
            at=at,
        )
        self.parties.save(party)
        return party


def _checked(uscc: str) -> str:
    try:
        return checked_uscc(uscc)
    except InvalidUscc as fault:
        raise InvalidInput(errors=[FieldError("uscc", f"uscc-{fault.rule}", fault.zh, fault.en, uscc)]) from fault
