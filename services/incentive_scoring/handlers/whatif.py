"""Questions that write nothing: what another policy or number would rank, and what later facts would change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from services.incentive_scoring.domain import AwardDocket, DocketNotDecided, PinnedInput, TiltDecision, TiltPolicy
from services.incentive_scoring.handlers.dockets import AwardDockets
from services.incentive_scoring.policies import breakpoints
from services.incentive_scoring.policies.ranking import RankedCandidate, Ranking, difference, rank
from services.incentive_scoring.policies.rules import PolicyDocument
from services.incentive_scoring.policies.tilting import Known, Tilt, plain, tilt, without
from shared.kernel import NATIONAL, FieldError, InvalidInput

VARIED_CANDIDATES_MAX = 400
"""Breakpoints look at every pair, and rank once per interval."""

Vary = Literal["cap", "base_floor", "completeness_floor"]
_TOP = {"cap": Fraction(5, 100), "base_floor": Fraction(1), "completeness_floor": Fraction(1)}


@dataclass(frozen=True, slots=True)
class Question:
    """What to change: another version, cap or floors, one fact left out; `vary` asks where the ranking changes."""

    policy_version: str | None = None
    cap: Decimal | None = None
    base_floor: Decimal | None = None
    completeness_floor: Decimal | None = None
    without_evidence: str | None = None
    vary: Vary | None = None
    low: Decimal | None = None
    high: Decimal | None = None


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Reads what is pinned (or, before the cut, known now) and computes; there is nothing here that could save."""

    award_dockets: AwardDockets

    async def simulate(self, docket: AwardDocket, question: Question, *, at: datetime) -> dict[str, Any]:
        """The ranking under the question, how it differs from the one in force, and breakpoints when asked for."""
        policy, known, cut = await self._read(docket, question.policy_version, at=at)
        before = rank(policy, docket.places, _entries(docket, _tilts(policy, cut, known)))
        asked = _changed(policy, docket, question)
        if question.without_evidence is not None:
            known = _left_out(known, question.without_evidence)
        tilts = _tilts(asked, cut, known)
        after = rank(asked, docket.places, _entries(docket, tilts))
        base = docket.ranking or before.places
        answer: dict[str, Any] = {
            "docket_id": docket.id,
            "policy_version": asked.version,
            "cap": str(asked.kinds[docket.subject_kind].cap),
            "base_floor": str(plain(asked.floor(docket.subject_kind))),
            "completeness_floor": str(asked.gates.completeness_floor),
            "ranking": [place.model_dump(mode="json") for place in after.places],
            "released": [moved.model_dump(mode="json") for moved in after.released],
            "differs": difference(base, after.places),
            "leaves": await self._leaves(docket, policy, tilts, question, at=at),
        }
        if question.vary is not None:
            answer["breakpoints"] = {
                "parameter": question.vary,
                # In a thread: seconds of arithmetic must not keep heartbeats and other requests waiting.
                "intervals": await asyncio.to_thread(_varied, asked, docket, tilts, known, question),
            }
        return answer

    async def would_change(self, docket: AwardDocket, *, at: datetime) -> list[dict[str, Any]]:
        """What newer scorecards, panels or policies would give, with the difference; nothing recomputes by itself."""
        if docket.state != "ranked":
            raise DocketNotDecided(docket=docket.id)
        dockets = self.award_dockets
        policy = await dockets.knowledge.policy(docket.policy_version)
        decisions = await dockets.decided(docket.id)
        now = await dockets.knowledge.pins(docket, policy, at=docket.cut_at or at)
        # Vetoes have a way of their own (rule 14), and what other dockets decided since is their matter.
        now = {
            subject: pin.model_copy(
                update={"vetoes": docket.pins[subject].vetoes, "earlier": docket.pins[subject].earlier}
            )
            for subject, pin in now.items()
        }
        moved = {subject: pin for subject, pin in now.items() if pin != docket.pins[subject]}
        found = []
        known = await dockets.knowledge.known(docket, moved)
        for subject in sorted(moved):
            then = tilt(policy, docket, docket.candidates[subject], known[subject])
            found.append(
                _change(decisions[subject], then)
                | {"cause": await self._cause(docket.pins[subject], moved[subject]), "policy_version": policy.version}
            )
        for version in await dockets.knowledge.in_force():
            if version != docket.policy_version and await self._follows(version, docket.policy_version):
                found += await self._under(docket, version, decisions)
        return found

    async def _under(
        self, docket: AwardDocket, version: str, decisions: Mapping[str, TiltDecision]
    ) -> list[dict[str, Any]]:
        policy = await self.award_dockets.knowledge.policy(version)
        known = await self.award_dockets.knowledge.known(docket, docket.pins)
        changes = []
        for subject, candidate in sorted(docket.candidates.items()):
            change = _change(decisions[subject], tilt(policy, docket, candidate, known[subject]))
            if change["difference"] != "0":
                changes.append(change | {"cause": {"policy": version}, "policy_version": version})
        return changes

    async def _follows(self, version: str, earlier: str) -> bool:
        """Whether a version replaces the earlier one, directly or over others."""
        at, seen = version, set()
        while at and at not in seen:
            seen.add(at)
            policy: TiltPolicy | None = next(
                iter((await self.award_dockets.knowledge.policies.page(NATIONAL, {"_id": at})).items), None
            )
            if policy is None:
                return False
            if policy.replaces == earlier:
                return True
            at = policy.replaces
        return False

    async def _cause(self, pinned: PinnedInput, now: PinnedInput) -> dict[str, Any]:
        cause: dict[str, Any] = {}
        if pinned.scorecard_revision != now.scorecard_revision:
            cause["scorecard"] = {
                "id": now.scorecard_id, "pinned": pinned.scorecard_revision, "now": now.scorecard_revision,
                "superseded": await self.award_dockets.knowledge.superseded(pinned),
            }  # fmt: skip
        if pinned.assessment_fact != now.assessment_fact:
            cause["assessment"] = {"pinned": pinned.assessment_fact, "now": now.assessment_fact}
        return cause

    async def _read(
        self, docket: AwardDocket, version: str | None, *, at: datetime
    ) -> tuple[PolicyDocument, dict[str, Known], AwardDocket]:
        knowledge = self.award_dockets.knowledge
        policy = await knowledge.policy(version or docket.policy_version)
        pins = docket.pins or await knowledge.pins(docket, policy, at=at)
        return policy, await knowledge.known(docket, pins), docket

    async def _leaves(
        self,
        docket: AwardDocket,
        policy: PolicyDocument,
        tilts: Mapping[str, Tilt],
        question: Question,
        *,
        at: datetime,
    ) -> list[dict[str, Any]]:
        """With one fact left out: exactly the leaves that rested on it, before and after (rule 12)."""
        if question.without_evidence is None:
            return []
        _policy, known, _cut = await self._read(docket, question.policy_version, at=at)
        before = _tilts(policy, docket, known)
        return [
            {
                "subject": subject,
                "component": was.name,
                "indicator": was.indicator,
                "points": [str(was.points), str(now.points)],
                "tilt": [str(before[subject].final), str(tilts[subject].final)],
            }
            for subject in sorted(tilts)
            for was, now in zip(before[subject].components, tilts[subject].components, strict=True)
            if was != now
        ]


def _tilts(policy: PolicyDocument, docket: AwardDocket, known: Mapping[str, Known]) -> dict[str, Tilt]:
    return {
        subject: tilt(policy, docket, candidate, known[subject]) for subject, candidate in docket.candidates.items()
    }


def _entries(docket: AwardDocket, tilts: Mapping[str, Tilt]) -> list[RankedCandidate]:
    return [
        RankedCandidate(candidate, tilts[subject].final, tilts[subject].ineligible or _barred(docket, subject))
        for subject, candidate in sorted(docket.candidates.items())
    ]


def _barred(docket: AwardDocket, subject: str) -> bool:
    """A veto that came after the cut stays in force whatever is asked."""
    place = docket.place_of(subject)
    return place is not None and place.ineligible


def _changed(policy: PolicyDocument, docket: AwardDocket, question: Question) -> PolicyDocument:
    kind = docket.subject_kind
    scale = policy.kinds[kind].scale
    gates: dict[str, Any] = {}
    faults = []
    if question.base_floor is not None:
        gates["base_floor"] = question.base_floor / scale
        if not 0 <= question.base_floor <= scale:
            faults.append(_out_of("base_floor", scale))
    if question.completeness_floor is not None:
        gates["completeness_floor"] = question.completeness_floor
        if not 0 <= question.completeness_floor <= 1:
            faults.append(_out_of("completeness_floor", Decimal(1)))
    kinds = dict(policy.kinds)
    if question.cap is not None:
        kinds[kind] = kinds[kind].model_copy(update={"cap": question.cap})
        if not 0 <= question.cap <= scale:
            faults.append(_out_of("cap", scale))
    if faults:
        raise InvalidInput(errors=faults)
    return policy.model_copy(update={"gates": policy.gates.model_copy(update=gates), "kinds": kinds})


def _out_of(field: str, top: Decimal) -> FieldError:
    return FieldError(field, "range", f"应在 0 至 {top} 之间", f"It must lie between 0 and {top}")


def _left_out(known: Mapping[str, Known], evidence: str) -> dict[str, Known]:
    touched = False
    found = {}
    for subject, one in known.items():
        card = one.card
        if card is not None and any(evidence in figure.evidence for figure in card.figures.values()):
            touched, card = True, without(card, evidence)
        found[subject] = Known(card, one.panel, one.vetoes, one.used)
    if not touched:
        raise InvalidInput(
            errors=[
                FieldError("without_evidence", "unknown", "本档案的任何分项都不依据这一事实",
                           "No leaf of this docket rests on that fact", evidence)
            ]
        )  # fmt: skip
    return found


def _change(decision: TiltDecision, then: Tilt) -> dict[str, Any]:
    was = decision.decided.final if decision.decided else Decimal(0)
    return {
        "decision_id": decision.id,
        "subject": decision.subject,
        "decided": str(was),
        "would_be": str(then.final),
        "difference": str(plain(then.final - was)),
        "reasons": list(then.reasons),
        "state": decision.state,
    }


def _varied(
    policy: PolicyDocument,
    docket: AwardDocket,
    tilts: Mapping[str, Tilt],
    known: Mapping[str, Known],
    question: Question,
) -> list[Any]:
    if len(tilts) > VARIED_CANDIDATES_MAX:
        raise InvalidInput(
            errors=[
                FieldError("vary", "too-many", f"候选超过 {VARIED_CANDIDATES_MAX} 个时不计算断点",
                           f"Breakpoints are computed for up to {VARIED_CANDIDATES_MAX} candidates")
            ]
        )  # fmt: skip
    assert question.vary is not None
    scale = Fraction(policy.kinds[docket.subject_kind].scale)
    top = _TOP[question.vary] * (1 if question.vary == "completeness_floor" else scale)
    low = Fraction(question.low) if question.low is not None else Fraction(0)
    high = Fraction(question.high) if question.high is not None else top
    if not 0 <= low < high <= (scale if question.vary != "completeness_floor" else 1):
        raise InvalidInput(errors=[FieldError("high", "range", "区间无效", "The interval is not valid")])
    moving = {"cap": "", "base_floor": "G1", "completeness_floor": "G2"}[question.vary]
    opened = [
        breakpoints.OpenTilt(
            candidate=docket.candidates[subject],
            raw=one.raw,
            held=not set(one.reasons) - {moving},
            completeness=_completeness(known[subject]),
            ineligible=one.ineligible or _barred(docket, subject),
        )
        for subject, one in sorted(tilts.items())
    ]
    if question.vary == "cap":
        return breakpoints.by_cap(policy, docket.places, opened, low, high)
    cap = policy.kinds[docket.subject_kind].cap
    if question.vary == "base_floor":
        return breakpoints.by_base_floor(policy, docket.places, opened, cap, low, high)
    return breakpoints.by_completeness_floor(policy, docket.places, opened, cap, low, high)


def _completeness(known: Known) -> Fraction:
    done, of = known.card.completeness if known.card else (0, 0)
    return Fraction(done, of) if of else Fraction(-1)


__all__ = ["Question", "Ranking", "WhatIf"]
