"""Issues and key projects by themselves, and what is due, as sentences."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from services.pilot_registration.domain.issues import Listing, NotTheOwner, QualityIssue, RecurrenceTooLate
from services.pilot_registration.domain.lifecycle import IllegalTransition, IssueState
from services.pilot_registration.domain.shares import SeparationOfDuties
from services.pilot_registration.policies.desk import of_issue
from services.pilot_registration.policies.next_steps import working_days_left
from shared.contracts.fact import Evidence
from shared.contracts.pilot_registration import Direction, IssueClass, Measure
from shared.kernel import CIVIL, NATIONAL, Actor, InvalidInput

NOW = datetime(2026, 4, 1, 9, tzinfo=CIVIL)
BASELINE = Measure(name="不合格率", direction=Direction.LOWER, value=Decimal("0.08"), n=400, on=date(2026, 1, 10))
LISTING = Listing("尺寸超差", IssueClass.TECHNIQUE, 2, "340100", "OWNER", BASELINE)
PROOF = [("a", Evidence(uri="/pilot-registration/attachments/a", sha256="0" * 64))]


def actor(id: str, *roles: str, org: str = "") -> Actor:
    return Actor(id=id, roles=frozenset(roles), org=org, scope=NATIONAL)


REGISTRAR, PROVINCE = actor("registrar", "registrar"), actor("province", "province")
OWNER = actor("quality", "enterprise", org="OWNER")


def listed() -> QualityIssue:
    return QualityIssue.enter(
        pilot_id="PL-1",
        number="Q1",
        listing=LISTING,
        regions=("340000", "340100"),
        list_version=1,
        by=REGISTRAR,
        at=NOW,
    )


def assigned(due_on: date = date(2026, 4, 30)) -> QualityIssue:
    issue = listed()
    issue.assign(owner="OWNER", owner_division="340100", grade=1, due_on=due_on, by=PROVINCE, at=NOW)
    return issue


def claim(issue: QualityIssue, by: Actor = OWNER, **other: object) -> None:
    given: dict[str, object] = {"value": Decimal("0.01"), "n": 400, "on": NOW.date(), "attachments": PROOF} | other
    issue.claim_closure(**given, by=by, at=NOW)  # type: ignore[arg-type]


def verified() -> QualityIssue:
    issue = assigned()
    claim(issue)
    issue.close(verdict_fact="v", verifier_org="V", effective_at=NOW)
    return issue


@pytest.mark.parametrize("by", [REGISTRAR, actor("owner", "province", org="OWNER")])
def test_rule_06_neither_who_listed_an_issue_nor_its_owner_confirms_its_grade(by: Actor) -> None:
    issue = listed()

    with pytest.raises(SeparationOfDuties):
        issue.assign(owner="OWNER", owner_division="340100", grade=1, due_on=date(2026, 5, 1), by=by, at=NOW)


def test_an_assigned_issue_is_neither_changed_nor_removed() -> None:
    issue = assigned()

    with pytest.raises(IllegalTransition):
        issue.change(LISTING, regions=("340000",), by=REGISTRAR, at=NOW)
    with pytest.raises(IllegalTransition):
        issue.remove("absent", at=NOW)


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        ({"value": Decimal("1.01")}, "measure-fraction"),
        ({"value": Decimal("-0.01")}, "measure-fraction"),
        ({"n": 0}, "measure-sample"),
        ({"on": date(2026, 1, 9)}, "date-before-baseline"),
        ({"on": date(2026, 4, 2)}, "date-in-future"),
        ({"attachments": []}, "evidence-missing"),
    ],
)
def test_a_claim_needs_a_measure_that_can_be_and_documents_behind_it(other: dict[str, object], rule: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        claim(assigned(), **other)

    assert [fault.rule for fault in refused.value.errors] == [rule]


def test_a_claim_carries_its_documents_as_evidence_and_is_the_owners() -> None:
    issue = assigned()
    with pytest.raises(NotTheOwner):
        claim(issue, by=actor("other", "enterprise", org="OTHER"))

    claim(issue)

    assert issue.recorded[-1].evidence == (PROOF[0][1],)
    assert issue.state is IssueState.CLOSURE_CLAIMED


def test_a_verdict_about_a_claim_that_is_not_open_moves_nothing() -> None:
    issue = verified()
    before = len(issue.recorded)

    assert not issue.close(verdict_fact="again", verifier_org="V", effective_at=NOW)
    assert not issue.send_back(verdict_fact="late", verifier_org="V", reason="x", effective_at=NOW)
    assert len(issue.recorded) == before


@pytest.mark.parametrize("days", [1, 180])
def test_a_recurrence_within_180_days_reopens(days: int) -> None:
    issue = verified()

    issue.reopen("再次出现", at=NOW + timedelta(days=days))

    assert (issue.state, issue.reopenings) == (IssueState.IN_PROGRESS, 1)


def test_a_recurrence_after_180_days_is_a_new_issue() -> None:
    with pytest.raises(RecurrenceTooLate):
        verified().reopen("再次出现", at=NOW + timedelta(days=181))


def test_rule_20_the_desk_says_what_is_overdue_and_what_came_back_with_its_reason() -> None:
    issue = assigned(due_on=date(2026, 4, 2))
    [due] = of_issue(issue, OWNER, date(2026, 4, 1))
    [overdue] = of_issue(issue, OWNER, date(2026, 4, 8))
    assert (due.urgency, due.working_days_left) == ("due", 1)
    assert overdue.urgency == "overdue"
    assert overdue.working_days_left is not None
    assert overdue.working_days_left < 0
    assert of_issue(issue, actor("other", "enterprise", org="OTHER"), date(2026, 4, 8)) == []

    claim(issue)
    issue.send_back(verdict_fact="v", verifier_org="V", reason="样本不足", effective_at=NOW)
    [back] = of_issue(issue, OWNER, date(2026, 4, 8))
    assert (back.urgency, back.reasons) == ("returned", ("样本不足",))


def test_working_days_left_are_unknown_where_no_calendar_is() -> None:
    assert working_days_left(date(2026, 12, 31), date(2027, 1, 8)) is None
