"""When a veto acts, and whom it moves (rule 14): worked out the same way before it is confirmed and when it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.incentive_scoring.domain import AwardDocket, RevocationProposal, TiltDecision, Veto
from services.incentive_scoring.policies.ranking import RankedCandidate, Ranking, difference, rank, standing
from services.incentive_scoring.policies.rules import PolicyDocument, months_after


@dataclass(frozen=True, slots=True)
class VetoResult:
    """What a veto does to one docket: a tilt taken back, a ranking afresh, an award revocation proposed, or none."""

    docket: AwardDocket
    reverses: bool
    ranking: Ranking | None
    proposal: RevocationProposal | None

    def shown(self) -> dict[str, Any]:
        """Whom it moves, for people."""
        proposal = self.proposal
        return {
            "docket_id": self.docket.id,
            "award": self.docket.award,
            "tilt_reversed": self.reverses,
            "reranked": self.ranking is not None,
            "revocation_proposed": proposal is not None,
            "displaced": list(proposal.displaced) if proposal else [],
            "promoted": list(proposal.promoted) if proposal else [],
            "moves": difference(self.docket.ranking, self.ranking.places) if self.ranking else [],
        }


def holds(veto: Veto, policy: PolicyDocument, docket: AwardDocket, at: datetime) -> bool:
    """Whether the ground is effective for a docket at an instant, whoever knew of it and whenever."""
    assert veto.effective_from is not None
    said = policy.vetoes[veto.ground]  # type: ignore[index]  # grounds are checked when a veto is raised
    if veto.effective_from > at:
        return False
    if veto.effective_until is not None:
        return at < veto.effective_until
    if said.within_cycle:
        assert docket.cycle_start is not None
        return veto.effective_from > docket.cycle_start
    months = said.months_national if docket.level == "national" and said.months_national else said.months
    return months is None or at < months_after(veto.effective_from, months)


def result(
    veto: Veto,
    docket: AwardDocket,
    policy: PolicyDocument,
    decisions: Mapping[str, TiltDecision],
    *,
    at: datetime,
) -> VetoResult | None:
    """What confirming the veto does to a ranked docket; None when the docket is not touched."""
    place = docket.place_of(veto.subject)
    if place is None or docket.cut_at is None or docket.subject_kind != veto.subject_kind:
        return None
    assert veto.effective_from is not None
    if veto.effective_from > docket.cut_at:
        return _later(veto, docket, policy, at=at) if place.in_places else None
    if not holds(veto, policy, docket, docket.cut_at):
        return None
    entries = [
        RankedCandidate(entry.candidate, entry.tilt * 0, entry.ineligible or policy.vetoes[veto.ground].ineligible)  # type: ignore[index]
        if entry.candidate.subject == veto.subject
        else entry
        for entry in standing(policy, docket, decisions)
    ]
    ranking = rank(policy, docket.places, entries)
    reverses = decisions[veto.subject].state == "decided"
    if not reverses and not difference(docket.ranking, ranking.places):
        return None
    before = {line.subject for line in docket.ranking if line.in_places}
    proposal = None
    if place.in_places:
        proposal = RevocationProposal(
            subject=veto.subject,
            veto_id=veto.id,
            displaced=tuple(sorted(before - set(ranking.winners))),
            promoted=tuple(winner for winner in ranking.winners if winner not in before),
            reranked=True,
            proposed_at=at,
        )
    return VetoResult(docket, reverses, ranking, proposal)


def _later(veto: Veto, docket: AwardDocket, policy: PolicyDocument, *, at: datetime) -> VetoResult | None:
    """Effective after the decision: the award may be revoked, the ranking stands."""
    assert veto.effective_from is not None
    if not holds(veto, policy, docket, max(at, veto.effective_from)):
        return None
    proposal = RevocationProposal(
        subject=veto.subject, veto_id=veto.id, displaced=(veto.subject,), promoted=(), reranked=False, proposed_at=at
    )
    return VetoResult(docket, False, None, proposal)
