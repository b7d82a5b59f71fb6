"""Vetoes: raised by one person, confirmed by another, then acting back into rounds decided before (rule 14)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from services.incentive_scoring.domain import AwardDocket, Veto
from services.incentive_scoring.handlers.dockets import AwardDockets, OtherDocketOpen
from services.incentive_scoring.handlers.ports import Agenda, Aggregates, KnownRows, every
from services.incentive_scoring.policies.rules import GROUNDS
from services.incentive_scoring.policies.vetoing import VetoResult, result
from shared.codes.divisions import InvalidDivision, checked_division
from shared.codes.uscc import InvalidUscc, checked_uscc
from shared.codes.working_days import CalendarMissing, end_of_working_days
from shared.contracts.evaluation import SubjectKind
from shared.contracts.fact import Evidence
from shared.kernel import CIVIL, NATIONAL, Actor, FieldError, InvalidInput, NotFound, Outcome

ESCALATION = "veto-escalation"
CONFIRM_WORKING_DAYS = 20


@dataclass(frozen=True, slots=True)
class RaiseVeto:
    """Raise a veto against a subject with its ground and from when the ground is effective."""

    ground: str
    subject_kind: SubjectKind
    subject: str
    effective_from: datetime
    effective_until: datetime | None
    reason: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Vetoes:
    """One method per use case, and the one that time calls."""

    vetoes: Aggregates[Veto]
    dockets: Aggregates[AwardDocket]
    known_parties: KnownRows
    agenda: Agenda
    award_dockets: AwardDockets

    async def raise_veto(self, command: RaiseVeto, *, by: Actor, at: datetime) -> Outcome:
        """Records the ground; the second person has 20 working days before the upper office is told."""
        region = await self._region_of(command, at)
        if not by.scope.covers(region):
            raise NotFound
        errors = _faults(command)
        if errors:
            raise InvalidInput(errors=errors)
        instant = at.isoformat()
        named = "|".join((command.ground, command.subject_kind, command.subject, by.id, instant, command.reason))
        veto = Veto.raise_(
            veto_id=f"VT-{hashlib.sha256(named.encode()).hexdigest()[:16]}", ground=command.ground,
            subject_kind=command.subject_kind, subject=command.subject, effective_from=command.effective_from,
            effective_until=command.effective_until, reason=command.reason, evidence=command.evidence,
            regions=(region,), by=by.id, at=at,
        )  # fmt: skip
        self.vetoes.save(veto)
        due_at = escalates_at(at)
        self.agenda.due(ESCALATION, veto.id, due_at=due_at)
        return Outcome(veto, {"escalates_at": due_at.isoformat()})

    async def confirm(self, veto_id: str, *, by: Actor, at: datetime) -> Outcome:
        """Lets the veto act: reverses tilts, ranks afresh and proposes revocations where the ground reaches."""
        veto = await self.vetoes.get(veto_id, by.scope)
        results = await self._results(veto, at=at, command=True)
        moved = tuple(found.shown() for found in results)  # before the dockets below take their new rankings
        veto.confirm(by=by.id, at=at, moved=moved)
        self.vetoes.save(veto)
        self.agenda.cancel(ESCALATION, veto.id)
        for found in results:
            if found.reverses:
                decision = await self.award_dockets.decisions.get(f"{found.docket.id}:{veto.subject}", NATIONAL)
                decision.reverse(veto_id=veto.id, ground=veto.ground, at=at)
                self.award_dockets.decisions.save(decision)
            if found.ranking is not None:
                found.docket.rank(found.ranking.places, found.ranking.released, reason=f"veto:{veto.id}", at=at)
            if found.proposal is not None:
                found.docket.propose_revocation(found.proposal)
            self.dockets.save(found.docket)
        return Outcome(veto, {"moved": list(moved)})

    async def lift(self, veto_id: str, *, reason: str, by: Actor, at: datetime) -> Outcome:
        """Ends the veto; rounds that are closed stay as they are, and the answer says which they are."""
        veto = await self.vetoes.get(veto_id, by.scope)
        veto.lift(reason=reason, by=by.id, at=at)
        self.vetoes.save(veto)
        self.agenda.cancel(ESCALATION, veto.id)
        return Outcome(veto, {"not_restored": [moved["docket_id"] for moved in veto.moved]})

    async def escalate(self, veto_id: str, at: datetime) -> Veto:
        """Time's own command: 20 working days have passed."""
        veto = await self.vetoes.get(veto_id, NATIONAL)
        if veto.escalate(at=at):
            self.vetoes.save(veto)
        return veto

    async def preview(self, veto: Veto, *, at: datetime) -> list[VetoResult]:
        """Whom confirming it now would move; writes nothing."""
        return await self._results(veto, at=at, command=False)

    async def _results(self, veto: Veto, *, at: datetime, command: bool) -> list[VetoResult]:
        results = []
        where = {f"candidates.{veto.subject}": {"$exists": True}, "subject_kind": veto.subject_kind.value}
        for docket in await every(self.dockets, NATIONAL, where):
            if command:
                fresh = await self.dockets.find_one(docket.id)
                assert fresh is not None
                docket = fresh  # noqa: PLW2901 - the same docket, now watched by this command
                if docket.state == "closed":
                    raise OtherDocketOpen(docket=docket.id)
            found = None
            if docket.state == "ranked":
                decisions = await self.award_dockets.decided(docket.id)
                policy = await self.award_dockets.knowledge.policy(docket.policy_version)
                found = result(veto, docket, policy, decisions, at=at)
            if found is not None:
                results.append(found)
            elif command:
                self.dockets.guard(docket)  # a cut that commits meanwhile would have missed this veto
        return results

    async def _region_of(self, command: RaiseVeto, at: datetime) -> str:
        """Where the subject lies; a party nobody has told us of yet is the nation's to veto (empty)."""
        if command.subject_kind is SubjectKind.REGION:
            try:
                return checked_division(command.subject, at.astimezone(CIVIL).date())
            except InvalidDivision as wrong:
                fault = FieldError("subject", f"division-{wrong.rule}", wrong.zh, wrong.en, command.subject)
                raise InvalidInput(errors=[fault]) from wrong
        if command.subject_kind in (SubjectKind.ENTERPRISE, SubjectKind.INSTITUTION):
            try:
                checked_uscc(command.subject)
            except InvalidUscc as wrong:
                fault = FieldError("subject", f"uscc-{wrong.rule}", wrong.zh, wrong.en, command.subject)
                raise InvalidInput(errors=[fault]) from wrong
        row = await self.known_parties.get(command.subject)
        return str(row["regions"][0]) if row else ""


def escalates_at(raised_at: datetime) -> datetime:
    """The end of the 20th working day; in a year without a calendar the earliest day that could be it: 28 days."""
    day = raised_at.astimezone(CIVIL).date()
    try:
        return end_of_working_days(day, CONFIRM_WORKING_DAYS)
    except CalendarMissing:
        # Escalating harms nobody, and a veto must not be refused because next year's holidays are not announced yet.
        return datetime.combine(day + timedelta(days=29), time(), CIVIL)


def _faults(command: RaiseVeto) -> list[FieldError]:
    errors = []
    if command.ground not in GROUNDS:
        errors.append(FieldError("ground", "ground", "应为 V1 至 V7", "One of V1 to V7 is expected", command.ground))
    if command.effective_until is not None and command.effective_until <= command.effective_from:
        errors.append(
            FieldError("effective_until", "order", "失效时间须晚于生效时间", "It must end after it becomes effective")
        )
    if (command.ground == "V1") != (command.subject_kind is SubjectKind.REGION) and command.ground in GROUNDS:
        errors.append(
            FieldError("ground", "subject-kind", "V1 只用于地区,其余用于企业、机构与个人",
                       "V1 is for regions, the others for enterprises, institutions and individuals")
        )  # fmt: skip
    return errors
