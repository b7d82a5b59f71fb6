"""Pilots: from the draft to the acceptance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from services.pilot_registration.domain.applications import PilotDocument
from services.pilot_registration.domain.lifecycle import PilotState
from services.pilot_registration.domain.pilots import Pilot
from services.pilot_registration.domain.quotas import Quota
from services.pilot_registration.domain.shares import civil_day
from services.pilot_registration.handlers.checks import Faults
from services.pilot_registration.handlers.parties import Chains, Parties
from services.pilot_registration.policies.visibility import sees
from shared.contracts.fact import Evidence
from shared.contracts.pilot_registration import Level, Programme, Share
from shared.kernel import (
    NATIONAL,
    Actor,
    Aggregate,
    DomainError,
    FieldError,
    InvalidInput,
    NotFound,
    Outcome,
)


class Pilots(Protocol):
    """The pilots."""

    async def find_one(self, id: str) -> Pilot | None:
        """The pilot with this id, wherever it is."""
        ...

    def save(self, aggregate: Pilot) -> None:
        """Stores the pilot and its facts."""
        ...

    def guard(self, aggregate: Pilot) -> None:
        """Makes the commit depend on the pilot staying as it was read."""
        ...


class Quotas(Protocol):
    """The quotas, by call."""

    async def find_one(self, id: str) -> Quota | None:
        """The quota of a call."""
        ...

    def save(self, aggregate: Quota) -> None:
        """Stores the quota and its facts."""
        ...


class Rows(Protocol):
    """Rows without a version."""

    async def get(self, key: str) -> dict[str, Any] | None:
        """One row."""
        ...

    def set(self, key: str, fields: Mapping[str, Any]) -> None:
        """Merges fields into a row."""
        ...

    def insert(self, key: str, fields: Mapping[str, Any]) -> None:
        """Inserts a row that must not exist yet."""
        ...

    def push(self, key: str, path: str, *items: Any) -> None:
        """Appends to an array of a row."""
        ...


class Papers(Protocol):
    """The uploaded attachments."""

    async def evidence(self, id: str, *, by: Actor | None = None) -> Evidence:
        """Where it can be opened and its SHA-256; refused unless the actor or the actor's organisation uploaded it."""
        ...


class Agenda(Protocol):
    """What must happen at an instant."""

    def due(self, kind: str, ref: str, *, due_at: datetime, version: int = 1) -> None:
        """Schedules; a later version replaces an earlier one."""
        ...

    def cancel(self, kind: str, ref: str) -> None:
        """Takes back."""
        ...


class CodeTaken(DomainError):
    """A pilot's code is given once."""

    code = "code-taken"
    zh = "编号 {taken} 已用于另一试点"
    en = "The code {taken} is given to another pilot already"


CLOSE_NOTICE = "close-notice"


@dataclass(frozen=True, slots=True)
class DraftPilot:
    """What a draft says; the same again when it is changed."""

    title: str
    programme: Programme
    level: Level
    chain_id: str
    applicant: str
    lead_region: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class PilotFlow:
    """One method per use case: get, ask, save."""

    pilots: Pilots
    parties: Parties
    chains: Chains
    quotas: Quotas
    codes: Rows
    uses: Rows
    papers: Papers
    agenda: Agenda

    async def draft(self, pilot_id: str, command: DraftPilot, *, by: Actor, at: datetime) -> Pilot:
        """Opens a pilot led by a region of the caller; elsewhere there is nothing for the caller to lead."""
        if not by.scope.covers(command.lead_region):
            raise NotFound
        form = await self._checked(command, at)
        pilot = Pilot.draft(pilot_id=pilot_id, **form, by=by, at=at)
        self.pilots.save(pilot)
        return pilot

    async def change(self, pilot_id: str, command: DraftPilot, *, by: Actor, at: datetime) -> Pilot:
        """Changes the draft; a material change voids the confirmations of the participants."""
        pilot = await self._led(pilot_id, by)
        if not by.scope.covers(command.lead_region):
            raise NotFound
        if pilot.change(**await self._checked(command, at), at=at):
            self.pilots.save(pilot)
        return pilot

    async def confirm_share(self, pilot_id: str, *, region: str, by: Actor, at: datetime) -> Pilot:
        """A participant's registrar or province agrees to its share; confirming twice changes nothing."""
        pilot = await self.pilots.find_one(pilot_id)
        if pilot is None or not by.scope.covers_any(pilot.regions):
            raise NotFound
        if region in pilot.regions and not by.scope.covers(region):
            zh, en = f"{region} 不在您的管辖范围内", f"{region} lies outside your scope"
            raise InvalidInput(errors=[FieldError("region", "share-scope", zh, en, region)])
        if pilot.confirm_share(region, at=at):
            self.pilots.save(pilot)
        return pilot

    async def submit(self, pilot_id: str, *, attachments: Sequence[tuple[str, str]], by: Actor, at: datetime) -> Pilot:
        """Hands the application in with its documents, given as (kind, attachment id)."""
        pilot = await self._led(pilot_id, by)
        documents = [
            PilotDocument(kind=kind, attachment_id=id, sha256=(await self.papers.evidence(id, by=by)).sha256)
            for kind, id in attachments
        ]
        pilot.submit(documents, by=by, at=at)
        for document in documents:
            self.uses.push(document.attachment_id, "uses", {"pilot": pilot_id})
        self.pilots.save(pilot)
        return pilot

    async def recall(self, pilot_id: str, *, reason: str, by: Actor, at: datetime) -> Pilot:
        """Takes the submission back to work on it."""
        pilot = await self._led(pilot_id, by)
        pilot.recall(reason, by=by, at=at)
        self.pilots.save(pilot)
        return pilot

    async def send_back(
        self, pilot_id: str, *, reasons: Sequence[str], missing_documents: Sequence[str], by: Actor, at: datetime
    ) -> Pilot:
        """Returns the application with reasons; the fourth time it is refused."""
        pilot = await self._led(pilot_id, by)
        pilot.send_back(reasons, missing_documents, by=by, at=at)
        self.pilots.save(pilot)
        return pilot

    async def admit(self, pilot_id: str, *, quota_bucket: str, by: Actor, at: datetime) -> Pilot:
        """The form check is passed."""
        pilot = await self._led(pilot_id, by)
        pilot.admit(quota_bucket, by=by, at=at)
        self.pilots.save(pilot)
        return pilot

    async def set_quota(self, call: str, *, national: int, per_region: int, by: Actor, at: datetime) -> Quota:
        """Sets the places of a call; the same again changes nothing."""
        quota = await self.quotas.find_one(call) or Quota(id=call)
        if quota.set_limits(national, per_region, at=at):
            self.quotas.save(quota)
        return quota

    async def select(self, pilot_id: str, *, run_id: str, reason: str, by: Actor, at: datetime) -> Pilot:
        """Selects; a national pilot takes a place of its call, whose one document guards both limits (rule 3)."""
        pilot = await self._led(pilot_id, by)
        pilot.select(run_id, reason, by=by, at=at)
        if pilot.level is Level.NATIONAL:
            quota = await self.quotas.find_one(pilot.quota_bucket) or Quota(id=pilot.quota_bucket)
            quota.take(pilot.id, pilot.lead_region, at=at)
            self.quotas.save(quota)
        self.pilots.save(pilot)
        return pilot

    async def decline(self, pilot_id: str, *, run_id: str, reason: str, by: Actor, at: datetime) -> Pilot:
        """Does not select, for a reason."""
        pilot = await self._led(pilot_id, by)
        pilot.decline(run_id, reason, by=by, at=at)
        self.pilots.save(pilot)
        return pilot

    async def open_notice(self, pilot_id: str, *, working_days: int, by: Actor, at: datetime) -> Outcome:
        """Opens the notice; it will close by itself."""
        pilot = await self._led(pilot_id, by)
        notice = pilot.open_notice(working_days, by=by, at=at)
        self.agenda.due(CLOSE_NOTICE, pilot.id, due_at=notice.closes_at, version=notice.turn)
        self.pilots.save(pilot)
        return Outcome(pilot, {"notice_id": notice.notice_id, "closes_at": notice.closes_at.isoformat()})

    async def object(
        self, pilot_id: str, *, objection_id: str, reason: str, attachment_ids: Sequence[str], by: Actor, at: datetime
    ) -> Outcome:
        """Objects with evidence during the notice, which then stands still; a notice is public, so anybody may."""
        pilot = await self.pilots.find_one(pilot_id)
        if pilot is None or not (pilot.in_public or sees(pilot, by)):
            raise NotFound
        evidence = [await self.papers.evidence(id, by=by) for id in attachment_ids]
        pilot.object(objection_id=objection_id, reason=reason, evidence=evidence, by=by, at=at)
        self.agenda.cancel(CLOSE_NOTICE, pilot.id)
        for id in attachment_ids:
            self.uses.push(id, "uses", {"pilot": pilot_id})
        self.pilots.save(pilot)
        return Outcome(pilot, {"objection_id": objection_id})

    async def decide_objection(
        self, pilot_id: str, *, objection_id: str, sustained: bool, reason: str, by: Actor, at: datetime
    ) -> Outcome:
        """Decides an objection: disqualified, or the notice goes on."""
        pilot = await self._seen(pilot_id, by)
        pilot.decide_objection(objection_id, sustained=sustained, reason=reason, by=by, at=at)
        details: dict[str, Any] = {"state": pilot.state.value}
        if pilot.state is PilotState.IN_NOTICE and pilot.notice is not None:
            self.agenda.due(CLOSE_NOTICE, pilot.id, due_at=pilot.notice.closes_at, version=pilot.notice.turn)
            details["closes_at"] = pilot.notice.closes_at.isoformat()
        if pilot.state is PilotState.DISQUALIFIED:
            await self._release_place(pilot, at)
        self.pilots.save(pilot)
        return Outcome(pilot, details)

    async def close_notice(self, pilot_id: str, at: datetime) -> Aggregate | Outcome:
        """Time does this: the notice is over."""
        pilot = await self.pilots.find_one(pilot_id)
        if pilot is None:
            raise NotFound
        pilot.close_notice(by=_TIME, at=at)
        self.pilots.save(pilot)
        return pilot

    async def approve(self, pilot_id: str, *, code: str, due_on: date, by: Actor, at: datetime) -> Pilot:
        """Approves under a code of its own, after the notice has closed."""
        pilot = await self._led(pilot_id, by)
        pilot.approve(code, due_on, by=by, at=at)
        if await self.codes.get(code) is not None:
            raise CodeTaken(taken=code)
        self.codes.insert(code, {"pilot_id": pilot_id})
        self.pilots.save(pilot)
        return pilot

    async def change_shares(
        self, pilot_id: str, *, lead_region: str, shares: tuple[Share, ...], effective_on: date, reason: str,
        by: Actor, at: datetime,
    ) -> Pilot:  # fmt: skip
        """The office's decision on other shares from a day on (rule 4)."""
        pilot = await self._led(pilot_id, by)
        faults = Faults()
        for i, share in enumerate(shares):
            faults.division(f"shares.{i}.region", share.region, effective_on)
        faults.check()
        pilot.change_shares(lead_region, shares, effective_on=effective_on, reason=reason, at=at)
        self.pilots.save(pilot)
        return pilot

    async def start(self, pilot_id: str, *, by: Actor, at: datetime) -> Pilot:
        """The pilot runs from today on."""
        pilot = await self._led(pilot_id, by)
        pilot.start(by=by, at=at)
        self.pilots.save(pilot)
        return pilot

    async def request_acceptance(self, pilot_id: str, *, by: Actor, at: datetime) -> Pilot:
        """The lead region asks for acceptance."""
        pilot = await self._led(pilot_id, by)
        pilot.request_acceptance(by=by, at=at)
        self.pilots.save(pilot)
        return pilot

    async def accept(self, pilot_id: str, *, accepted_on: date, by: Actor, at: datetime) -> Pilot:
        """The office accepts, as of a day that has come."""
        pilot = await self._led(pilot_id, by)
        pilot.accept(accepted_on, by=by, at=at)
        self.pilots.save(pilot)
        return pilot

    async def withdraw(self, pilot_id: str, *, reason: str, by: Actor, at: datetime) -> Pilot:
        """The applicant takes the pilot back before approval; a place it had is free again."""
        pilot = await self._led(pilot_id, by)
        noticed = pilot.notice is not None
        pilot.withdraw(reason, by=by, at=at)
        if noticed:
            self.agenda.cancel(CLOSE_NOTICE, pilot.id)
        await self._release_place(pilot, at)
        self.pilots.save(pilot)
        return pilot

    async def _release_place(self, pilot: Pilot, at: datetime) -> None:
        quota = await self.quotas.find_one(pilot.quota_bucket) if pilot.quota_bucket else None
        if quota is not None and quota.release(pilot.id, at=at):
            self.quotas.save(quota)

    async def _seen(self, pilot_id: str, by: Actor) -> Pilot:
        pilot = await self.pilots.find_one(pilot_id)
        if pilot is None or not sees(pilot, by):
            raise NotFound
        return pilot

    async def _led(self, pilot_id: str, by: Actor) -> Pilot:
        pilot = await self._seen(pilot_id, by)
        pilot.led_by(by)
        return pilot

    async def _checked(self, command: DraftPilot, at: datetime) -> dict[str, Any]:
        faults, today = Faults(), civil_day(at)
        applicant = faults.uscc("applicant", command.applicant)
        lead_region = faults.division("lead_region", command.lead_region, today)
        shares = [
            Share(region=faults.division(f"shares.{i}.region", share.region, today), share=share.share)
            for i, share in enumerate(command.shares)
        ]
        if await self.chains.find_one(command.chain_id) is None:
            zh, en = "没有登记这条产业链", "This chain is not registered"
            faults.add("chain_id", "chain-unknown", zh, en, command.chain_id)
        if not faults.found and await self.parties.find_one(applicant) is None:
            zh, en = "申报单位尚未登记", "The applicant is not registered yet"
            faults.add("applicant", "party-unknown", zh, en, command.applicant)
        faults.check()
        return {
            "title": command.title, "programme": command.programme, "level": command.level,
            "chain_id": command.chain_id, "applicant": applicant, "lead_region": lead_region, "shares": shares,
        }  # fmt: skip


_TIME = Actor(id="time", roles=frozenset({"system"}), org="", scope=NATIONAL)
