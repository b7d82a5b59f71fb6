"""A programme in memory: what others have said, and incentive_scoring on top of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from services.incentive_scoring import store
from services.incentive_scoring.domain import AwardDocket, Candidate, TiltDecision, TiltPolicy, Veto
from services.incentive_scoring.handlers import AwardDockets, Hearing, Knowledge, TiltPolicies, Vetoes, WhatIf
from services.incentive_scoring.handlers.dockets import BaseScoreRow, OpenAwardDocket
from services.incentive_scoring.handlers.vetoing import RaiseVeto
from services.incentive_scoring.policies.rules import PolicyDocument
from services.incentive_scoring.policies.tilting import Card, Figure
from shared.codes.uscc import check_character
from shared.contracts.evaluation import (
    AssessmentFinalised,
    IndicatorValue,
    InputRange,
    ScorecardPublished,
    ScorecardSuperseded,
    SubjectKind,
)
from shared.kernel import CIVIL, NATIONAL, Actor, Answer, RegionScope
from shared.log.memory import MemoryLog

FILES = store.policy_files()
POLICY = FILES["TP-2026.1"]
START = datetime(2026, 1, 1, tzinfo=CIVIL)
END = datetime(2026, 12, 1, tzinfo=CIVIL)
CUT = datetime(2026, 11, 16, 2, tzinfo=UTC)
LATER = CUT + timedelta(days=15)
ACCEPTED = datetime(2026, 10, 1, tzinfo=CIVIL)


def uscc(serial: int, province: str = "34") -> str:
    """A valid code of an enterprise of a province."""
    seventeen = f"91{province}0100{serial:09d}"
    return seventeen + check_character(seventeen)


def actor(id: str, *roles: str, regions: str = "*", org: str = "") -> Actor:
    """Somebody with roles and regions."""
    prefixes = frozenset(regions.split(",")) - {"*"}
    return Actor(id=id, roles=frozenset(roles), org=org, scope=RegionScope(prefixes, national=regions == "*"))


SECRETARIAT = actor("secretariat-1", "secretariat")
OFFICE = actor("office-1", "office")
SUPERVISION = actor("supervision-1", "supervision")
OTHER = actor("supervision-2", "supervision")


def figure(numerator: object, denominator: object = 1, evidence: tuple[str, ...] = ("f",)) -> Figure:
    """A figure with evidence."""
    return Figure(Decimal(str(numerator)), Decimal(str(denominator)), False, evidence)


def card(figures: Mapping[str, Figure], *, completeness: tuple[int, int] = (9, 10)) -> Card:
    """A scorecard of somebody."""
    return Card("enterprise:x:2026", 1, "hash", figures, completeness)


def docket(kind: SubjectKind = SubjectKind.ENTERPRISE, **changes: Any) -> AwardDocket:
    """A docket at its cut."""
    about: dict[str, Any] = {
        "id": "AD-1", "award": "奖", "level": "national", "subject_kind": kind, "cycle": "2026",
        "policy_version": "TP-2026.1", "places": 2, "cycle_start": START, "cycle_end": END, "cut_at": CUT,
        "state": "closed",
    }  # fmt: skip
    return AwardDocket.model_validate(about | changes)


def candidate(subject: str = "x", base: object = 700, region: str = "340000", **changes: Any) -> Candidate:
    """A candidate above gate G1."""
    about = {"subject": subject, "name": subject, "region": region, "base": Decimal(str(base)), "accepted_at": ACCEPTED}
    return Candidate.model_validate(about | changes)


def published(
    subject: str, figures: Mapping[str, Figure], *, kind: SubjectKind = SubjectKind.ENTERPRISE, revision: int = 1,
    completeness: tuple[int, int] = (9, 10), cycle: str = "2026",
) -> ScorecardPublished:  # fmt: skip
    """What evaluation says about somebody."""
    return ScorecardPublished(
        scorecard_id=f"{kind}:{subject}:{cycle}", revision=revision, subject_kind=kind, subject=subject, cycle=cycle,
        effective=END, known=revision * 10, completeness_numerator=completeness[0],
        completeness_denominator=completeness[1], content_hash=f"hash-{subject}-{revision}", previous_hash="",
        window_start=START, window_end=END,
        inputs=(_READ,),
        values=tuple(
            IndicatorValue(
                indicator=name, formula_version=f"{name}/1", numerator=one.numerator, denominator=one.denominator,
                no_evidence=one.no_evidence, records=len(one.evidence), excluded=0, evidence=one.evidence,
            )
            for name, one in figures.items()
        ),
    )  # fmt: skip


def superseded(subject: str, *, revision: int, causing: str = "late-fact") -> ScorecardSuperseded:
    """A revision that a late fact replaced."""
    return ScorecardSuperseded(
        scorecard_id=f"enterprise:{subject}:2026", revision=revision, causing_fact=causing,
        causing_type="IssueClosureVerified",
    )  # fmt: skip


def finalised(
    subject: str, *, kind: SubjectKind = SubjectKind.ENTERPRISE, coi_clean: bool = True, cycle: str = "2026"
) -> AssessmentFinalised:
    """A panel's result."""
    return AssessmentFinalised(
        assessment_id=f"{kind}:{subject}:{cycle}", subject_kind=kind, subject=subject, cycle=cycle, appraisals=3,
        total=Decimal(80), spread=Decimal(4), coi_clean=coi_clean,
    )  # fmt: skip


_READ = InputRange(service="pilot-registration", log_id="L", topic="pilot-registration.pilots", partition=0, seq=7)

GOOD = {"I06": figure(9, 10, ("verified-1", "verified-2")), "I09": figure("0.3", 1, ("verified-1", "claim-1"))}
"""Closure 8·clamp(0.8) = 6.4, effect 8·clamp(0.5) = 4: a tilt of 10.40."""


class World:
    """Everything of the service on a log in memory."""

    def __init__(self) -> None:
        log = self.log = MemoryLog()
        policies, dockets = log.documents("tilt_policies", TiltPolicy), log.documents("award_dockets", AwardDocket)
        decisions, vetoes = log.documents("tilt_decisions", TiltDecision), log.documents("vetoes", Veto)
        parties, cards = log.rows("known_parties"), log.rows("known_scorecards")
        panels = log.rows("known_assessments")
        self.dockets, self.decisions, self.stored_vetoes = dockets, decisions, vetoes
        self.policies = TiltPolicies(policies=policies, files=FILES)
        self.knowledge = Knowledge(
            policies=policies, decisions=decisions, vetoes=vetoes, known_scorecards=cards, known_assessments=panels
        )
        self.award = AwardDockets(
            dockets=dockets, decisions=decisions, imports=log.rows("base_score_imports"), deciding=log.rows("deciding"),
            known_parties=parties, knowledge=self.knowledge,
        )  # fmt: skip
        self.vetoes = Vetoes(
            vetoes=vetoes, dockets=dockets, known_parties=parties, agenda=log.agenda, award_dockets=self.award
        )
        self.what_if = WhatIf(self.award)
        self.hearing = Hearing(known_parties=parties, known_scorecards=cards, known_assessments=panels)

    async def approve(self, *versions: str) -> None:
        for version in versions or ("TP-2025.1", "TP-2026.1"):
            await self.log.execute(lambda version=version: self.policies.approve(version, by=OFFICE, at=CUT))

    async def says(self, fact: Any) -> None:
        """Evaluation or pilot_registration says something."""
        reaction = {
            ScorecardPublished: self.hearing.on_scorecard_published,
            ScorecardSuperseded: self.hearing.on_scorecard_superseded,
            AssessmentFinalised: self.hearing.on_assessment_finalised,
        }.get(type(fact), self.hearing.on_party_registered)
        await self.log.hear(
            reaction, fact, effective_at=CUT, id=str(uuid.uuid5(uuid.NAMESPACE_OID, fact.model_dump_json()))
        )

    async def open(self, docket_id: str = "AD-1", **changes: Any) -> Answer:
        about: dict[str, Any] = {
            "docket_id": docket_id, "award": "奖", "level": "national", "subject_kind": SubjectKind.ENTERPRISE,
            "cycle": "2026", "policy_version": "TP-2026.1", "places": 2, "cycle_start": START, "cycle_end": END,
        }  # fmt: skip
        return await self.log.execute(lambda: self.award.open(OpenAwardDocket(**about | changes), at=CUT))

    async def score(self, bases: Mapping[str, object], docket_id: str = "AD-1", region: str = "340100") -> Answer:
        rows = [
            BaseScoreRow(number, subject, subject, region, Decimal(str(base)), date(2026, 10, 1))
            for number, (subject, base) in enumerate(bases.items(), 2)
        ]
        preview = await self.log.execute(lambda: self.award.preview(docket_id, rows, at=CUT))
        await self.log.execute(lambda: self.award.apply(docket_id, preview.id, 0, at=CUT))
        await self.log.execute(lambda: self.award.applied(docket_id, preview.id))
        return preview

    async def decide(self, docket_id: str = "AD-1", at: datetime = CUT) -> Answer:
        await self.log.execute(lambda: self.award.close(docket_id, at=at))
        found = await self.dockets.read(docket_id, NATIONAL)
        for chunk in range(len(found.candidates) // 25 + 1):
            await self.log.execute(lambda chunk=chunk: self.award.decide_slice(docket_id, chunk))
        return await self.log.execute(lambda: self.award.finish(docket_id, at=at))

    async def a_decided_docket(self, bases: Mapping[str, object], good: tuple[str, ...], **changes: Any) -> Answer:
        """Approved, opened, scored, decided; those who are `good` get 10.40."""
        await self.approve()
        for subject in good:
            await self.says(published(subject, GOOD))
            await self.says(finalised(subject))
        await self.open(**changes)
        await self.score(bases)
        return await self.decide()

    async def raise_veto(self, subject: str, *, effective: datetime, ground: str = "V2", at: datetime = LATER) -> str:
        command = RaiseVeto(ground, SubjectKind.ENTERPRISE, subject, effective, None, "事故")
        return (await self.log.execute(lambda: self.vetoes.raise_veto(command, by=SUPERVISION, at=at))).id

    async def confirm(self, veto_id: str, *, by: Actor = OTHER, at: datetime = LATER) -> Answer:
        return await self.log.execute(lambda: self.vetoes.confirm(veto_id, by=by, at=at))

    async def ranking(self, docket_id: str = "AD-1") -> list[tuple[str, str, bool]]:
        found = await self.dockets.read(docket_id, NATIONAL)
        return [(place.subject, str(place.tilt), place.in_places) for place in found.ranking]

    async def decision(self, subject: str, docket_id: str = "AD-1") -> TiltDecision:
        return await self.decisions.read(f"{docket_id}:{subject}", NATIONAL)

    def said(self, fact: type[Any]) -> list[Any]:
        """The facts of this kind recorded so far."""
        return [one for one in self.log.facts if isinstance(one, fact)]


def changed(policy: PolicyDocument, **changes: Any) -> PolicyDocument:
    """A policy with other content, checked again."""
    return PolicyDocument.model_validate(policy.content() | changes)
