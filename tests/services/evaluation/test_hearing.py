"""Facts heard in any order, through the reactions table and the stores: the same rows, subjects and cards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.evaluation.domain import Closure
from services.evaluation.handlers import Closures, Hearing
from services.evaluation.handlers.ports import ParkedStream
from services.evaluation.handlers.revisions import affected
from services.evaluation.handlers.scorecards import concerned, facts_of
from services.evaluation.policies.cards import card, compute
from services.evaluation.policies.indicators import Subject, Window
from services.evaluation.store import MongoKeptFacts
from services.evaluation.subscribers import reactions
from shared.contracts.evaluation import InputRange, IssueClosureVerified
from shared.contracts.fact import Evidence, Fact, Position, Recorded
from shared.contracts.pilot_registration import (
    ChainRole,
    ChainRoleAssigned,
    ChainRoleEnded,
    Direction,
    IssueAssigned,
    IssueClass,
    IssueClosureClaimed,
    IssueListed,
    KeyProjectListed,
    KeyProjectRemoved,
    Level,
    ListKind,
    ListPublished,
    Measure,
    PartyAffiliationChanged,
    PartyKind,
    PartyRegistered,
    PilotStarted,
    Share,
    SizeClass,
)
from shared.kernel import Actor, RegionScope, microseconds
from shared.log.memory import MemoryLog

START = datetime(2026, 3, 1, tzinfo=UTC)
OWNER, HELPER, OTHER = "91340100MA2T00015G", "12340100MB1A0001XJ", "12320500MB1C00011D"
WINDOW = Window(0, microseconds(START + timedelta(days=300)), microseconds(START + timedelta(days=300)))
PAPER = Evidence(uri="/attachments/1", sha256="a" * 64)


def measure(value: str) -> Measure:
    return Measure(name="不良率", direction=Direction.LOWER, value=Decimal(value), n=1000, on=date(2026, 1, 1))


def recorded(number: int, fact: Fact) -> Recorded[Any]:
    at, topic = START + timedelta(hours=number), type(fact).topic
    return Recorded(
        fact=fact, id=f"f{number:03d}", subject=fact.aggregate_id, stream_version=number, effective_at=at,
        recorded_at=at, actor={"id": "x", "role": "x", "org": ""}, correlation_id="c", causation_id=None,
        supersedes=None, origin="live", evidence=(PAPER,), position=Position(topic.service, "l", topic.name, 0, number),
    )  # fmt: skip


def told() -> list[Recorded[Any]]:
    """A story of one pilot, told once."""
    shares = (Share(region="340100", share=Decimal("0.6")), Share(region="320500", share=Decimal("0.4")))
    facts: list[Fact] = [
        PartyRegistered(uscc=OWNER, name="甲", kind=PartyKind.ENTERPRISE, size_class=SizeClass.SMALL,
                        division_code="340100"),
        PilotStarted(pilot_id="PL-1", level=Level.NATIONAL, lead_region="340100", shares=shares,
                     started_on=date(2026, 3, 1), due_on=date(2026, 9, 30)),
        *(ListPublished(pilot_id="PL-1", list_kind=kind, list_version=1, rows=1, content_hash="h")
          for kind in ListKind),
        *(ChainRoleAssigned(pilot_id="PL-1", role=role, uscc=OWNER, since=date(2026, 3, 1)) for role in ChainRole),
    ]  # fmt: skip
    for number in (1, 2, 3):
        issue = f"PL-1:Q:{number}"
        facts += [
            IssueListed(issue_id=issue, pilot_id="PL-1", number=str(number), title="x", issue_class=IssueClass.BRAND,
                        grade=1, division_code="340100", owner=OWNER, baseline=measure("0.1")),
            IssueAssigned(issue_id=issue, pilot_id="PL-1", division_code="340100", owner=OWNER, grade=number,
                          due_on=date(2026, 6, 30), confirmed_by="x"),
        ]  # fmt: skip
    claim = IssueClosureClaimed(
        issue_id="PL-1:Q:1",
        pilot_id="PL-1",
        claimed_by="x",
        claimant_org=OWNER,
        baseline=measure("0.1"),
        after=measure("0.05"),
    )
    project = {
        "pilot_id": "PL-1",
        "number": "1",
        "title": "x",
        "leader": OWNER,
        "due_on": date(2026, 9, 1),
        "milestones": (),
    }
    facts += [
        claim,
        IssueClosureVerified(issue_id="PL-1:Q:1", claim_fact=f"f{len(facts) + 1:03d}", verifier_org="x"),
        KeyProjectListed(project_id="PL-1:K:1", issue_ids=("PL-1:Q:1",), institution=HELPER, **project),  # type: ignore[arg-type]
        KeyProjectListed(project_id="PL-1:K:2", issue_ids=("PL-1:Q:1",), institution=OTHER, **project),  # type: ignore[arg-type]
        PartyAffiliationChanged(uscc=OTHER, group_id="G"),
    ]
    return [recorded(number, fact) for number, fact in enumerate(facts, 1)]


STORY = told()
SUBJECTS = (
    Subject("region", "340000"), Subject("region", "320000"), Subject("enterprise", OWNER),
    Subject("institution", HELPER), Subject("institution", OTHER),
)  # fmt: skip
EVERYTHING = tuple(
    InputRange(service="x", log_id="l", topic=topic, partition=0, seq=999)
    for topic in sorted({fact.position.topic for fact in STORY})
)


class Heard:
    """Evaluation's reactions on a log in memory."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.facts = MongoKeptFacts(self.log.database)
        self.issues, self.claims = self.log.rows("known_issues"), self.log.rows("closure_claims")
        self.hearing = Hearing(
            known_parties=self.log.rows("known_parties"), known_issues=self.issues, claims=self.claims, facts=self.facts
        )
        self.closures = Closures(
            closures=self.log.documents("closures", Closure),
            known_issues=self.issues,
            claims=self.claims,
            facts=self.facts,
        )
        self.table = reactions(self.hearing)

    async def hear(self, *facts: Recorded[Any]) -> None:
        for fact in facts:
            await self.log.hear_again(self.table[type(fact.fact)], fact)

    async def hashes(self) -> dict[Subject, str]:
        found = {}
        for subject in SUBJECTS:
            figures = compute(subject, await facts_of(subject, self.facts), WINDOW, EVERYTHING)
            found[subject] = card(subject, "2026", figures, WINDOW, known=1, inputs=EVERYTHING).figures_hash
        return found

    async def shown(self, subject: Subject) -> dict[str, tuple[str, str]]:
        figures = compute(subject, await facts_of(subject, self.facts), WINDOW, EVERYTHING)
        return {f.indicator.id: (str(f.numerator), str(f.denominator)) for f in figures if not f.no_evidence}


async def test_the_story_gives_the_figures_worked_out_by_hand() -> None:
    heard = Heard()
    await heard.hear(*STORY)
    assert await heard.shown(SUBJECTS[0]) == {
        "I01": ("0.6", "1"), "I02": ("0", "0.6"), "I03": ("0", "0.6"), "I04": ("0.6", "0.6"), "I05": ("3", "1"),
        "I06": ("4", "9"), "I09": ("250.000000", "500"), "I34": ("1", "1"),
    }  # fmt: skip
    assert await heard.shown(SUBJECTS[1]) == {
        "I01": ("0.4", "1"),
        "I02": ("0", "0.4"),
        "I03": ("0", "0.4"),
        "I04": ("0.4", "0.4"),
    }
    assert await heard.shown(SUBJECTS[2]) == {
        "I05": ("3", "1"),
        "I06": ("4", "9"),
        "I09": ("250.000000", "500"),
        "I34": ("1", "1"),
    }
    assert await heard.shown(SUBJECTS[3]) == {"I09": ("250.000000", "500"), "I34": ("1", "1")}
    assert await heard.shown(SUBJECTS[4]) == {}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(STORY), st.lists(st.sampled_from(STORY), max_size=5))
def test_rule_19_facts_in_any_order_and_more_than_once_give_the_same_cards(
    order: list[Recorded[Any]], again: list[Recorded[Any]]
) -> None:
    async def both() -> tuple[dict[Subject, str], dict[Subject, str]]:
        straight, shuffled = Heard(), Heard()
        await straight.hear(*STORY)
        await shuffled.hear(*order, *again)
        return await straight.hashes(), await shuffled.hashes()

    straight, shuffled = asyncio.run(both())
    assert straight == shuffled


async def test_a_fact_reaches_exactly_the_subjects_whose_figures_it_can_change() -> None:
    heard = Heard()
    await heard.hear(*STORY)

    async def reached(number: int) -> set[Subject]:
        fact = next(fact for fact in await heard.facts.unfolded(100) if fact.seq == number)
        return await affected([fact], heard.facts)

    by_type = {type(fact.fact).__name__: fact.position.seq for fact in STORY}
    assert await reached(by_type["PilotStarted"]) == {*SUBJECTS[:2], SUBJECTS[2]}  # its leader is a subject as well
    assert await reached(by_type["IssueClosureVerified"]) == {SUBJECTS[0], *SUBJECTS[2:]}
    assert await reached(by_type["IssueAssigned"]) == {SUBJECTS[0], SUBJECTS[2]}  # of issue 3, in no project
    assert await reached(by_type["KeyProjectListed"]) >= set(SUBJECTS[2:])


async def test_a_project_taken_off_the_list_and_a_role_that_ended_count_no_more() -> None:
    heard = Heard()
    await heard.hear(*STORY)
    last = len(STORY)
    await heard.hear(
        recorded(last + 1, KeyProjectRemoved(project_id="PL-1:K:1", reason="x")),
        recorded(last + 2, ChainRoleEnded(pilot_id="PL-1", role=ChainRole.ENABLER, uscc=OWNER, until=date(2026, 4, 1))),
    )
    assert await heard.shown(SUBJECTS[3]) == {}
    assert await heard.shown(SUBJECTS[4]) == {"I09": ("250.000000", "500"), "I34": ("1", "1")}
    assert (await heard.shown(SUBJECTS[0]))["I04"] == ("0", "0.6")


async def test_rule_20_a_parked_stream_concerns_the_subjects_it_could_be_about() -> None:
    heard = Heard()
    await heard.hear(*STORY)
    issues, projects = "pilot-registration.issues", "pilot-registration.key-projects"

    async def withheld(stream: ParkedStream) -> set[Subject]:
        return {subject for subject in SUBJECTS if concerned(await facts_of(subject, heard.facts), [stream])}

    assert await withheld(ParkedStream(issues, "PL-1:Q:99")) == set(SUBJECTS), "whose it is cannot be told"
    assert await withheld(ParkedStream(issues, "PL-2:Q:1")) == set()
    assert await withheld(ParkedStream(projects, "PL-1:K:1")) == set(SUBJECTS)


async def test_an_evaluator_decides_on_a_claim_that_was_heard(uscc: Callable[[int], str]) -> None:
    heard = Heard()
    await heard.hear(*STORY)
    [claim] = await heard.claims.find({"state": "claimed"})
    evaluator = Actor(id="e", roles=frozenset({"evaluator"}), org=uscc(1), scope=RegionScope(frozenset({"34"})))

    await heard.log.execute(
        lambda: heard.closures.verify("PL-1:Q:1", claim["_id"], by=evaluator, at=START), by=evaluator
    )

    assert heard.log.facts == [IssueClosureVerified(issue_id="PL-1:Q:1", claim_fact=claim["_id"], verifier_org=uscc(1))]
    assert (await heard.claims.get(claim["_id"]) or {})["state"] == "verified"
