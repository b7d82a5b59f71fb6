"""Closure claims as work for evaluators: verified or rejected by somebody who has no part in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.evaluation.domain import Closure
from services.evaluation.handlers.ports import Documents, KeptFacts, Rows
from services.evaluation.policies.facts import Book, book
from shared.contracts.fact import Evidence
from shared.kernel import Actor, Aggregate, DomainError, NotFound, RegionScope, microseconds


class ClaimOutdated(DomainError):
    """A newer claim has taken this one's place."""

    code = "claim-outdated"
    zh = "该声明已被较新的声明取代,请以最新声明为准"
    en = "A newer claim has taken the place of this one: decide on the newest"


class OrganisationMissing(DomainError):
    """Whether somebody has a part in a claim cannot be told without their organisation."""

    code = "organisation-missing"
    status = 403
    zh = "您的令牌没有单位代码,无法确认是否需要回避"
    en = "Your token names no organisation, so a conflict of interest cannot be ruled out"


class ConflictOfInterest(DomainError):
    """Who claims, owns, or is affiliated with either cannot decide (separation of duties)."""

    code = "conflict-of-interest"
    status = 403
    zh = "须回避:您或您的单位是声明方、责任单位或其关联方"
    en = "You must stand back: you or your organisation made the claim, own the issue, or are affiliated with who does"


@dataclass(frozen=True, slots=True)
class Closures:
    """One method per decision."""

    closures: Documents[Closure]
    known_issues: Rows
    claims: Rows
    facts: KeptFacts

    async def verify(self, issue_id: str, claim_fact: str, *, by: Actor, at: datetime) -> Aggregate:
        """Confirms the newest claim of an issue."""
        claim, closure = await self._to_decide(issue_id, claim_fact, by=by, at=at)
        evidence = [Evidence.model_validate(item) for item in claim["evidence"]]
        closure.verify(claim_fact=claim_fact, verifier_org=by.org, evidence=evidence, at=at)
        return self._decided(closure, claim_fact, "verified", by=by, at=at, reason="")

    async def reject(self, issue_id: str, claim_fact: str, reason: str, *, by: Actor, at: datetime) -> Aggregate:
        """Refuses the newest claim of an issue, for a reason."""
        _claim, closure = await self._to_decide(issue_id, claim_fact, by=by, at=at)
        closure.reject(claim_fact=claim_fact, verifier_org=by.org, reason=reason, at=at)
        return self._decided(closure, claim_fact, "rejected", by=by, at=at, reason=reason)

    async def _to_decide(
        self, issue_id: str, claim_fact: str, *, by: Actor, at: datetime
    ) -> tuple[dict[str, Any], Closure]:
        issue, claim = await self.known_issues.get(issue_id), await self.claims.get(claim_fact)
        if issue is None or claim is None or claim["issue_id"] != issue_id or not visible(issue, by.scope):
            raise NotFound
        closure = await self.closures.find_one(issue_id) or Closure(
            id=issue_id, regions=tuple(issue.get("regions", ()))
        )
        if issue["claim"] != claim_fact and claim_fact not in closure.decided:
            raise ClaimOutdated
        await self._stands_apart(issue, claim, by=by, at=at)
        return claim, closure

    async def _stands_apart(self, issue: dict[str, Any], claim: dict[str, Any], *, by: Actor, at: datetime) -> None:
        if not by.org:
            raise OrganisationMissing
        involved = {party for party in (claim["claimant_org"], issue.get("owner", "")) if party}
        groups = await groups_of(involved | {by.org}, self.facts, at=at)
        now = microseconds(at)
        if by.id == claim["claimed_by"] or any(groups.affiliated(by.org, party, now) for party in involved):
            raise ConflictOfInterest

    def _decided(
        self, closure: Closure, claim_fact: str, state: str, *, by: Actor, at: datetime, reason: str
    ) -> Closure:
        self.closures.save(closure)
        decision = {"verifier_org": by.org, "decided_at": microseconds(at), "reason": reason}
        self.claims.set(claim_fact, {"state": state, "decision": decision})
        return closure


async def groups_of(parties: Iterable[str], facts: KeptFacts, *, at: datetime) -> Book:
    """The groups parties belong to by an instant, as known now."""
    return book(await facts.about({f"party:{uscc}" for uscc in parties}), until=microseconds(at))


def visible(issue: dict[str, Any], scope: RegionScope) -> bool:
    """Whether an issue lies in scope; one whose division has not been heard yet is seen nationally only."""
    return scope.national or scope.covers_any(issue.get("regions", ()))
