"""From rows that others' facts filled to the plain values decisions are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.incentive_scoring.domain import AwardDocket, PinnedInput, TiltDecision, TiltPolicy, Veto
from services.incentive_scoring.handlers.ports import Aggregates, KnownRows, every
from services.incentive_scoring.policies.rules import PolicyDocument
from services.incentive_scoring.policies.tilting import Card, Figure, Known, PanelResult, scorecard_id, used_by
from services.incentive_scoring.policies.vetoing import holds
from shared.contracts.evaluation import InputRange, ScorecardPublished
from shared.kernel import NATIONAL


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Reads what is known of a docket's candidates: to pin it at the decision cut, and to find it again by its pins."""

    policies: Aggregates[TiltPolicy]
    decisions: Aggregates[TiltDecision]
    vetoes: Aggregates[Veto]
    known_scorecards: KnownRows
    known_assessments: KnownRows

    async def policy(self, version: str) -> PolicyDocument:
        """An approved version from what was approved, not from its file."""
        return PolicyDocument.model_validate((await self.policies.read(version, NATIONAL)).content)

    async def in_force(self) -> list[str]:
        """Approved versions that no other approved version replaces."""
        approved = await every(self.policies, NATIONAL, {})
        replaced = {policy.replaces for policy in approved}
        return sorted(policy.id for policy in approved if policy.id not in replaced)

    async def pins(self, docket: AwardDocket, policy: PolicyDocument, *, at: datetime) -> dict[str, PinnedInput]:
        """For every candidate what is known now: newest scorecard and panel result, active vetoes, earlier tilts."""
        subjects = sorted(docket.candidates)
        cards = await self._newest_cards(docket, subjects)
        panels = await self.known_assessments.find_many(
            scorecard_id(docket.subject_kind, subject, docket.cycle) for subject in subjects
        )
        vetoes = await self.standing_vetoes(docket, subjects)
        earlier = await self._earlier(docket, subjects) if policy.once else {}
        pins = {}
        for subject in subjects:
            key = scorecard_id(docket.subject_kind, subject, docket.cycle)
            card = cards.get(key)
            panel = _newest_panel(panels.get(key))
            pins[subject] = PinnedInput(
                scorecard_id=key,
                scorecard_revision=card["revision"] if card else 0,
                scorecard_hash=card["published"]["content_hash"] if card else "",
                assessment_fact=panel.fact if panel else "",
                vetoes=tuple(
                    sorted(veto.id for veto in vetoes if veto.subject == subject and holds(veto, policy, docket, at))
                ),
                earlier=tuple(sorted(earlier.get(subject, ()))),
            )
        return pins

    async def known(self, docket: AwardDocket, pins: Mapping[str, PinnedInput]) -> dict[str, Known]:
        """What the pins name, read again."""
        rows = await self.known_scorecards.find_many(
            f"{pin.scorecard_id}@{pin.scorecard_revision}" for pin in pins.values() if pin.scorecard_revision
        )
        panels = await self.known_assessments.find_many(pin.scorecard_id for pin in pins.values())
        vetoes: dict[str, Veto] = {}
        for id in {id for pin in pins.values() for id in pin.vetoes}:
            vetoes[id] = await self.vetoes.read(id, NATIONAL)
        earlier: dict[str, TiltDecision] = {}
        for id in {id for pin in pins.values() for id in pin.earlier}:
            earlier[id] = await self.decisions.read(id, NATIONAL)
        found = {}
        for subject, pin in pins.items():
            row = rows.get(f"{pin.scorecard_id}@{pin.scorecard_revision}")
            found[subject] = Known(
                card=card_of(row) if row else None,
                panel=_panel(panels.get(pin.scorecard_id), pin.assessment_fact),
                vetoes=tuple((id, vetoes[id].ground) for id in pin.vetoes),
                used=used_by((id, _supporting(earlier[id])) for id in pin.earlier),
            )
        return found

    async def standing_vetoes(self, docket: AwardDocket, subjects: Iterable[str], *states: str) -> list[Veto]:
        """The vetoes of these subjects in these states, confirmed ones unless told otherwise."""
        wanted = set(subjects)
        where = {"state": {"$in": list(states or ("confirmed",))}, "subject_kind": docket.subject_kind.value}
        return [veto for veto in await every(self.vetoes, NATIONAL, where) if veto.subject in wanted]

    async def superseded(self, pin: PinnedInput) -> dict[str, Any] | None:
        """Why the pinned revision was replaced, or None."""
        row = await self.known_scorecards.get(f"{pin.scorecard_id}@{pin.scorecard_revision}")
        found: dict[str, Any] | None = row.get("superseded") if row else None
        return found

    async def _newest_cards(self, docket: AwardDocket, subjects: list[str]) -> dict[str, dict[str, Any]]:
        newest: dict[str, dict[str, Any]] = {}
        for start in range(0, len(subjects), 100):
            ids = [scorecard_id(docket.subject_kind, s, docket.cycle) for s in subjects[start : start + 100]]
            for row in await self.known_scorecards.find({"scorecard_id": {"$in": ids}}):
                if (
                    "published" in row
                    and row["revision"] > newest.get(row["scorecard_id"], {"revision": 0})["revision"]
                ):
                    newest[row["scorecard_id"]] = row
        return newest

    async def _earlier(self, docket: AwardDocket, subjects: list[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        where = {"level": docket.level, "state": "decided", "subject_kind": docket.subject_kind.value}
        wanted = set(subjects)
        for decision in await every(self.decisions, NATIONAL, where):
            if decision.docket_id != docket.id and decision.subject in wanted:
                found.setdefault(decision.subject, []).append(decision.id)
        return found


def card_of(row: Mapping[str, Any]) -> Card:
    """A kept revision as plain figures."""
    fact = ScorecardPublished.model_validate(row["published"])
    figures = {
        value.indicator: Figure(value.numerator, value.denominator, value.no_evidence, value.evidence)
        for value in fact.values
    }
    return Card(
        scorecard_id=fact.scorecard_id,
        revision=fact.revision,
        content_hash=fact.content_hash,
        figures=figures,
        completeness=(fact.completeness_numerator, fact.completeness_denominator),
        inputs=(*fact.inputs, InputRange.model_validate(row["input"])),
        window_start=fact.window_start,
        window_end=fact.window_end,
    )


def _newest_panel(row: Mapping[str, Any] | None) -> PanelResult | None:
    if not row:
        return None
    return _panel(row, max(row["finalised"], key=lambda id: (row["finalised"][id]["recorded_at"], id)))


def _panel(row: Mapping[str, Any] | None, fact: str) -> PanelResult | None:
    if not row or not fact:
        return None
    found = row["finalised"][fact]
    return PanelResult(fact, found["appraisals"], found["coi_clean"], InputRange.model_validate(found["input"]))


def _supporting(decision: TiltDecision) -> frozenset[str]:
    """The facts an earlier decision rests on as it was taken, reversed since or not: pins do not change with it."""
    assert decision.decided is not None
    return frozenset(fact for leaf in decision.decided.components if leaf.points for fact in leaf.evidence)
