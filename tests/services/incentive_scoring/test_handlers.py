"""Use cases on a log in memory: dockets, vetoes, what would change; what others say in any order."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from services.incentive_scoring.domain import (
    DocketClosed,
    DocketEmpty,
    PolicyAlreadyApproved,
    PolicyOwn,
    VetoNotRaised,
    VetoOwn,
)
from services.incentive_scoring.handlers.approving import PolicyFileChanged, TiltPolicies
from services.incentive_scoring.handlers.dockets import (
    BaseScoreRow,
    DecisionPending,
    DocketAlreadyOpened,
    OtherDocketOpen,
    PolicyNotInForce,
)
from services.incentive_scoring.handlers.vetoing import RaiseVeto, escalates_at
from services.incentive_scoring.handlers.whatif import Question
from services.incentive_scoring.policies.rules import months_before
from shared.contracts.evaluation import SubjectKind
from shared.contracts.fact import Evidence
from shared.contracts.incentive_scoring import (
    AwardRevocationProposed,
    BaseScoreReceived,
    RankingComputed,
    TiltDecided,
    TiltReversed,
    TiltWithheld,
    VetoEscalated,
)
from shared.kernel import CIVIL, NATIONAL, InvalidInput, NotFound
from tests.services.incentive_scoring.world import (
    CUT,
    END,
    FILES,
    GOOD,
    LATER,
    OFFICE,
    OTHER,
    POLICY,
    START,
    SUPERVISION,
    World,
    actor,
    changed,
    figure,
    finalised,
    published,
    superseded,
    uscc,
)

A, B, C, D = (uscc(serial) for serial in (1, 2, 3, 4))


# --- policies ---


async def test_a_policy_is_approved_once_and_not_by_its_author() -> None:
    world = World()

    with pytest.raises(PolicyOwn):
        await world.log.execute(
            lambda: world.policies.approve("TP-2026.1", by=actor("policy-office", "office"), at=CUT)
        )
    await world.approve("TP-2025.1", "TP-2026.1")

    assert await world.knowledge.in_force() == ["TP-2026.1"]
    assert await world.knowledge.policy("TP-2025.1") == FILES["TP-2025.1"]
    with pytest.raises(PolicyAlreadyApproved):
        await world.approve("TP-2026.1")
    with pytest.raises(NotFound):
        await world.approve("TP-2030.1")


async def test_an_approved_policy_whose_file_has_changed_stops_the_service_with_a_sentence_in_both_languages() -> None:
    world = World()
    await world.approve()
    await world.policies.check_files()
    edited = dict(FILES) | {"TP-2026.1": changed(POLICY, window_months=36)}

    with pytest.raises(PolicyFileChanged, match=r"文件内容却已改变.*restore the file"):
        await TiltPolicies(policies=world.policies.policies, files=edited).check_files()
    with pytest.raises(PolicyFileChanged):
        await TiltPolicies(policies=world.policies.policies, files={"TP-2026.1": POLICY}).check_files()


async def test_a_docket_is_opened_once_under_a_policy_in_force_and_a_level_it_covers() -> None:
    world = World()
    with pytest.raises(PolicyNotInForce):
        await world.open()
    await world.approve()
    with pytest.raises(PolicyNotInForce):
        await world.open(policy_version="TP-2025.1")
    with pytest.raises(InvalidInput) as refused:
        await world.open(level="district", cycle_end=START)
    assert [error.field for error in refused.value.errors] == ["level", "cycle_end"]

    await world.open()

    with pytest.raises(DocketAlreadyOpened):
        await world.open()


# --- base scores ---


async def test_a_workbook_is_previewed_before_it_is_applied_and_an_unchanged_one_changes_nothing() -> None:
    world = World()
    await world.approve()
    await world.open()

    first = await world.score({A: 700, B: "699.5"})
    version = (await world.dockets.read("AD-1", NATIONAL)).version
    again = await world.score({A: "700.00", B: "699.50"})
    corrected = await world.score({A: 701})

    assert (first.details["new"], first.details["changed"]) == (2, 0)
    assert (again.details["new"], again.details["changed"], again.details["unchanged"]) == (0, 0, 2)
    assert (corrected.details["changed"], corrected.details["absent"]) == (1, 1)
    after = await world.dockets.read("AD-1", NATIONAL)
    assert after.version == version + 1
    assert len(after.candidates) == 2
    last = world.said(BaseScoreReceived)[-1]
    assert (str(last.base), str(last.replaces)) == ("701", "700")


@pytest.mark.parametrize(
    ("change", "column", "rule"),
    [
        ({"subject": "91340100MA2T00015H"}, "评价对象代码", "uscc-check"),
        ({"region": "990000"}, "所在地区", "division-unknown"),
        ({"base": "1000.01"}, "基础得分", "range"),
        ({"base": "700.001"}, "基础得分", "decimals"),
        ({"accepted_on": LATER.date() + timedelta(days=40)}, "受理日期", "future"),
    ],
)
async def test_a_faulty_row_is_named_in_both_languages_and_nothing_is_kept(
    change: dict, column: str, rule: str
) -> None:
    from decimal import Decimal

    world = World()
    await world.approve()
    await world.open()
    about = {"subject": A, "name": "甲", "region": "340100", "base": "700", "accepted_on": CUT.date()} | change
    row = BaseScoreRow(5, about["subject"], "甲", about["region"], Decimal(about["base"]), about["accepted_on"])

    with pytest.raises(InvalidInput) as refused:
        await world.log.execute(lambda: world.award.preview("AD-1", [row, row], at=CUT))

    faults = [fault for fault in refused.value.errors if fault.rule == rule]
    assert faults
    assert (faults[0].row, faults[0].column) == (5, column)
    assert faults[0].zh
    assert faults[0].en
    assert any(fault.rule == "duplicate" for fault in refused.value.errors)
    assert await world.log.rows("base_score_imports").find({}) == []


async def test_rule_17_a_persons_id_number_cannot_come_in_as_a_candidate() -> None:
    from decimal import Decimal

    world = World()
    await world.approve()
    await world.open(subject_kind=SubjectKind.INDIVIDUAL)
    row = BaseScoreRow(2, "11010519491231002X", "某人", "110000", Decimal(700), CUT.date())

    with pytest.raises(InvalidInput) as refused:
        await world.log.execute(lambda: world.award.preview("AD-1", [row], at=CUT))

    assert [fault.rule for fault in refused.value.errors] == ["token"]
    assert refused.value.errors[0].value is None


# --- the decision ---


async def test_every_candidate_is_decided_or_withheld_with_reasons_and_then_ranked() -> None:
    world = World()

    answer = await world.a_decided_docket({A: 700, B: 705, C: 590, D: 690}, good=(A, C))

    assert (answer.details["decided"], answer.details["withheld"]) == (1, 3)
    assert [(fact.subject, str(fact.final)) for fact in world.said(TiltDecided)] == [(A, "10.40")]
    reasons = {fact.subject: fact.reasons for fact in world.said(TiltWithheld)}
    assert reasons == {B: ("G2", "G3", "G5"), C: ("G1",), D: ("G2", "G3", "G5")}
    assert await world.ranking() == [(A, "10.40", True), (B, "0", True), (D, "0", False), (C, "0", False)]
    assert world.said(RankingComputed)[-1].reason == "decided"


async def test_rule_21_a_changed_base_score_after_the_cut_is_refused_with_the_reason() -> None:
    world = World()
    await world.a_decided_docket({A: 700}, good=(A,))

    with pytest.raises(DocketClosed, match="cut for decision"):
        await world.score({A: 710})
    with pytest.raises(DocketClosed):
        await world.decide()


async def test_a_docket_without_base_scores_cannot_be_decided() -> None:
    world = World()
    await world.approve()
    await world.open()

    with pytest.raises(DocketEmpty):
        await world.decide()


async def test_a_decision_that_broke_off_goes_on_from_its_pins_whatever_was_heard_meanwhile() -> None:
    whole, broken = World(), World()
    bases = {uscc(serial): 700 + serial for serial in range(60)}
    good = tuple(bases)[:40]
    for world in (whole, broken):
        await world.approve()
        for subject in good:
            await world.says(published(subject, GOOD))
            await world.says(finalised(subject))
        await world.open()
        await world.score(bases)

    await whole.decide()
    await broken.log.execute(lambda: broken.award.close("AD-1", at=CUT))
    await broken.log.execute(lambda: broken.award.decide_slice("AD-1", 0))
    await broken.says(published(good[-1], {"I06": figure(0, 10)}, revision=2))
    with pytest.raises(DecisionPending):
        await broken.log.execute(lambda: broken.award.finish("AD-1", at=CUT))
    await broken.decide()

    def bytes_of(world: World) -> list[str]:
        return sorted(
            fact.model_dump_json() for fact in world.log.facts if isinstance(fact, TiltDecided | TiltWithheld)
        )

    assert len(bytes_of(whole)) == 60
    assert bytes_of(broken) == bytes_of(whole)


async def test_two_dockets_of_one_level_are_not_decided_at_once() -> None:
    world = World()
    await world.approve()
    for docket_id in ("AD-1", "AD-2"):
        await world.open(docket_id)
        await world.score({A: 700}, docket_id)
    await world.log.execute(lambda: world.award.close("AD-1", at=CUT))

    with pytest.raises(OtherDocketOpen, match="AD-1"):
        await world.decide("AD-2")


async def test_a_fact_supports_one_decided_tilt_per_subject_and_level() -> None:
    world = World()
    await world.a_decided_docket({A: 700}, good=(A,))
    await world.open("AD-2")
    await world.open("AD-3", level="provincial")
    await world.score({A: 700}, "AD-2")
    await world.score({A: 700}, "AD-3")

    await world.decide("AD-2")
    await world.decide("AD-3")

    second, other_level = await world.decision(A, "AD-2"), await world.decision(A, "AD-3")
    assert second.decided is not None
    assert str(second.decided.final) == "0.00"
    withheld = {leaf.name: leaf.withheld for leaf in second.decided.components if leaf.withheld}
    assert withheld == {"closure": f"used:AD-1:{A}", "effect": f"used:AD-1:{A}"}
    assert str(other_level.tilt) == "10.40"


async def test_what_was_decided_is_recomputed_from_the_pins_to_the_same_hash() -> None:
    world = World()
    await world.a_decided_docket({A: 700, B: 600}, good=(A,))
    await world.says(published(A, {"I06": figure(1, 10)}, revision=2))

    for subject in (A, B):
        decision = await world.decision(subject)
        assert await world.award.recomputed(decision) == decision.fact.explanation_hash


# --- after the cut ---


async def test_rule_21_later_scorecards_queue_as_would_change_with_the_difference_and_change_nothing() -> None:
    world = World()
    await world.a_decided_docket({A: 700, B: 705}, good=(A, B))
    docket = await world.dockets.read("AD-1", NATIONAL)
    assert await world.what_if.would_change(docket, at=LATER) == []
    facts = len(world.log.facts)

    await world.says(superseded(A, revision=1))
    await world.says(published(A, GOOD | {"I06": figure(10, 10, ("verified-1",))}, revision=2))
    changes = await world.what_if.would_change(docket, at=LATER)

    assert [(c["subject"], c["decided"], c["would_be"], c["difference"]) for c in changes] == [
        (A, "10.40", "12.00", "1.6")
    ]
    assert changes[0]["cause"]["scorecard"]["superseded"]["causing_fact"] == "late-fact"
    assert len(world.log.facts) == facts
    assert await world.ranking() == [(B, "10.40", True), (A, "10.40", True)]
    assert str((await world.decision(A)).tilt) == "10.40"


async def test_facts_in_any_order_and_twice_leave_the_same_rows() -> None:
    facts = [published(A, GOOD), superseded(A, revision=1), published(A, GOOD, revision=2), finalised(A)]

    async def rows_after(order: tuple[int, ...]) -> list[object]:
        world = World()
        heard = World()
        first = [
            await heard.log.hear(_reaction(heard, fact), fact, effective_at=CUT, id=f"f{i}")
            for i, fact in enumerate(facts)
        ]
        for number in order:
            await world.log.hear_again(_reaction(world, facts[number]), first[number])
        return [await world.log.rows(name).find({}) for name in ("known_scorecards", "known_assessments")]

    expected = await rows_after((0, 1, 2, 3))
    for order in itertools.permutations(range(4)):
        assert await rows_after((*order, order[0])) == expected


def _reaction(world: World, fact: object) -> object:
    return {
        "ScorecardPublished": world.hearing.on_scorecard_published,
        "ScorecardSuperseded": world.hearing.on_scorecard_superseded,
        "AssessmentFinalised": world.hearing.on_assessment_finalised,
    }[type(fact).__name__]


# --- vetoes ---


async def test_a_veto_is_confirmed_by_another_person_and_only_once() -> None:
    world = World()
    await world.a_decided_docket({A: 700}, good=(A,))
    veto = await world.raise_veto(A, effective=CUT - timedelta(days=30))

    with pytest.raises(VetoOwn):
        await world.confirm(veto, by=SUPERVISION)
    assert str((await world.decision(A)).tilt) == "10.40"
    await world.confirm(veto)
    with pytest.raises(VetoNotRaised):
        await world.confirm(veto, by=OFFICE)


async def test_the_documents_behind_a_veto_are_evidence_of_the_fact_and_stay_with_it() -> None:
    world = World()
    paper = Evidence(uri="/incentive-scoring/attachments/a", sha256="0" * 64)
    command = RaiseVeto("V1", SubjectKind.REGION, "340000", CUT, None, "事件", (paper,))

    answer = await world.log.execute(lambda: world.vetoes.raise_veto(command, by=SUPERVISION, at=CUT))

    said = [event for event in world.log.events if event["type"] == "VetoRaised"]
    assert [event["evidence"] for event in said] == [[paper.model_dump()]]
    assert (await world.vetoes.vetoes.read(answer.id, NATIONAL)).evidence == (paper,)


async def test_rule_14_a_ground_effective_by_the_decision_reverses_the_tilt_and_names_who_moves() -> None:
    world = World()
    await world.a_decided_docket({A: 700, B: 705, C: 704}, good=(A,))
    assert [subject for subject, _tilt, placed in await world.ranking() if placed] == [A, B]
    veto = await world.raise_veto(A, effective=CUT - timedelta(days=30))
    before = len(world.log.facts)
    preview = await world.vetoes.preview(await world.stored_vetoes.read(veto, NATIONAL), at=LATER)
    assert len(world.log.facts) == before

    answer = await world.confirm(veto)

    assert [fact.final for fact in world.said(TiltReversed)] == [world.said(TiltDecided)[0].final]
    assert world.said(RankingComputed)[-1].reason == f"veto:{veto}"
    [proposed] = world.said(AwardRevocationProposed)
    assert (proposed.subject, proposed.displaced, proposed.promoted, proposed.reranked) == (A, (A,), (C,), True)
    assert [(s, placed) for s, _tilt, placed in await world.ranking()] == [(B, True), (C, True), (A, False)]
    assert [found.shown() for found in preview] == answer.details["moved"]


async def test_rule_14_a_ground_effective_after_the_decision_proposes_revocation_without_ranking_again() -> None:
    world = World()
    await world.a_decided_docket({A: 700, B: 705, C: 704}, good=(A,))
    ranking = await world.ranking()
    veto = await world.raise_veto(A, effective=CUT + timedelta(days=1))

    await world.confirm(veto)

    [proposed] = world.said(AwardRevocationProposed)
    assert (proposed.displaced, proposed.promoted, proposed.reranked) == ((A,), (), False)
    assert world.said(TiltReversed) == []
    assert await world.ranking() == ranking


async def test_rule_14_a_lift_restores_nothing_by_itself() -> None:
    world = World()
    await world.a_decided_docket({A: 700, B: 705, C: 704}, good=(A,))
    veto = await world.raise_veto(A, effective=CUT - timedelta(days=30))
    await world.confirm(veto)
    ranking = await world.ranking()

    answer = await world.log.execute(lambda: world.vetoes.lift(veto, reason="申诉成立", by=OFFICE, at=LATER))

    assert answer.details["not_restored"] == ["AD-1"]
    assert await world.ranking() == ranking
    assert (await world.decision(A)).state == "reversed"


async def test_rule_14_a_confirmed_veto_known_before_the_cut_withholds_the_tilt_and_bars_from_places() -> None:
    world = World()
    await world.approve()
    await world.says(published(A, GOOD))
    await world.says(finalised(A))
    await world.open()
    await world.score({A: 900, B: 705, C: 704})
    veto = await world.raise_veto(A, effective=CUT - timedelta(days=60), at=CUT - timedelta(days=20))
    await world.confirm(veto, at=CUT - timedelta(days=10))

    await world.decide()

    [withheld] = [fact for fact in world.said(TiltWithheld) if fact.subject == A]
    assert withheld.reasons == ("G4",)
    assert await world.ranking() == [(A, "0", False), (B, "0", True), (C, "0", True)]


async def test_rule_14_an_unconfirmed_veto_escalates_after_twenty_working_days() -> None:
    world = World()
    raised_at = CUT
    veto = await world.raise_veto(A, effective=CUT, at=raised_at)
    due = escalates_at(raised_at)
    assert due.isoformat() == "2026-12-15T00:00:00+08:00"

    await world.log.execute(lambda: world.vetoes.escalate(veto, due))
    await world.log.execute(lambda: world.vetoes.escalate(veto, due))

    assert len(world.said(VetoEscalated)) == 1
    found = await world.stored_vetoes.page(NATIONAL, {"escalated_at": {"$ne": None}})
    assert [one.id for one in found.items] == [veto]


async def test_rule_23_a_veto_raised_before_next_years_calendar_is_known_still_escalates() -> None:
    raised_at = END.astimezone(CIVIL) + timedelta(days=20)

    assert escalates_at(raised_at) == raised_at.replace(hour=0) + timedelta(days=29)


async def test_a_veto_names_its_faults_and_a_province_cannot_veto_elsewhere() -> None:
    world = World()
    with pytest.raises(InvalidInput) as refused:
        await world.raise_veto(A, effective=CUT, ground="V1")
    assert [error.rule for error in refused.value.errors] == ["subject-kind"]
    with pytest.raises(InvalidInput):
        await world.raise_veto("91340100MA2T00015H", effective=CUT)

    elsewhere = RaiseVeto("V1", SubjectKind.REGION, "320000", CUT, None, "事件")
    with pytest.raises(NotFound):
        await world.log.execute(
            lambda: world.vetoes.raise_veto(elsewhere, by=actor("p", "province", regions="34"), at=CUT)
        )


# --- what-if ---


async def test_rule_12_a_what_if_without_one_evidence_fact_changes_exactly_its_leaves() -> None:
    world = World()
    await world.a_decided_docket({A: 700, B: 705}, good=(A,))
    docket = await world.dockets.read("AD-1", NATIONAL)
    facts = len(world.log.facts)

    answer = await world.what_if.simulate(docket, Question(without_evidence="claim-1"), at=LATER)

    assert [(leaf["subject"], leaf["component"], leaf["tilt"]) for leaf in answer["leaves"]] == [
        (A, "effect", ["10.40", "6.40"])
    ]
    assert [change["subject"] for change in answer["differs"]] == [A]
    assert len(world.log.facts) == facts
    with pytest.raises(InvalidInput):
        await world.what_if.simulate(docket, Question(without_evidence="nobody"), at=LATER)


async def test_rule_13_a_simulation_over_the_cap_names_the_exact_value_where_the_pair_swaps() -> None:
    from decimal import Decimal

    world = World()
    await world.a_decided_docket({A: 700, B: 705}, good=(A,), places=1)
    docket = await world.dockets.read("AD-1", NATIONAL)

    answer = await world.what_if.simulate(docket, Question(vary="cap", high=Decimal(30)), at=LATER)

    # A passes B (705) with a tilt of 5.01, since at 5.00 the higher base wins: from 5.005 on, itself not included.
    below, above = answer["breakpoints"]["intervals"]
    assert (below["winners"], below["to"], below["to_included"]) == ([B], "5.005", True)
    assert (above["winners"], above["from"], above["from_included"]) == ([A], "5.005", False)
    assert above["swaps"] == [[B, A]]


async def test_a_simulation_with_the_superseded_policy_is_reproducible_and_writes_nothing() -> None:
    world = World()
    await world.a_decided_docket({A: 700, B: 705}, good=(A,))
    docket = await world.dockets.read("AD-1", NATIONAL)
    facts = len(world.log.facts)

    answer = await world.what_if.simulate(docket, Question(policy_version="TP-2025.1"), at=LATER)

    assert answer["policy_version"] == "TP-2025.1"
    assert {place["subject"]: place["tilt"] for place in answer["ranking"]} == {A: "10.40", B: "0"}
    assert len(world.log.facts) == facts


def test_a_window_of_24_months_ends_on_a_real_day() -> None:
    leap = START.replace(year=2024, month=2, day=29)

    assert months_before(leap, 12).day == 28
    assert months_before(START, 24).year == 2024


def test_the_other_actor_of_these_tests_is_another_person() -> None:
    assert OTHER.id != SUPERVISION.id
