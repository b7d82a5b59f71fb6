"""The pilot by itself: its rules as sentences, and a machine that tries every order of steps."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.pilot_registration.domain.applications import NotComplete, PilotDocument, RoleHolder
from services.pilot_registration.domain.lifecycle import PILOT_TRANSITIONS, IllegalTransition, PilotState
from services.pilot_registration.domain.notices import NoticeOver
from services.pilot_registration.domain.pilots import (
    RETURNS_MAX,
    Pilot,
)
from services.pilot_registration.domain.quotas import Quota, QuotaBelowTaken, QuotaFull
from services.pilot_registration.domain.shares import SeparationOfDuties
from shared.contracts import pilot_registration as facts
from shared.contracts.fact import Evidence
from shared.contracts.pilot_registration import ChainRole, Level, ListKind, Programme, Share
from shared.kernel import CIVIL, NATIONAL, Actor, InvalidInput

FRIDAY = datetime(2025, 9, 26, 10, tzinfo=CIVIL)
PAPERS = [PilotDocument(kind=kind, attachment_id=kind, sha256="0" * 64) for kind in ("plan", "initiation")]
PROOF = [Evidence(uri="/pilot-registration/attachments/a", sha256="0" * 64)]


def somebody(id: str) -> Actor:
    return Actor(id=id, roles=frozenset({"registrar"}), org="", scope=NATIONAL)


REGISTRAR, PROVINCE, OFFICE, HEAD, FIRM = map(somebody, ("registrar", "province", "office", "head", "firm"))


def shares(**given: str) -> tuple[Share, ...]:
    return tuple(Share(region=region.removeprefix("r"), share=Decimal(share)) for region, share in given.items())


def a_draft(*given: Share) -> Pilot:
    return Pilot.draft(
        pilot_id="PL-1", title="机床", programme=Programme.PILOT, level=Level.NATIONAL, chain_id="machine-tools",
        applicant="A", lead_region="340000", shares=given or shares(r340000="0.6", r320000="0.4"), by=REGISTRAR,
        at=FRIDAY,
    )  # fmt: skip


def changed(pilot: Pilot, **what: Any) -> bool:
    form = {name: getattr(pilot, name) for name in ("title", "programme", "level", "chain_id", "applicant")}
    form |= {"lead_region": pilot.lead_region, "shares": pilot.shares}
    return pilot.change(**(form | what), at=FRIDAY)


def with_lists(pilot: Pilot) -> Pilot:
    roles = [ChainRole.CHIEF, ChainRole.LEADER, *[ChainRole.MEMBER] * 5, ChainRole.ENABLER]
    pilot.publish_lists(
        lists={kind: (1, "hash") for kind in ListKind}, quality_map=(3, 2, 1, "hash"),
        roles=[RoleHolder(role=role, uscc=str(i)) for i, role in enumerate(roles)], at=FRIDAY,
    )  # fmt: skip
    return pilot


def a_submitted() -> Pilot:
    pilot = with_lists(a_draft())
    pilot.confirm_share("320000", at=FRIDAY)
    pilot.submit(PAPERS, by=REGISTRAR, at=FRIDAY)
    return pilot


def in_notice(at: datetime = FRIDAY) -> Pilot:
    pilot = a_submitted()
    pilot.admit("call", by=PROVINCE, at=at)
    pilot.select("R1", "得分", by=OFFICE, at=at)
    pilot.open_notice(5, by=OFFICE, at=at)
    return pilot


def names(pilot: Pilot) -> list[str]:
    return [type(recording.fact).__name__ for recording in pilot.recorded]


@pytest.mark.parametrize(
    ("given", "rule_"),
    [
        ({"r340000": "0.6", "r320000": "0.3"}, "share-sum"),
        ({"r340000": "0.6", "r320000": "0.400001"}, "share-sum"),
        ({"r340000": "1", "r320000": "0"}, "share-range"),
        ({"r340000": "0.3333333", "r320000": "0.6666667"}, "share-range"),
        ({"r320000": "1"}, "share-of-lead"),
    ],
)
def test_rule_04_shares_are_positive_decimals_that_sum_to_exactly_one(given: dict[str, str], rule_: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        a_draft(*shares(**given))

    assert rule_ in {fault.rule for fault in refused.value.errors}


def test_rule_04_thirds_written_out_to_six_places_may_sum_to_one() -> None:
    pilot = a_draft(*shares(r340000="0.333334", r320000="0.333333", r330000="0.333333"))

    assert sum(share.share for share in pilot.shares) == 1


def test_rule_04_a_change_of_shares_has_its_day_and_leaves_earlier_facts_alone() -> None:
    pilot = in_notice()
    assert pilot.notice is not None
    pilot.close_notice(by=OFFICE, at=pilot.notice.closes_at)
    later = pilot.notice.closes_at + timedelta(days=3)
    pilot.approve("LD-1", date(2026, 12, 1), by=HEAD, at=later)
    pilot.start(by=PROVINCE, at=later)
    started = pilot.recorded[-1]

    pilot.change_shares(
        "340000", shares(r340000="0.5", r330000="0.5"), effective_on=date(2026, 1, 1), reason="江苏退出", at=later
    )

    change = pilot.recorded[-1]
    assert isinstance(started.fact, facts.PilotStarted)
    assert [share.region for share in started.fact.shares] == ["340000", "320000"]
    assert change.effective_at == datetime(2026, 1, 1, tzinfo=CIVIL)
    assert pilot.regions == ("340000", "330000", "320000")


def test_each_participant_confirms_its_share_before_submission_and_a_material_change_voids_it() -> None:
    pilot = with_lists(a_draft())
    with pytest.raises(NotComplete) as refused:
        pilot.submit(PAPERS, by=REGISTRAR, at=FRIDAY)
    assert [fault.field for fault in refused.value.errors] == ["share-320000"]

    pilot.confirm_share("320000", at=FRIDAY)
    assert changed(pilot, title="机床(改)")
    assert pilot.confirmed == ("340000", "320000")
    assert changed(pilot, shares=shares(r340000="0.5", r320000="0.5"))
    assert pilot.confirmed == ("340000",)
    assert not changed(pilot)


def test_confirming_a_share_twice_records_one_fact() -> None:
    pilot = a_draft()

    assert pilot.confirm_share("320000", at=FRIDAY)
    assert not pilot.confirm_share("320000", at=FRIDAY)
    assert names(pilot) == ["PilotDrafted", "PilotShareConfirmed"]


@pytest.mark.parametrize("lost", [ChainRole.CHIEF, ChainRole.LEADER, ChainRole.MEMBER, ChainRole.ENABLER])
def test_a_submission_needs_every_role_of_the_chain(lost: ChainRole) -> None:
    pilot = with_lists(a_draft())
    pilot.roles = tuple(holder for holder in pilot.roles if holder.role is not lost)

    assert f"role-{lost.value}" in {lack.what for lack in pilot.missing_for_submission(PAPERS)}


def test_a_chain_has_one_chief_and_not_two() -> None:
    pilot = with_lists(a_draft())
    pilot.roles = (*pilot.roles, RoleHolder(role=ChainRole.CHIEF, uscc="second"))

    assert "role-chief" in {lack.what for lack in pilot.missing_for_submission(PAPERS)}


def test_lists_with_the_content_they_had_keep_their_version_and_say_nothing() -> None:
    pilot = with_lists(a_draft())
    before = len(pilot.recorded)

    with_lists(pilot)

    assert len(pilot.recorded) == before


def test_a_recall_spends_no_return_and_a_fourth_return_is_a_refusal() -> None:
    pilot = a_submitted()
    pilot.recall("补充", by=REGISTRAR, at=FRIDAY)
    for turn in range(RETURNS_MAX):
        pilot.submit(PAPERS, by=REGISTRAR, at=FRIDAY)
        pilot.send_back(["缺章"], ["plan"], by=PROVINCE, at=FRIDAY)
        assert (pilot.state, pilot.returns) == (PilotState.RETURNED, turn + 1)
    pilot.submit(PAPERS, by=REGISTRAR, at=FRIDAY)

    pilot.send_back(["仍缺章"], [], by=PROVINCE, at=FRIDAY)

    assert (pilot.state, names(pilot)[-1]) == (PilotState.REFUSED, "PilotRefused")


def test_rule_23_a_notice_opened_on_friday_26_september_2025_closes_with_10_october() -> None:
    pilot = in_notice()

    assert pilot.notice is not None
    assert pilot.notice.closes_at == datetime(2025, 10, 11, tzinfo=CIVIL)
    fact = pilot.recorded[-1].fact
    assert isinstance(fact, facts.NoticeOpened)
    assert fact.calendar_version.startswith("CN-")


def test_rule_02_a_notice_does_not_close_a_moment_too_early_nor_take_an_objection_a_moment_too_late() -> None:
    pilot = in_notice()
    assert pilot.notice is not None
    end = pilot.notice.closes_at
    with pytest.raises(NoticeOver):
        pilot.close_notice(by=OFFICE, at=end - timedelta(microseconds=1))
    with pytest.raises(NoticeOver):
        pilot.object(objection_id="O1", reason="假", evidence=PROOF, by=FIRM, at=end)

    pilot.object(objection_id="O1", reason="假", evidence=PROOF, by=FIRM, at=end - timedelta(microseconds=1))

    assert pilot.state is PilotState.OBJECTION_HOLD


def test_rule_02_approval_before_the_close_is_an_illegal_transition_that_says_what_is_possible() -> None:
    pilot = in_notice()

    with pytest.raises(IllegalTransition) as refused:
        pilot.approve("LD-1", date(2026, 12, 1), by=HEAD, at=FRIDAY)

    assert "in_notice" in refused.value.sentence("en")
    assert "公示中" in refused.value.sentence("zh")
    assert "close-notice" in refused.value.sentence("zh")


def test_rule_02_the_clock_stands_still_while_an_objection_is_open() -> None:
    pilot = in_notice()
    monday = datetime(2025, 9, 29, 9, tzinfo=CIVIL)  # the second of the five working days: four are left with it
    pilot.object(objection_id="O1", reason="假", evidence=PROOF, by=FIRM, at=monday)
    assert pilot.notice is not None
    assert pilot.notice.days_left == 4

    pilot.decide_objection(
        "O1", sustained=False, reason="不成立", by=OFFICE, at=datetime(2025, 10, 20, 9, tzinfo=CIVIL)
    )

    assert pilot.state is PilotState.IN_NOTICE
    assert pilot.notice.closes_at == datetime(2025, 10, 24, tzinfo=CIVIL)  # 20, 21, 22 and 23 October


def test_rule_02_two_objections_hold_until_both_are_decided_and_a_sustained_one_disqualifies() -> None:
    pilot = in_notice()
    for name in ("O1", "O2"):
        pilot.object(objection_id=name, reason="假", evidence=PROOF, by=FIRM, at=FRIDAY)
    pilot.decide_objection("O1", sustained=False, reason="不成立", by=OFFICE, at=FRIDAY)
    assert pilot.state is PilotState.OBJECTION_HOLD

    pilot.decide_objection("O2", sustained=True, reason="成立", by=OFFICE, at=FRIDAY)

    assert pilot.state is PilotState.DISQUALIFIED


def test_nobody_approves_twice() -> None:
    admitting = a_submitted()
    with pytest.raises(SeparationOfDuties):
        admitting.admit("call", by=REGISTRAR, at=FRIDAY)
    admitting.admit("call", by=OFFICE, at=FRIDAY)
    with pytest.raises(SeparationOfDuties):
        admitting.select("R1", "得分", by=OFFICE, at=FRIDAY)

    pilot = in_notice()
    assert pilot.notice is not None
    pilot.close_notice(by=OFFICE, at=pilot.notice.closes_at)
    with pytest.raises(SeparationOfDuties):
        pilot.approve("LD-1", date(2026, 12, 1), by=OFFICE, at=pilot.notice.closes_at)


def test_who_objects_does_not_decide_the_objection() -> None:
    pilot = in_notice()
    pilot.object(objection_id="O1", reason="假", evidence=PROOF, by=FIRM, at=FRIDAY)

    with pytest.raises(SeparationOfDuties):
        pilot.decide_objection("O1", sustained=True, reason="成立", by=FIRM, at=FRIDAY)


def test_rule_03_a_quota_holds_in_the_nation_and_in_each_province_and_a_released_place_is_free() -> None:
    quota = Quota(id="call")
    quota.set_limits(2, 1, at=FRIDAY)
    quota.take("a", "340100", at=FRIDAY)
    with pytest.raises(QuotaFull):
        quota.take("b", "340200", at=FRIDAY)  # another prefecture of the same province
    quota.take("c", "320000", at=FRIDAY)
    with pytest.raises(QuotaFull):
        quota.take("d", "330000", at=FRIDAY)
    with pytest.raises(QuotaBelowTaken):
        quota.set_limits(1, 1, at=FRIDAY)

    assert quota.release("a", at=FRIDAY)
    assert not quota.release("a", at=FRIDAY)
    quota.take("b", "340200", at=FRIDAY)


FACT_OF = {
    "change": "PilotChanged", "confirm-share": "PilotShareConfirmed", "submit": "PilotSubmitted",
    "recall": "PilotRecalled", "admit": "PilotAdmitted", "select": "PilotSelected", "decline": "PilotNotSelected",
    "open-notice": "NoticeOpened", "object": "ObjectionFiled", "decide-objection": "ObjectionDecided",
    "close-notice": "NoticeClosed", "approve": "PilotApproved", "change-shares": "PilotSharesChanged",
    "start": "PilotStarted", "request-acceptance": "PilotAcceptanceRequested", "accept": "PilotAccepted",
    "withdraw": "PilotWithdrawn",
}  # fmt: skip
VERBS = sorted({verb for verbs in PILOT_TRANSITIONS.values() for verb in verbs} - {"import"})


class AnyOrder(RuleBasedStateMachine):
    """Tries every verb in every state: it is legal exactly when listed, and then records one fact of its name."""

    @initialize()
    def begin(self) -> None:
        self.pilot = with_lists(a_draft())
        self.pilot.confirm_share("320000", at=FRIDAY)
        self.at = FRIDAY
        self.serial = 0

    @rule(verb=st.sampled_from(VERBS), sustained=st.booleans())
    def step(self, verb: str, sustained: bool) -> None:
        self.serial += 1
        pilot, before, facts_before = self.pilot, self.pilot.state, len(self.pilot.recorded)
        if verb == "confirm-share":
            pilot.confirmed = ("340000",)
        if verb == "close-notice" and pilot.notice is not None:
            self.at = max(self.at, pilot.notice.closes_at)
        if verb == "object" and pilot.notice is not None and self.at >= pilot.notice.closes_at:
            verb = "close-notice"
        try:
            self.do(verb, sustained)
        except IllegalTransition:
            assert verb not in PILOT_TRANSITIONS[before]
            assert len(pilot.recorded) == facts_before
            assert pilot.state is before
            return
        assert verb in PILOT_TRANSITIONS[before]
        recorded = names(pilot)[facts_before:]
        if verb == "return":
            assert recorded == ["PilotRefused" if pilot.state is PilotState.REFUSED else "PilotReturned"]
        else:
            assert recorded == [FACT_OF[verb]]

    def do(self, verb: str, sustained: bool) -> None:
        pilot, at, name = self.pilot, self.at, str(self.serial)
        undecided = [objection.objection_id for objection in pilot.objections if objection.sustained is None]
        steps: dict[str, Any] = {
            "change": lambda: changed(pilot, title=f"机床{name}"),
            "confirm-share": lambda: pilot.confirm_share("320000", at=at),
            "submit": self.submit,
            "recall": lambda: pilot.recall("补充", by=REGISTRAR, at=at),
            "return": lambda: pilot.send_back(["缺章"], ["plan"], by=PROVINCE, at=at),
            "admit": lambda: pilot.admit("call", by=PROVINCE, at=at),
            "select": lambda: pilot.select("R1", "得分", by=OFFICE, at=at),
            "decline": lambda: pilot.decline("R1", "名额已满", by=OFFICE, at=at),
            "open-notice": lambda: pilot.open_notice(5, by=OFFICE, at=at),
            "object": lambda: pilot.object(objection_id=name, reason="假", evidence=PROOF, by=FIRM, at=at),
            "decide-objection": lambda: pilot.decide_objection(
                undecided[0] if undecided else "none", sustained=sustained, reason="经查", by=OFFICE, at=at
            ),
            "close-notice": lambda: pilot.close_notice(by=OFFICE, at=at),
            "approve": lambda: pilot.approve("LD-1", date(2027, 12, 1), by=HEAD, at=at),
            "change-shares": lambda: pilot.change_shares(
                "340000", shares(r340000="0.5", r320000="0.5"), effective_on=at.date(), reason="变更", at=at
            ),
            "start": lambda: pilot.start(by=PROVINCE, at=at),
            "request-acceptance": lambda: pilot.request_acceptance(by=REGISTRAR, at=at),
            "accept": lambda: pilot.accept(at.astimezone(CIVIL).date(), by=OFFICE, at=at),
            "withdraw": lambda: pilot.withdraw("撤回", by=REGISTRAR, at=at),
        }
        steps[verb]()

    def submit(self) -> None:
        if self.pilot.state in (PilotState.DRAFT, PilotState.RETURNED):
            self.pilot.confirmed = ("340000", "320000")
        self.pilot.submit(PAPERS, by=REGISTRAR, at=self.at)

    @invariant()
    def shares_sum_to_one(self) -> None:
        assert sum(share.share for share in self.pilot.shares) == 1

    @invariant()
    def the_state_survives_its_store(self) -> None:
        stored = self.pilot.document()
        assert Pilot.model_validate({"id": self.pilot.id, **stored}).document() == stored


AnyOrder.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
