"""Handlers on a log in memory: who may, what is refused, what a reaction keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.pilot_registration.domain.issues import Listing, QualityIssue
from services.pilot_registration.domain.parties import Chain, Party
from services.pilot_registration.domain.pilots import Pilot
from services.pilot_registration.domain.quotas import Quota
from services.pilot_registration.domain.shares import LeadRegionOnly
from services.pilot_registration.handlers.issues import IssueFlow, UnknownIssue
from services.pilot_registration.handlers.parties import RegisterParty, Registry
from services.pilot_registration.handlers.pilots import DraftPilot, PilotFlow
from services.pilot_registration.policies.visibility import sees
from shared.contracts.evaluation import IssueClosureVerified
from shared.contracts.fact import Evidence
from shared.contracts.pilot_registration import (
    Direction,
    IssueClass,
    Level,
    Measure,
    PartyKind,
    Programme,
    Share,
    SizeClass,
)
from shared.kernel import CIVIL, NATIONAL, Actor, InvalidInput, NotFound, RegionScope
from shared.log.memory import MemoryLog

NOW = datetime(2026, 4, 1, 9, tzinfo=CIVIL)
USCC = "91340100MA2T00015G"


class NoPapers:
    """There is one attachment, `a`."""

    async def evidence(self, id: str, *, by: Actor | None = None) -> Evidence:
        return Evidence(uri=f"/pilot-registration/attachments/{id}", sha256="0" * 64)


class World:
    def __init__(self) -> None:
        self.log = MemoryLog()
        documents = self.log.documents
        self.pilots, self.issues = documents("pilots", Pilot), documents("quality_issues", QualityIssue)
        parties, chains = documents("parties", Party), documents("chains", Chain)
        self.registry = Registry(parties=parties, chains=chains)
        self.flow = PilotFlow(
            pilots=self.pilots, parties=parties, chains=chains, quotas=documents("quotas", Quota),
            codes=self.log.rows("pilot_codes"), uses=self.log.rows("attachment_uses"), papers=NoPapers(),
            agenda=self.log.agenda,
        )  # fmt: skip
        self.issue_flow = IssueFlow(
            issues=self.issues, pilots=self.pilots, parties=parties, papers=NoPapers(),
            uses=self.log.rows("attachment_uses"), known_verdicts=self.log.rows("known_verdicts"),
        )  # fmt: skip

    async def do(self, call: Callable[[], Awaitable[Any]]) -> Any:
        return await self.log.execute(call)

    async def ready(self) -> None:
        office = actor("office", "office")
        party = RegisterParty(USCC, "甲厂", PartyKind.ENTERPRISE, SizeClass.SMALL, "340100")
        await self.do(lambda: self.registry.register_party(party, by=office, at=NOW))
        await self.do(
            lambda: self.registry.register_chain(
                chain_id="machine-tools", name="机床", industry_codes=("C34", "34"), by=office, at=NOW
            )
        )

    async def draft(self, by: Actor, *regions: str) -> str:
        share = Decimal(1) / len(regions)
        command = DraftPilot(
            "机床", Programme.PILOT, Level.NATIONAL, "machine-tools", USCC, regions[0],
            tuple(Share(region=region, share=share) for region in regions),
        )  # fmt: skip
        return str((await self.do(lambda: self.flow.draft("PL-1", command, by=by, at=NOW))).id)


def actor(id: str, *roles: str, regions: str = "", org: str = "") -> Actor:
    scope = RegionScope(frozenset({regions})) if regions else NATIONAL
    return Actor(id=id, roles=frozenset(roles), org=org, scope=scope)


@pytest.fixture
def world() -> World:
    made = World()
    asyncio.run(made.ready())
    return made


ANHUI = actor("registrar-34", "registrar", regions="34")
JIANGSU = actor("registrar-32", "registrar", regions="32")


def test_industry_codes_are_kept_once_each_without_their_letter(world: World) -> None:
    chain = world.log.facts[-1]

    assert chain.model_dump()["industry_codes"] == ("34",)


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"uscc": "91340100MA2T00015H"}, "uscc", "uscc-check"),
        ({"division_code": "349900"}, "division_code", "division-unknown"),
        ({"division_code": "341400"}, "division_code", "division-retired"),
    ],
)
async def test_rule_01_a_refusal_names_field_and_rule_and_records_nothing(
    change: dict[str, str], field: str, rule: str
) -> None:
    world = World()
    given = {"uscc": USCC, "division_code": "340100"} | change
    command = RegisterParty(given["uscc"], "乙厂", PartyKind.ENTERPRISE, SizeClass.SMALL, given["division_code"])

    with pytest.raises(InvalidInput) as refused:
        await world.do(lambda: world.registry.register_party(command, by=ANHUI, at=NOW))

    assert [(fault.field, fault.rule) for fault in refused.value.errors] == [(field, rule)]
    assert world.log.facts == []


async def test_a_region_drafts_only_what_it_leads_and_only_for_those_who_are_registered(world: World) -> None:
    with pytest.raises(NotFound):
        await world.draft(JIANGSU, "340000")
    command = DraftPilot(
        "机床", Programme.PILOT, Level.NATIONAL, "no-chain", "91340100MA2T00023B", "340000",
        (Share(region="340000", share=Decimal(1)),),
    )  # fmt: skip

    with pytest.raises(InvalidInput) as refused:
        await world.do(lambda: world.flow.draft("PL-1", command, by=ANHUI, at=NOW))

    assert [fault.rule for fault in refused.value.errors] == ["chain-unknown"]


async def test_a_participant_confirms_its_own_share_and_does_nothing_else(world: World) -> None:
    pilot = await world.draft(ANHUI, "340000", "320000")
    with pytest.raises(InvalidInput):
        await world.do(lambda: world.flow.confirm_share(pilot, region="340000", by=JIANGSU, at=NOW))
    with pytest.raises(LeadRegionOnly):
        await world.do(lambda: world.flow.withdraw(pilot, reason="x", by=JIANGSU, at=NOW))

    answer = await world.do(lambda: world.flow.confirm_share(pilot, region="320000", by=JIANGSU, at=NOW))

    assert len(answer.facts) == 1


async def test_a_region_without_a_share_finds_nothing(world: World) -> None:
    pilot = await world.draft(ANHUI, "340000")
    zhejiang = actor("registrar-33", "registrar", regions="33")

    for call in (
        lambda: world.flow.confirm_share(pilot, region="340000", by=zhejiang, at=NOW),
        lambda: world.flow.submit(pilot, attachments=(), by=zhejiang, at=NOW),
    ):
        with pytest.raises(NotFound):
            await world.do(call)


async def test_drafts_are_for_those_who_work_on_them(world: World) -> None:
    await world.draft(actor("registrar-3401", "registrar", regions="3401"), "340100")
    pilot = await world.pilots.read("PL-1", NATIONAL)

    assert sees(pilot, ANHUI)
    assert sees(pilot, actor("audit", "auditor"))
    assert sees(pilot, actor("firm", "enterprise", regions="3401", org=USCC))
    assert not sees(pilot, actor("province", "province", regions="34"))
    assert not sees(pilot, actor("office", "office"))
    assert not sees(pilot, JIANGSU)


async def test_rule_11_joining_a_group_twice_is_one_fact_and_has_its_day(world: World) -> None:
    for _ in range(2):
        answer = await world.do(
            lambda: world.registry.affiliate(USCC, group_id="G1", effective_on=date(2026, 1, 1), by=ANHUI, at=NOW)
        )

    assert answer.facts == ()
    assert [event["type"] for event in world.log.events if event["topic"].endswith("parties")] == [
        "PartyRegistered", "PartyAffiliationChanged",
    ]  # fmt: skip
    assert world.log.events[-1]["effective_at"] == int(datetime(2026, 1, 1, tzinfo=CIVIL).timestamp()) * 1_000_000


async def test_a_verdict_closes_the_issue_once_and_one_about_nothing_is_a_fault(world: World) -> None:
    baseline = Measure(name="x", direction=Direction.LOWER, value=Decimal("0.1"), n=40, on=date(2026, 1, 1))
    listing = Listing("超差", IssueClass.TECHNIQUE, 2, "340100", USCC, baseline)
    issue = QualityIssue.enter(
        pilot_id="PL-1", number="Q1", listing=listing, regions=("340000",), list_version=1, by=ANHUI, at=NOW
    )
    issue.assign(
        owner=USCC, owner_division="340100", grade=2, due_on=date(2026, 5, 1), by=actor("p", "province"), at=NOW
    )
    proof = [("a", Evidence(uri="/pilot-registration/attachments/a", sha256="0" * 64))]
    firm = actor("q", "enterprise", org=USCC)
    issue.claim_closure(value=Decimal("0.01"), n=40, on=NOW.date(), attachments=proof, by=firm, at=NOW)

    async def save() -> QualityIssue:
        world.issues.save(issue)
        return issue

    await world.do(save)
    verdict = IssueClosureVerified(issue_id=issue.id, claim_fact="c", verifier_org="V")
    heard = await world.log.hear(world.issue_flow.on_issue_closure_verified, verdict, effective_at=NOW)
    await world.log.hear_again(world.issue_flow.on_issue_closure_verified, heard)

    assert [event["type"] for event in world.log.events].count("IssueClosed") == 1
    assert world.log.events[-1]["causation_id"] == heard.id
    stranger = IssueClosureVerified(issue_id="PL-0:Q:1", claim_fact="c", verifier_org="V")
    with pytest.raises(UnknownIssue):
        await world.log.hear(world.issue_flow.on_issue_closure_verified, stranger, effective_at=NOW)
